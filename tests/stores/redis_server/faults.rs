//! A server that answers by errors, by nonsense or not at all: everything that is kept there is in service soon after, by
//! whichever connections.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};
use tollgate::account::{Allowance, Grant, GrantPeriod, QuotaPolicy, Quotas};
use tollgate::clock::{Now, Timestamp};
use tollgate::credit::{Charge, ChargeId, RedisLedger};
use tollgate::key::{KeyHasher, Length};
use tollgate::limit::{Draw, RedisLimiter};
use tollgate::redis::{RedisOptions, RedisServer};
use tollgate::rule::Cost;
use tollgate::store::{
    CachedStore, CachedText, Change, ChannelState, InvalidationBus, RecordCache, RedisInvalidationBus,
    RedisRecords,
};
use tollgate::{
    Account, CreditLedger, Credits, Gate, KeyFormat, KeyId, KeyRecord, KeySource, MemoryStore, Plan,
    RateLimiter, Rule, StoreError, TollgateService,
};
use tower::{ServiceExt, service_fn};

use crate::services::proxy::{Fault, Proxy};
use crate::services::redis::Redis;

/// Within this time after the fault everything is in service.
pub(super) const SOON: Duration = Duration::from_secs(10);

/// The duration of a fault.
const WHILE: Duration = Duration::from_millis(1500);

const SECRET: &str = "acme_0123456789012345678901";

/// A gate whose limits and credits are on this server, with one key.
fn gate(server: &RedisServer, record: KeyRecord) -> Gate {
    let (mut rule, mut plan) = (Rule::new("/").unwrap(), Plan::new("pro"));
    rule.cost = Cost::Fixed(Credits::new(1));
    plan.quotas.push("1000000 per second".parse().unwrap());
    let hourly = GrantPeriod::every(Duration::from_hours(1)).unwrap();
    plan.credits = Allowance::Grant(Grant::new(Credits::new(1_000_000), hourly));
    let store = MemoryStore::new();
    store.put_key(record);
    Gate::builder()
        .source(KeySource::header("x-api-key").unwrap())
        .format(KeyFormat::new("acme_", Length::exactly(22)).unwrap())
        .plan(plan)
        .rule(rule)
        .store(store)
        .limiter(RedisLimiter::new(server.clone()))
        .ledger(RedisLedger::new(server.clone()))
        .build()
        .unwrap()
}

/// Everything that asks one server.
pub(super) struct Parts {
    pub(super) limiter: RedisLimiter,
    pub(super) ledger: RedisLedger,
    /// A gate that draws and charges in one round trip.
    gate: Gate,
    records: RedisRecords,
    invalidation_bus: RedisInvalidationBus,
    node: CachedStore<MemoryStore>,
    pub(super) record: KeyRecord,
    quotas: Quotas,
    charges: AtomicU32,
}

pub(super) type Asked = Result<(), StoreError>;

impl Parts {
    fn new(port: u16, prefix: &str) -> Self {
        Self::with_options(port, RedisOptions::new(prefix))
    }

    fn with_options(port: u16, options: RedisOptions) -> Self {
        Self::at(&format!("redis://127.0.0.1:{port}"), options)
    }

    pub(super) fn at(url: &str, options: RedisOptions) -> Self {
        let server = RedisServer::with_options(url, options).unwrap();
        let builder = CachedStore::builder(MemoryStore::new()).second_tier(RedisRecords::new(server.clone()));
        let node = builder.invalidation_bus(RedisInvalidationBus::new(server.clone())).build().unwrap();
        let hash = KeyHasher::sha256().hash(SECRET.as_bytes());
        let record = KeyRecord::new(KeyId::from_bytes([7; 16]), hash, Arc::new(Account::new("acme", "pro")));
        let quota = QuotaPolicy::new(1_000_000, Duration::from_secs(1)).unwrap();
        Self {
            limiter: RedisLimiter::new(server.clone()),
            ledger: RedisLedger::new(server.clone()),
            gate: gate(&server, record.clone()),
            records: RedisRecords::new(server.clone()),
            invalidation_bus: RedisInvalidationBus::new(server),
            node,
            record,
            quotas: Quotas::new([quota]),
            charges: AtomicU32::new(0),
        }
    }

    fn charge(&self) -> Charge<'_> {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&self.charges.fetch_add(1, Ordering::SeqCst).to_be_bytes());
        let account = &self.record.account;
        Charge::new(ChargeId::from_bytes(id), account, Credits::new(1), &Allowance::Unlimited, now())
    }

    fn draw(&self) -> Draw<'_> {
        Draw::new(&self.record, &self.quotas, now())
    }

    pub(super) async fn limit(&self) -> Asked {
        self.limiter.draw(&self.draw()).await.map(drop)
    }

    pub(super) async fn book(&self) -> Asked {
        self.ledger.charge(&self.charge()).await.map(drop)
    }

    pub(super) async fn meter(&self) -> Asked {
        let request = Request::get("/").header("x-api-key", SECRET).body(String::new()).unwrap();
        let inner = service_fn(|_| ready(Ok::<_, Infallible>(Response::new(String::new()))));
        let answer = TollgateService::new(inner, self.gate.clone()).oneshot(request).await.unwrap();
        match answer.status().as_u16() {
            200 => Ok(()),
            status => Err(StoreError::unavailable(status.to_string())),
        }
    }

    pub(super) async fn look(&self) -> Asked {
        self.records.get(&self.record.hash).await.map(drop)
    }

    pub(super) async fn announce(&self) -> Asked {
        self.invalidation_bus.announce(&Change::Everything).await
    }

    pub(super) fn hear(&self) -> Ready<Asked> {
        ready(match self.node.health().channel_state {
            ChannelState::Open => Ok(()),
            hearing => Err(StoreError::unavailable(format!("{hearing:?}"))),
        })
    }

    /// Asks for everything at once, again and again, each until it is answered or this much time is over.
    pub(super) async fn in_service(&self, time: Duration) -> Result<(), String> {
        let until = Instant::now() + time;
        let (limited, booked, metered, looked, announced, heard) = tokio::join!(
            answered(until, || self.limit()),
            answered(until, || self.book()),
            answered(until, || self.meter()),
            answered(until, || self.look()),
            answered(until, || self.announce()),
            answered(until, || self.hear()),
        );
        let parts = [limited, booked, metered, looked, announced, heard];
        let names = ["limiter", "ledger", "meter", "records", "announcements", "hearing"];
        let failed = names.into_iter().zip(parts).filter_map(|(name, part)| Some((name, part.err()?)));
        let failed: Vec<String> = failed.map(|(name, error)| format!("{name}: {error:?}")).collect();
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }

    /// Asks for everything all the time, whatever is answered.
    pub(super) async fn ask_for(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            let _ = tokio::join!(self.limit(), self.book(), self.meter(), self.look(), self.announce());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn answered<F: Future<Output = Asked>>(until: Instant, ask: impl Fn() -> F) -> Asked {
    loop {
        let answer = ask().await;
        if answer.is_ok() || Instant::now() >= until {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(super) fn now() -> Now {
    Now::new(Timestamp::from_millis(1_777_550_400_000), Duration::ZERO)
}

/// The duration of a fault, and the connections that it affects.
#[derive(Debug, Clone, Copy)]
enum Lasts {
    /// Every connection, for a while.
    AWhile,
    /// The connections that are open when it begins, for ever; new ones are served.
    OnOpenOnes,
}

/// Puts everything behind a fault of its own, and says what is not in service afterwards.
async fn tried(number: usize, redis: u16, fault: Fault, lasts: Lasts) -> Result<(), String> {
    let proxy = Proxy::to(redis).await;
    let parts = Parts::new(proxy.port, &format!("fault-{number}"));
    let told = |when: &str, failed: String| format!("{fault:?} {lasts:?}, {when}: {failed}");
    parts.in_service(SOON).await.map_err(|failed| told("before", failed))?;
    match lasts {
        Lasts::AWhile => {
            proxy.set(fault);
            parts.ask_for(WHILE).await;
            proxy.set(Fault::None);
        }
        Lasts::OnOpenOnes => proxy.keep(fault),
    }
    parts.in_service(SOON).await.map_err(|failed| told("after", failed))?;
    parts.ask_for(Duration::from_millis(300)).await;
    parts.in_service(SOON).await.map_err(|failed| told("later", failed))?;
    // Two connections for questions, one that listens; replaced ones were ended.
    let until = Instant::now() + SOON;
    while proxy.open() > 3 {
        if Instant::now() > until {
            return Err(told("connections", proxy.open().to_string()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let accepted = proxy.accepted();
    // While it lasts, each of the three is tried at most ten times a second; a refused one costs nothing.
    let is_refusing = matches!(fault, Fault::Cut | Fault::Refuses(_));
    if accepted > 120 && !is_refusing { Err(told("attempts", accepted.to_string())) } else { Ok(()) }
}

/// The error replies that a server may send instead of an answer.
const REPLIES: [&str; 25] = [
    "-READONLY You can't write against a read only replica.\r\n",
    "-READONLY You can't write against a read only replica. script: 4e, on @user_script:5.\r\n",
    "-ERR Error running script (call to f_4e): @user_script:5: @user_script: 5: -READONLY You can't write against a read only replica.\r\n",
    "-ERR Error running script (call to f_4e): @user_script:5: @user_script: 5: -OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "-ERR Script attempted to access a non local key in a cluster node script: 4e, on @user_script:5.\r\n",
    "-LOADING Redis is loading the dataset in memory\r\n",
    "-NOAUTH Authentication required.\r\n",
    "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
    "-NOPERM User default has no permissions to run the 'evalsha' command\r\n",
    "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n",
    "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
    "-CLUSTERDOWN The cluster is down\r\n",
    "-MOVED 3999 127.0.0.1:1\r\n",
    "-ASK 3999 127.0.0.1:1\r\n",
    "-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
    "-NOSCRIPT No matching script. Please use EVAL.\r\n",
    "-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.\r\n",
    "-NOREPLICAS Not enough good replicas to write.\r\n",
    "-ERR something went wrong\r\n",
    "-REDIRECT 127.0.0.1:1\r\n",
    "+OK\r\n",
    "$-1\r\n",
    "HTTP/1.1 400 Bad Request\r\n\r\n",
    "\u{0}\u{7f}nonsense\r\n",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_resumes_after_any_fault() {
    let Some(redis) = Redis::start() else { return };
    let replies = REPLIES
        .into_iter()
        .flat_map(|text| [false, true].map(|to_greetings| Fault::Replies { text, to_greetings }));
    let others = [
        Fault::Cut,
        Fault::Slow(Duration::from_secs(2)),
        Fault::LosesAnswers,
        Fault::Hold,
        Fault::Silent,
        Fault::Refuses(""),
        Fault::Refuses("-ERR max number of clients reached\r\n"),
        Fault::Refuses("-DENIED Redis is running in protected mode\r\n"),
    ];
    let faults: Vec<Fault> = replies.chain(others).collect();
    let each = faults.iter().flat_map(|fault| [(*fault, Lasts::AWhile), (*fault, Lasts::OnOpenOnes)]);
    // What is held for ever is silence.
    let each = each.filter(|(fault, lasts)| !matches!((fault, lasts), (Fault::Hold, Lasts::OnOpenOnes)));
    let mut failed = Vec::new();
    // Not all at once: a busy machine would be taken for a silent server.
    for (round, some) in each.collect::<Vec<_>>().chunks(16).enumerate() {
        let mut tasks = tokio::task::JoinSet::new();
        for (number, (fault, lasts)) in some.iter().enumerate() {
            tasks.spawn(tried(round * 16 + number, redis.port(), *fault, *lasts));
        }
        failed.extend(tasks.join_all().await.into_iter().filter_map(Result::err));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_behind_a_forwarder_is_found() {
    let (Some(old), Some(new)) = (Redis::start(), Redis::start()) else { return };
    let proxy = Proxy::to(old.port()).await;
    let parts = Parts::new(proxy.port, "acme");
    parts.in_service(SOON).await.unwrap();
    // The connections stay where they are.
    old.say(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]);
    proxy.point_to(new.port());
    parts.in_service(SOON).await.unwrap();
    assert!(new.say(&["DBSIZE"]) != ":0", "the new server is asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_is_found_by_a_listener() {
    let (Some(old), Some(new)) = (Redis::start(), Redis::start()) else { return };
    let proxy = Proxy::to(old.port()).await;
    let parts = Parts::new(proxy.port, "acme");
    parts.in_service(SOON).await.unwrap();
    // A replica of nobody: what is told on the new server is not heard there.
    old.say(&["CONFIG", "SET", "replica-read-only", "yes"]);
    old.say(&["REPLICAOF", "127.0.0.1", "1"]);
    let before = proxy.accepted();
    proxy.point_to(new.port());
    let until = Instant::now() + SOON;
    while proxy.accepted() == before || parts.hear().await.is_err() {
        assert!(Instant::now() < until, "it listens to the old server");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn temporary_password_is_survived() {
    let Some(redis) = Redis::start() else { return };
    let parts = Parts::new(redis.port(), "acme");
    parts.in_service(SOON).await.unwrap();
    redis.say(&["CONFIG", "SET", "requirepass", "secret"]);
    let as_admin = |words: &[&str]| redis.say_as("secret", words);
    as_admin(&["CLIENT", "KILL", "TYPE", "normal"]);
    as_admin(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    parts.ask_for(Duration::from_secs(3)).await;
    assert!(parts.hear().await.is_err(), "it is shut out");
    as_admin(&["CONFIG", "SET", "requirepass", ""]);
    parts.in_service(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prefix_of_another_authority_is_refused() {
    let Some(redis) = Redis::start() else { return };
    let of = |prefix: &str, authority: &str| {
        let mut options = RedisOptions::new(prefix);
        options.authority = Some(authority.to_owned());
        options
    };
    let first = Parts::with_options(redis.port(), of("acme", "one"));
    first.in_service(SOON).await.unwrap();
    let told = redis.say(&["GET", "acme:{changes}:count"]);

    let stranger = RedisServer::with_options(&redis.url(), of("acme", "two")).unwrap();
    let refused = stranger.ping().await.unwrap_err();
    assert!(format!("{refused:?}").contains("another authority"), "{refused:?}");
    let stranger = Parts::with_options(redis.port(), of("acme", "two"));
    let answers = tokio::join!(
        stranger.limit(),
        stranger.book(),
        stranger.meter(),
        stranger.look(),
        stranger.announce(),
        stranger.hear()
    );
    let (limited, booked, metered, looked, announced, heard) = answers;
    for answer in [limited, booked, metered, looked, announced, heard] {
        assert!(answer.is_err());
    }
    assert_eq!(redis.say(&["GET", "acme:{changes}:count"]), told, "nothing is written");

    // The same authority's other nodes, and the other authority under a prefix of its own.
    Parts::with_options(redis.port(), of("acme", "one")).in_service(SOON).await.unwrap();
    Parts::with_options(redis.port(), of("other", "two")).in_service(SOON).await.unwrap();
    first.in_service(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_of_two_prefixes_share_nothing() {
    let Some(redis) = Redis::start() else { return };
    let (one, other) = (Parts::new(redis.port(), "one"), Parts::new(redis.port(), "other"));
    one.in_service(SOON).await.unwrap();
    other.in_service(SOON).await.unwrap();
    let record = &one.record;
    let version = one.records.get(&record.hash).await.unwrap().version;
    let kept = CachedText::new("a record".to_owned(), None, Duration::from_mins(1));
    one.records.put(&record.hash, version, &kept).await.unwrap();
    assert!(one.records.get(&record.hash).await.unwrap().found.is_some());
    assert!(other.records.get(&record.hash).await.unwrap().found.is_none());
    for name in redis.say(&["KEYS", "*"]).lines().filter(|line| line.contains(':')) {
        assert!(name.starts_with("one:") || name.starts_with("other:"), "{name}");
    }
}
