//! Usage in a database: after kills of its process, and against the entries of the ledger.
#![cfg(all(feature = "memory", feature = "fleet"))]

use std::io::{BufRead as _, BufReader, Write as _};
use std::num::NonZeroU32;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use tollgate::account::Allowance;
use tollgate::clock::SystemClock;
use tollgate::credit::{
    Adjustment, AdjustmentKind, CreditAdmin, EntryQuery, LeaseTerms, LeasedLedger, SqlLedger,
};
use tollgate::gate::Outcome;
use tollgate::key::{KeyHasher, Length};
use tollgate::rule::{Cost, ScopeRule};
use tollgate::sql::Database;
use tollgate::telemetry::DecisionOutcome;
use tollgate::usage::{
    BatchId, SqlUsage, UsageBatch, UsageCounts, UsageFilter, UsageOptions, UsageQuery, UsageRange,
    UsageRetention, UsageRow, UsageStep, UsageStore, Written,
};
use tollgate::{
    Account, Clock, CreditLedger, Credits, Gate, GateBuilder, KeyFormat, KeyId, KeyRecord, KeySource,
    MemoryStore, RequestView, Rule,
};

use crate::database::{Place, both};

both!(
    killed_node_loses_at_most_one_flush,
    usage_equals_the_entries_of_the_ledger,
    fast_clock_removes_no_usage,
);

/// The number of keys. Each has rows of its own, so that a batch takes some time.
const KEYS: u64 = 200;

/// The number of times that a process is killed.
const KILLS: usize = 20;

/// The number of requests between two lines of a node.
const AT_ONCE: u64 = 50;

/// The variable that holds the database's URL, for a process that is a node.
const NODE: &str = "TOLLGATE_TEST_USAGE_NODE";

/// The variable that sets the number of requests of the comparison with the ledger.
const REQUESTS: &str = "TOLLGATE_TEST_USAGE_REQUESTS";

fn key(number: u64) -> String {
    format!("acme_{number:032}")
}

/// A gate in front of routes that cost one and three credits, with keys of one account, whose usage is flushed by hand.
fn gate(usage: SqlUsage) -> GateBuilder {
    let (store, account) = (MemoryStore::new(), Arc::new(Account::new("acme", "plain")));
    for number in 0..KEYS {
        let hash = KeyHasher::sha256().hash(key(number).as_bytes());
        store.put_key(KeyRecord::new(
            KeyId::from_bytes(u128::from(number).to_be_bytes()),
            hash,
            Arc::clone(&account),
        ));
    }
    let mut options = UsageOptions::default();
    options.flush = None;
    let builder = Gate::builder()
        .source(KeySource::header("X-API-Key").unwrap())
        .format(KeyFormat::new("acme_", Length::exactly(32)).unwrap())
        .plan(tollgate::Plan::new("plain"))
        .store(store)
        .usage_store(usage)
        .usage_options(options);
    [("/one", 1), ("/three", 3)].into_iter().fold(builder, |builder, (route, cost)| {
        let mut rule = Rule::new(route).unwrap();
        (rule.cost, rule.scopes) = (Cost::Fixed(Credits::new(cost)), ScopeRule::Everyone);
        builder.rule(rule)
    })
}

/// Sends a request. Returns true if it was admitted.
async fn send(gate: &Gate, route: &str, number: u64, outcome: Outcome) -> bool {
    let request = Request::get(route).header("X-API-Key", key(number % KEYS)).body(()).unwrap();
    match gate.admit(&RequestView::of(&request)).await {
        Ok(admission) => {
            admission.finish(outcome).await.unwrap();
            true
        }
        Err(_) => false,
    }
}

/// Returns the requests and credits of all keys.
async fn counted(gate: &Gate) -> (u64, u64) {
    let now = SystemClock::new().now().wall();
    let range = UsageRange::latest(UsageStep::Month, now);
    let report = gate.usage().unwrap().report(UsageFilter::account("acme"), range).await.unwrap();
    let sum = |(requests, credits), counts: &tollgate::usage::UsageCounts| {
        (requests + counts.requests, credits + counts.credits)
    };
    report.points.iter().map(|point| &point.counts).fold((0, 0), sum)
}

/// A node that serves requests and writes their counts without a pause. It says the number of requests before they are
/// made, and the number that was written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of a test"]
async fn node() {
    let Ok(url) = std::env::var(NODE) else { return };
    let gate = gate(SqlUsage::new(&Database::connect(&url).await.unwrap())).build().unwrap();
    let (served, requests) = (Arc::new(AtomicU64::new(0)), gate.clone());
    let made = Arc::clone(&served);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for turn in 0.. {
                writeln!(std::io::stdout(), "\nupto {}", (turn + 1) * AT_ONCE).unwrap();
                for number in 0..AT_ONCE {
                    send(&requests, "/free", turn * AT_ONCE + number, Outcome::Served).await;
                    made.fetch_add(1, Ordering::SeqCst);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    });
    loop {
        let before = served.load(Ordering::SeqCst);
        gate.usage().unwrap().flush().await.unwrap();
        writeln!(std::io::stdout(), "\nwritten {before}").unwrap();
    }
}

/// Waits until the database has ended the transactions of a process that was killed.
async fn settled(place: &Place) {
    let begun = Instant::now();
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' \
                  AND pid <> pg_backend_pid()";
    while place.is_postgres() && place.say(others).await != "0" {
        assert!(begun.elapsed() < Duration::from_mins(1), "a transaction of a killed process does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn killed_node_loses_at_most_one_flush(place: Place) {
    let reader = gate(SqlUsage::new(&place.open().await)).build().unwrap();
    let mut lost = Vec::new();
    for kill in 0..KILLS {
        let (before, _) = counted(&reader).await;
        let mut node = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sql::usage::node", "--ignored", "--nocapture"])
            .env(NODE, &place.url)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (mut written, mut upto, mut flushes) = (0, 0, 0);
        for line in BufReader::new(node.stdout.take().unwrap()).lines().map_while(Result::ok) {
            // The last line may have been cut, so that its number is too small.
            if let Some(number) = line.strip_prefix("written ") {
                written = written.max(number.parse().unwrap());
                flushes += u64::from(written > 0);
            } else if let Some(number) = line.strip_prefix("upto ") {
                upto = upto.max(number.parse::<u64>().unwrap());
            }
            // Kills at different phases of a flush.
            if flushes >= 3 && upto >= written + (kill as u64 % 5) * AT_ONCE {
                node.kill().unwrap();
            }
        }
        node.wait().unwrap();
        settled(&place).await;
        let counted = counted(&reader).await.0 - before;
        // The node may have begun requests whose line was not read.
        assert!(counted <= upto + AT_ONCE, "{counted} counted, and {upto} made");
        assert!(counted >= written, "{counted} counted, and {written} written");
        lost.push(upto.saturating_sub(counted));
    }
    println!("requests without a count at the time of {KILLS} kills: {lost:?}");
}

async fn usage_equals_the_entries_of_the_ledger(place: Place) {
    const NODES: u64 = 4;
    const THREADS: u64 = 4;
    let requests: u64 = std::env::var(REQUESTS).map_or(4_000, |requests| requests.parse().unwrap());
    let authority = SqlLedger::new(&place.open().await);
    let opening = Credits::new(10 * requests);
    let set = AdjustmentKind::Set(opening);
    let now = SystemClock::new().now().wall();
    let adjustment = "opening".parse().unwrap();
    let _ = authority
        .adjust(&Adjustment::new(adjustment, &"acme".into(), set, &Allowance::None, now))
        .await
        .unwrap();

    let (mut nodes, mut work) = (Vec::new(), tokio::task::JoinSet::new());
    let over = Arc::new(AtomicBool::new(false));
    for node in 0..NODES {
        let database = place.open().await;
        let terms = LeaseTerms::of_nodes(NonZeroU32::new(4).unwrap());
        let ledger = Arc::new(LeasedLedger::new(SqlLedger::new(&database), terms));
        let given = Arc::clone(&ledger) as Arc<dyn CreditLedger>;
        let gate = gate(SqlUsage::new(&database)).ledger(given).build().unwrap();
        for thread in 0..THREADS {
            let gate = gate.clone();
            work.spawn_blocking(move || {
                let mut admitted = 0_u64;
                tokio::runtime::Handle::current().block_on(async {
                    for turn in 0..requests / NODES / THREADS {
                        let number = turn * 7 + thread * 13 + node;
                        let route = if number % 3 == 0 { "/one" } else { "/three" };
                        let outcome = match number % 5 {
                            0 => Outcome::Failed,
                            1 => Outcome::ServedAt(Credits::new(1)),
                            _ => Outcome::Served,
                        };
                        admitted += u64::from(send(&gate, route, number, outcome).await);
                    }
                });
                admitted
            });
        }
        let (counting, over) = (gate.clone(), Arc::clone(&over));
        let flushes = tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                counting.usage().unwrap().flush().await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        nodes.push((gate, ledger, flushes));
    }
    let admitted: u64 = work.join_all().await.into_iter().sum();
    over.store(true, Ordering::SeqCst);
    for (gate, ledger, flushes) in &mut nodes {
        flushes.await.unwrap();
        gate.usage().unwrap().shutdown().await.unwrap();
        ledger.close().await.unwrap();
    }
    let entries = authority.entries(&EntryQuery::newest("acme", 1)).await.unwrap();
    let balance = entries[0].balance.credits().unwrap();
    let spent = opening.checked_sub(balance).unwrap().get();
    let (counted, credits) = counted(&nodes[0].0).await;
    assert_eq!((counted, credits), (requests / NODES / THREADS * NODES * THREADS, spent));
    assert!(admitted > 0 && spent > 0, "{admitted} admitted, {spent} spent");
    assert_eq!(authority.audit().await.unwrap(), []);
    println!("{counted} requests on {NODES} nodes: {credits} credits in the usage, {spent} in the ledger");
}

/// A node whose clock is years ahead for a moment removes nothing that the other nodes wrote.
async fn fast_clock_removes_no_usage(place: Place) {
    let usage = SqlUsage::new(&place.open().await);
    let now = SystemClock::new().now().wall();
    let counts = UsageCounts::of_request(now, 1);
    let row = UsageRow::new(None, "/one", DecisionOutcome::Admitted, now, counts);
    let batch = UsageBatch::new(BatchId { node: [7; 16], number: 1 }, vec![row]);
    assert_eq!(usage.write(&batch).await.unwrap(), Written::Added);
    let later = now.saturating_add(Duration::from_hours(24 * 366 * 10));
    assert_eq!(usage.prune(&UsageRetention::default(), later).await.unwrap(), 0);
    let range = UsageRange::latest(UsageStep::Minute, now);
    assert_eq!(usage.read(&UsageQuery::new(UsageFilter::all(), range)).await.unwrap().len(), 1);
}
