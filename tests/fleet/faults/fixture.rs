//! A gate over two servers of its own, each behind a network that can be made bad.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tollgate::account::Allowance;
use tollgate::clock::{SystemClock, Timestamp};
use tollgate::credit::{Adjustment, AdjustmentKind, Balance, CreditAdmin, SqlLedger};
use tollgate::guard::{GuardLimits, Resilient};
use tollgate::limit::RedisLimiter;
use tollgate::name::AccountId;
use tollgate::redis::RedisServer;
use tollgate::sql::{Database, DatabaseOptions};
use tollgate::store::{AccountAdmin, SqlStore};
use tollgate::{Account, Clock, Config, Credits, Gate, KeyManager, NewKey, TollgateService};
use tower::{ServiceExt, service_fn};

use crate::services::postgres::Postgres;
use crate::services::proxy::Proxy;
use crate::services::redis::Redis;

const GATE: &str = r#"
    sources = [{ header = "X-API-Key" }]
    formats = [{ prefix = "acme_", body = 32 }]
    rules = [{ route = "GET /report", cost = 1 }]
    [plans.metered]
    quotas = ["1000000 per second"]
    in_flight = { most = 1000, counts = "account" }
"#;

const CREDITS: u64 = 1_000_000;

/// The lifetime of a slot.
const LIFETIME: Duration = Duration::from_secs(1);

pub(crate) struct Stage {
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    pub(crate) to_postgres: Proxy,
    pub(crate) to_redis: Proxy,
    /// The database's name.
    name: String,
    gate: Gate,
    ledger: Resilient<SqlLedger>,
    /// The same balances, past the network.
    beside: SqlLedger,
    account: AccountId,
    key: Arc<str>,
    served: Arc<AtomicU64>,
}

fn limits() -> GuardLimits {
    let mut limits = GuardLimits::default();
    (limits.time, limits.cooldown) = (Duration::from_millis(500), Duration::from_millis(100));
    limits
}

impl Stage {
    /// `None`, said loudly, where there are no servers.
    pub(crate) async fn new() -> Option<Self> {
        let (postgres, redis) = (Postgres::start()?, Redis::start()?);
        let (to_postgres, to_redis) = (Proxy::to(postgres.port()).await, Proxy::to(redis.port()).await);
        let beside = postgres.database();
        let through = beside.replace(&postgres.port().to_string(), &to_postgres.port.to_string());
        let name = beside.rsplit('/').next().unwrap().to_owned();
        let beside = Database::connect(&beside).await.unwrap();
        let options = DatabaseOptions::new(&through).unwrap().with_acquire_timeout(limits().time);
        let database = options.with_statement_timeout(limits().time).open().await.unwrap();
        let server = RedisServer::open(&format!("redis://127.0.0.1:{}", to_redis.port), "acme").unwrap();

        let ledger = Resilient::with_limits(SqlLedger::new(&database), limits());
        let store = Resilient::with_limits(SqlStore::new(&database), limits());
        let limiter = RedisLimiter::new(server).with_slot_lifetime(LIFETIME).unwrap();
        let limiter = Resilient::with_limits(limiter, limits());
        let config = Config::from_toml(GATE, "gate.toml").unwrap();
        let builder = config.builder().unwrap().store(store.clone());
        let gate = builder.limiter(limiter).ledger(ledger.clone()).build().unwrap();

        store.create_account(&Account::new("acme", "metered")).await.unwrap();
        let issued =
            KeyManager::new(gate.clone()).unwrap().issue(NewKey::new("acme", "a test's")).await.unwrap();
        let stage = Self {
            postgres,
            redis,
            to_postgres,
            to_redis,
            name,
            gate,
            ledger,
            beside: SqlLedger::new(&beside),
            account: "acme".into(),
            key: issued.secret.expose_secret().into(),
            served: Arc::default(),
        };
        let (kind, none) = (AdjustmentKind::TopUp(Credits::new(CREDITS)), Allowance::None);
        let paid = Adjustment::new("paid".parse().unwrap(), &stage.account, kind, &none, now());
        let _adjusted = stage.beside.adjust(&paid).await.unwrap();
        Some(stage)
    }

    /// Asks all the time, makes something go bad after a second and good again two seconds later; then looks at what was
    /// answered, at what was paid, and at how long it took to serve again.
    pub(crate) async fn under_load(&mut self, bad: impl FnOnce(&mut Self), good: impl FnOnce(&mut Self)) {
        let asking = self.ask_all_the_time();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = self.served.load(Ordering::SeqCst);
        assert!(before > 0, "it serves while all is well");
        tokio::task::block_in_place(|| bad(self));
        tokio::time::sleep(Duration::from_secs(2)).await;
        tokio::task::block_in_place(|| good(self));
        let (healed, known) = (Instant::now(), self.served.load(Ordering::SeqCst));
        while self.served.load(Ordering::SeqCst) < known + 20 {
            assert!(healed.elapsed() < Duration::from_secs(20), "it serves again by itself");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let back = healed.elapsed();
        asking.abort();
        let served = self.settled().await;
        self.no_slots_are_left().await;
        eprintln!("served {before}, then {} more; again after {back:.1?}", served - before);
    }

    /// Sixteen clients. Each answer must be the report, or that it could not be decided.
    fn ask_all_the_time(&self) -> Clients {
        let clients = (0..16).map(|_| {
            let (gate, key, served) = (self.gate.clone(), Arc::clone(&self.key), Arc::clone(&self.served));
            tokio::spawn(async move {
                let report = service_fn(move |_: Request<Empty<Bytes>>| {
                    served.fetch_add(1, Ordering::SeqCst);
                    async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
                });
                let service = TollgateService::new(report, gate);
                loop {
                    let request = Request::get("/report").header("X-API-Key", &*key).body(Empty::new());
                    let response = service.clone().oneshot(request.unwrap()).await.unwrap();
                    let (status, headers) = (response.status().as_u16(), response.headers());
                    assert!(matches!(status, 200 | 503), "a request is answered {status}");
                    assert!(status == 200 || headers.contains_key("retry-after"));
                    if status == 503 {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            })
        });
        Clients(clients.collect())
    }

    /// Waits until all that is under way is paid or given back; what was served is then what was paid, once each.
    async fn settled(&self) -> u64 {
        let start = Instant::now();
        loop {
            let (served, paid) = (self.served.load(Ordering::SeqCst), CREDITS - self.balance().await);
            let open = self
                .postgres
                .say(&self.name, "SELECT count(*) FROM tollgate_charges WHERE closed_at IS NULL");
            if served == paid && open == "0" {
                break;
            }
            let health = self.ledger.health();
            let said = format!("{served} were served, {paid} paid, {open} charges are open, {health:?}");
            assert!(start.elapsed() < Duration::from_secs(20), "{said}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let disagreements = self.beside.audit().await.unwrap();
        assert!(disagreements.is_empty(), "{disagreements:?}");
        self.served.load(Ordering::SeqCst)
    }

    /// Waits until the lifetime of every slot has passed: no request holds one, and none is renewed.
    async fn no_slots_are_left(&self) {
        let start = Instant::now();
        while self.redis.say(&["EXISTS", "acme:{a:acme}:limit:slots"]) != ":0" {
            assert!(start.elapsed() < LIFETIME + Duration::from_secs(1), "slots are left");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn balance(&self) -> u64 {
        let balance = self
            .beside
            .balance_of(&self.account, &tollgate::credit::Currency::CREDITS, &Allowance::None, now())
            .await
            .unwrap();
        let Balance::Limited(credits) = balance else { panic!("{balance:?}") };
        credits.get()
    }
}

/// Clients at work, each of which must not have failed when they are told to stop.
struct Clients(Vec<tokio::task::JoinHandle<()>>);

impl Clients {
    fn abort(self) {
        for client in self.0 {
            assert!(!client.is_finished(), "a client failed: its message stands above");
            client.abort();
        }
    }
}

fn now() -> Timestamp {
    SystemClock::new().now().wall()
}
