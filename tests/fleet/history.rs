//! Histories of many random calls from four processes, with workers that are killed, answers that are lost and a server that
//! is paused: credits are conserved in every bucket, and never below zero but by a debt.
#![cfg(all(feature = "redis", feature = "postgres"))]

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tollgate::account::{Allowance, Budget, ExpiredRefunds, Grant, GrantPeriod, Overage, Rollover};
use tollgate::clock::{SystemClock, Timestamp};
use tollgate::credit::{
    Abandoned, Adjustment, AdjustmentKind, Balance, BucketId, BucketKind, BucketTerms, BudgetDraw, Charge,
    ChargeId, Charged, CreditAdmin, Disagreement, EntryKind, EntryQuery, RedisLedger, Refund, Settlement,
    SqlLedger,
};
use tollgate::redis::{RedisOptions, RedisServer};
use tollgate::sql::Database;
use tollgate::{Account, Clock, Credits, KeyId, StoreError};

use crate::services::postgres::Postgres;
use crate::services::proxy::{Fault, Proxy};
use crate::services::redis::Redis;

/// The variable that holds the server's URL and the number of calls, for a process that is a worker.
const WORKER: &str = "TOLLGATE_TEST_HISTORY_WORKER";

/// The number of calls of a history, of all processes together.
const CALLS: &str = "TOLLGATE_HISTORY_CALLS";

const WORKERS: usize = 4;
const TASKS: usize = 8;
const ACCOUNTS: u64 = 4;

fn calls() -> usize {
    std::env::var(CALLS).map_or(4_000, |number| number.parse().unwrap())
}

/// A ledger of a history, and its housekeeping.
trait Ledger: CreditAdmin + Clone {
    fn open(url: &str) -> impl Future<Output = Self> + Send;
    fn sweep_all(&self) -> impl Future<Output = Result<u64, StoreError>> + Send;
    fn audited(&self) -> impl Future<Output = Result<Vec<Disagreement>, StoreError>> + Send;
}

impl Ledger for RedisLedger {
    async fn open(url: &str) -> Self {
        let mut options = RedisOptions::new("acme");
        options.response_timeout = Duration::from_millis(200);
        Self::new(RedisServer::with_options(url, options).unwrap())
    }

    async fn sweep_all(&self) -> Result<u64, StoreError> {
        self.sweep(Duration::ZERO, Abandoned::Settle).await
    }

    async fn audited(&self) -> Result<Vec<Disagreement>, StoreError> {
        self.audit().await
    }
}

impl Ledger for SqlLedger {
    async fn open(url: &str) -> Self {
        Self::new(&Database::connect(url).await.unwrap())
    }

    async fn sweep_all(&self) -> Result<u64, StoreError> {
        self.close_abandoned(Duration::ZERO, Abandoned::Settle).await
    }

    async fn audited(&self) -> Result<Vec<Disagreement>, StoreError> {
        self.audit().await
    }
}

/// One worker: not a test, but what the tests start as processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker() {
    let Ok(told) = std::env::var(WORKER) else { return };
    let (calls, url) = told.split_once(' ').unwrap();
    let calls = calls.parse::<usize>().unwrap();
    if url.starts_with("redis") {
        work(RedisLedger::open(url).await, calls).await;
    } else {
        work(SqlLedger::open(url).await, calls).await;
    }
}

async fn work<L: Ledger>(ledger: L, calls: usize) {
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                let mut random = Random(Random::seed());
                for _ in 0..calls / TASKS {
                    call(&ledger, &mut random).await;
                    println!("\ncalled");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

struct Random(u64);

impl Random {
    fn seed() -> u64 {
        use std::hash::{BuildHasher, Hasher};
        std::hash::RandomState::new().build_hasher().finish() | 1
    }

    /// Returns a number below `most`.
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % most
    }

    fn terms(&mut self, now: Timestamp) -> BucketTerms {
        let mut terms = BucketTerms::of(BucketKind::Promotion);
        terms.priority = u16::try_from(98 + self.below(5)).unwrap();
        let mut later = |most: u64| now.saturating_add(Duration::from_millis(self.below(most)));
        terms.valid_from = Some(later(300)).filter(|from| from.as_millis() % 3 == 0);
        terms.expires = Some(later(3_000)).filter(|expires| expires.as_millis() % 2 == 0);
        terms
    }
}

/// The plan of an account: none, a grant with a rollover, or a grant without.
fn allowance(account: u64) -> Allowance {
    let period = GrantPeriod::every(Duration::from_millis(700)).unwrap();
    let grant = Grant::new(Credits::new(200), period);
    match account % 3 {
        0 => Allowance::None,
        1 => Allowance::Grant(grant),
        _ => {
            let rollover = Rollover::new(Credits::ZERO, Credits::new(150)).unwrap();
            Allowance::Grant(grant.with_rollover(rollover))
        }
    }
}

/// Makes a charge and ends it, or makes an adjustment. A call that fails is undone, as a gate does it.
async fn call<L: Ledger>(ledger: &L, random: &mut Random) {
    let (clock, number) = (SystemClock::new(), random.below(ACCOUNTS));
    let (account, allowance) = (Account::new(format!("a{number}"), "pro"), allowance(number));
    let id = (u128::from(Random::seed()) << 64 | u128::from(random.0)).to_be_bytes();
    if random.below(4) == 0 {
        let now = clock.now().wall();
        let amount = Credits::new(random.below(60));
        let kind = match random.below(12) {
            0..4 => AdjustmentKind::TopUp(amount),
            4..8 => AdjustmentKind::TopUpInto { amount, terms: random.terms(now) },
            8 => AdjustmentKind::Deduct(amount),
            9 => AdjustmentKind::Set(amount),
            10 => AdjustmentKind::Expire(BucketId::Purchased),
            _ => AdjustmentKind::Move { from: BucketId::Purchased, amount, terms: random.terms(now) },
        };
        let name = format!("{:032x}", u128::from_be_bytes(id)).parse().unwrap();
        let adjustment = Adjustment::new(name, &account.id, kind, &allowance, now);
        if ledger.adjust(&adjustment).await.is_err() {
            // A repetition is made once.
            let _ = ledger.adjust(&adjustment).await;
        }
        return;
    }
    let id = ChargeId::from_bytes(id);
    let budget = Budget::new(Credits::new(300), GrantPeriod::every(Duration::from_millis(500)).unwrap());
    let amount = Credits::new(1 + random.below(70));
    let mut charge = Charge::new(id, &account, amount, &allowance, clock.now());
    let key = KeyId::from_bytes([u8::try_from(random.below(3)).unwrap(); 16]);
    charge.budget = (random.below(2) == 0).then_some(BudgetDraw { key, budget: &budget });
    let keep = if random.below(2) == 0 { ExpiredRefunds::Keep } else { ExpiredRefunds::Forfeit };
    let posted = ledger.charge(&charge).await;
    tokio::time::sleep(Duration::from_millis(random.below(4))).await;
    if posted.is_err() || random.below(4) == 0 {
        let mut refund = Refund::new(&account, id, &clock);
        refund.expired_refunds = keep;
        let _ = ledger.refund(&refund).await;
    } else if matches!(posted, Ok(Charged::Posted { .. })) {
        let cost = Credits::new(random.below(2 * amount.get()));
        let mut settlement = Settlement::new(&account, id, cost, &clock);
        (settlement.allowance, settlement.expired_refunds) = (&allowance, keep);
        settlement.overage = if random.below(2) == 0 { Overage::Debt } else { Overage::Cap };
        if ledger.settle(&settlement).await.is_err() {
            let _ = ledger.settle(&settlement).await;
        }
    }
}

/// A process that is a worker.
struct Process {
    child: Child,
    called: Arc<std::sync::atomic::AtomicUsize>,
}

impl Process {
    fn start(url: &str, calls: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["history::worker", "--exact", "--nocapture"]).env(WORKER, format!("{calls} {url}"));
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let (called, told) = (Arc::<std::sync::atomic::AtomicUsize>::default(), child.stdout.take().unwrap());
        let count = Arc::clone(&called);
        tokio::spawn(async move {
            let mut lines = BufReader::new(told).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                count.fetch_add(usize::from(line == "called"), std::sync::atomic::Ordering::SeqCst);
            }
        });
        Self { child, called }
    }

    fn called(&self) -> usize {
        self.called.load(std::sync::atomic::Ordering::SeqCst)
    }
}

/// Runs the workers with faults until the calls are made, and checks what is stored. Returns the number of calls.
async fn run<L: Ledger>(direct: &str, port: u16, pause: impl Fn(bool)) -> usize {
    let proxy = Proxy::to(port).await;
    let url = direct.replace(&port.to_string(), &proxy.port.to_string());
    let (ledger, calls) = (L::open(direct).await, calls());
    let (mut made, mut round) = (0, 0);
    let mut workers: Vec<Process> = (0..WORKERS).map(|_| Process::start(&url, calls)).collect();
    let until = Instant::now() + Duration::from_secs(30 + calls as u64 / 50);
    while made + workers.iter().map(Process::called).sum::<usize>() < calls {
        assert!(Instant::now() < until, "{made} of {calls} calls");
        tokio::time::sleep(Duration::from_millis(400)).await;
        match round % 3 {
            0 => {
                let place = round % WORKERS;
                let mut worker = std::mem::replace(&mut workers[place], Process::start(&url, calls));
                worker.child.kill().await.unwrap();
                made += worker.called();
            }
            1 => {
                proxy.set(Fault::LosesAnswers);
                tokio::time::sleep(Duration::from_millis(100)).await;
                proxy.set(Fault::None);
            }
            _ => {
                pause(true);
                tokio::time::sleep(Duration::from_millis(300)).await;
                pause(false);
            }
        }
        round += 1;
        assert_eq!(patiently(|| ledger.audited()).await, [], "in round {round}");
    }
    for worker in &mut workers {
        worker.child.kill().await.unwrap();
        made += worker.called();
    }
    // What the server still has to do for connections that are gone.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(patiently(|| ledger.audited()).await, []);
    patiently(|| ledger.sweep_all()).await;
    assert_eq!(patiently(|| ledger.audited()).await, [], "after the sweep");
    for number in 0..ACCOUNTS {
        check_entries(&ledger, number).await;
    }
    println!("{made} calls, {round} faults");
    made
}

/// Asks again while the server recovers from a fault.
async fn patiently<T, F: Future<Output = Result<T, StoreError>>>(ask: impl Fn() -> F) -> T {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(!error.is_corrupt() && Instant::now() < until, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Checks that no charge gave back more than it took, that nothing is below zero but by a debt, and that nothing is left
/// in a bucket that is not listed.
async fn check_entries<L: Ledger>(ledger: &L, number: u64) {
    let account = format!("a{number}");
    let query = EntryQuery::newest(account.as_str(), usize::MAX);
    let entries = patiently(|| ledger.entries(&query)).await;
    let mut charges: HashMap<ChargeId, i64> = HashMap::new();
    let mut debt = 0;
    for entry in entries.iter().rev() {
        if entry.bucket == BucketId::Debt {
            debt = entry.left.get();
        }
        match entry.balance {
            Balance::Owed(owed) => assert!(owed.get() <= debt, "{entry:?}"),
            Balance::Limited(_) => {}
            Balance::Unlimited => panic!("{entry:?}"),
        }
        if let Some(id) = entry.kind.charge() {
            *charges.entry(id).or_default() += entry.amount;
        }
    }
    // The entries of a charge may have been cut off at the beginning.
    if entries.last().is_some_and(|entry| entry.number == 1) {
        assert!(charges.values().all(|net| *net <= 0), "a charge gave back more than it took");
        let has_overage = entries.iter().any(|entry| matches!(entry.kind, EntryKind::Overage(_)));
        assert!(has_overage, "no cost was above its charge");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_in_redis_conserves_each_bucket() {
    let Some(redis) = Redis::start_durable() else { return };
    let pause = |stops: bool| if stops { redis.pause() } else { redis.resume() };
    assert!(run::<RedisLedger>(&redis.url(), redis.port(), pause).await >= calls());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_in_postgres_conserves_each_bucket() {
    let Some(postgres) = Postgres::start() else { return };
    let pause = |stops: bool| if stops { postgres.pause() } else { postgres.resume() };
    assert!(run::<SqlLedger>(&postgres.database(), postgres.port(), pause).await >= calls());
}
