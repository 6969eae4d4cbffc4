//! Several processes over one PostgreSQL, each with 64 tasks that spend one account's credits by leases, as fast as they
//! can; and the same with one of them killed every so often.

use std::num::NonZeroU32;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tollgate::account::Allowance;
use tollgate::clock::SystemClock;
use tollgate::credit::{
    Abandoned, Adjustment, AdjustmentKind, Charge, ChargeId, Charged, CreditAdmin, EntryQuery, LeaseTerms,
    LeasedLedger, SqlLedger,
};
use tollgate::guard::Resilient;
use tollgate::sql::Database;
use tollgate::{Account, Clock, CreditLedger, Credits};

use crate::services::postgres::Postgres;

const CREDITS: u64 = 10_000;
const NODES: u32 = 4;
const HEADROOM: u64 = 64;

/// The variable that holds the database's URL, for a process that is a node.
const NODE: &str = "TOLLGATE_TEST_LEASE_NODE";

/// One node: not a test, but what the tests start as processes. It says a line for every request that it has served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node() {
    let Ok(url) = std::env::var(NODE) else { return };
    let ledger = SqlLedger::new(&Database::connect(&url).await.unwrap());
    let mut terms = LeaseTerms::of_nodes(NonZeroU32::new(NODES).unwrap());
    terms.headroom = Credits::new(HEADROOM);
    let ledger = LeasedLedger::new(Resilient::new(ledger), terms);
    let (served, account) = (Arc::new(AtomicU64::new(0)), Arc::new(Account::new("acme", "pro")));
    let tasks: Vec<_> = (0..64)
        .map(|_| tokio::spawn(spend(ledger.clone(), Arc::clone(&account), Arc::clone(&served))))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    ledger.close().await.unwrap();
    println!("\ndone {}", served.load(Ordering::SeqCst));
}

/// Spends until there is nothing left, for a while.
async fn spend(ledger: LeasedLedger<Resilient<SqlLedger>>, account: Arc<Account>, served: Arc<AtomicU64>) {
    let (clock, mut refused) = (SystemClock::new(), 0);
    while refused < 5 {
        let random = u128::from(random()) << 64 | u128::from(random());
        let (id, one) = (ChargeId::from_bytes(random.to_be_bytes()), Credits::new(1));
        match ledger.charge(&Charge::new(id, &account, one, &Allowance::None, clock.now())).await {
            Ok(Charged::Posted { .. }) => {
                // In one write: a process that is killed has said it, or not.
                println!("\nserved {}", served.fetch_add(1, Ordering::SeqCst) + 1);
                let _ = ledger.settle(&crate::support::settlement(&account, id, one)).await;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok(_) => {
                refused += 1;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            Err(_) => {
                let _ = ledger.refund(&crate::support::refund(&account, id)).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

/// A process that is a node, and how many requests it says it has served.
struct Process {
    child: Child,
    served: Arc<AtomicU64>,
}

impl Process {
    fn start(url: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["leases::processes::node", "--exact", "--nocapture"]).env(NODE, url);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let (served, count) = (Arc::new(AtomicU64::new(0)), child.stdout.take().unwrap());
        let counted = Arc::clone(&served);
        tokio::spawn(async move {
            let mut lines = BufReader::new(count).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                counted.fetch_add(u64::from(line.starts_with("served ")), Ordering::SeqCst);
            }
        });
        Self { child, served }
    }
}

struct Run {
    ledger: SqlLedger,
    url: String,
    nodes: Vec<Process>,
    /// The requests that killed processes had served.
    served: u64,
    deaths: u64,
}

impl Run {
    async fn start(postgres: &Postgres) -> Self {
        let url = postgres.database();
        let ledger = SqlLedger::new(&Database::connect(&url).await.unwrap());
        let (acme, now) = ("acme".into(), SystemClock::new().now().wall());
        let opening = AdjustmentKind::Set(Credits::new(CREDITS));
        let opening = Adjustment::new("opening".parse().unwrap(), &acme, opening, &Allowance::None, now);
        let _ = ledger.adjust(&opening).await.unwrap();
        let nodes = (0..NODES).map(|_| Process::start(&url)).collect();
        Self { ledger, url, nodes, served: 0, deaths: 0 }
    }

    /// Ends a node without a warning, and starts another.
    async fn kill(&mut self, place: usize) {
        let mut node = std::mem::replace(&mut self.nodes[place], Process::start(&self.url));
        node.child.kill().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.served += node.served.load(Ordering::SeqCst);
        self.deaths += 1;
    }

    /// Waits until all nodes have ended by themselves; says how many requests were served, and what is left.
    async fn end(mut self) -> (u64, u64, u64) {
        for node in &mut self.nodes {
            assert!(node.child.wait().await.unwrap().success());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let living: u64 = self.nodes.iter().map(|node| node.served.load(Ordering::SeqCst)).sum();
        let now = SystemClock::new().now().wall();
        // A request may have been served whose charge was not settled any more: its charge stands.
        let swept = self.ledger.close_abandoned(Duration::ZERO, Abandoned::Settle).await.unwrap();
        assert!(self.ledger.audit().await.unwrap().is_empty(), "the entries sum to the balance");
        let balance = self
            .ledger
            .balance_of(&"acme".into(), &tollgate::credit::Currency::CREDITS, &Allowance::None, now)
            .await
            .unwrap();
        let entries = self.ledger.entries(&EntryQuery::newest("acme", usize::MAX)).await.unwrap().len();
        let (served, balance) = (self.served + living, balance.credits().unwrap().get());
        println!(
            "{served} served, {balance} left, {} deaths, {swept} charges and blocks swept, {entries} entries",
            self.deaths
        );
        (served, balance, self.deaths)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_processes_serve_exactly_the_credits() {
    let Some(postgres) = Postgres::start() else { return };
    let (served, balance, _) = Run::start(&postgres).await.end().await;
    assert_eq!((served, balance), (CREDITS, 0));
}

/// Killed nodes neither overspend nor keep the credits that they held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_processes_lose_only_headroom() {
    let Some(postgres) = Postgres::start() else { return };
    let mut run = Run::start(&postgres).await;
    for round in 0..6 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        run.kill(round % 4).await;
    }
    let (served, balance, deaths) = run.end().await;
    assert!(served + balance <= CREDITS, "overspent: {served} served, {balance} left");
    // A node that is killed takes its headroom with it, and what its 64 tasks had in hand.
    let lost = CREDITS - served - balance;
    assert!(lost <= deaths * (HEADROOM + 64), "{lost} lost");
}
