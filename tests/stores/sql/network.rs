//! A PostgreSQL server behind a network that fails: service is back within seconds, by every connection of the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tollgate::credit::{Charged, SqlLedger};
use tollgate::key::KeyHasher;
use tollgate::sql::DatabaseOptions;
use tollgate::store::{AccountAdmin, InsertKey, Inserted, KeyAdmin, SqlStore};
use tollgate::{Account, KeyId, KeyRecord, KeyStore, StoreError};

use crate::services::postgres::Postgres;
use crate::services::proxy::{Fault, Proxy};
use crate::sql::ledger::{at, balance, charge, top_up};

const CONNECTIONS: u32 = 16;

/// The time within which service must return.
const HEALED: Duration = Duration::from_secs(10);

fn key() -> KeyRecord {
    let hash = KeyHasher::sha256().hash(b"acme_secret");
    KeyRecord::new(KeyId::from_bytes([7; 16]), hash, Arc::new(Account::new("ada", "pro")))
}

struct Stage {
    server: Postgres,
    proxy: Proxy,
    /// The database past the proxy.
    beside: String,
    store: SqlStore,
    ledger: SqlLedger,
}

impl Stage {
    async fn new() -> Option<Self> {
        let server = Postgres::start()?;
        let proxy = Proxy::to(server.port()).await;
        let beside = server.database();
        let through = beside.replace(&server.port().to_string(), &proxy.port.to_string());
        let options = DatabaseOptions::new(&through).unwrap().with_connections(CONNECTIONS);
        let options = options.with_acquire_timeout(Duration::from_secs(1));
        let database = options.with_statement_timeout(Duration::from_secs(2)).open().await.unwrap();
        let (store, ledger) = (SqlStore::new(&database), SqlLedger::new(&database));
        assert!(store.create_account(&key().account).await.unwrap());
        assert_eq!(store.insert(&InsertKey::new(key(), at(0))).await.unwrap(), Inserted::Done);
        let _ = top_up(&ledger, "ada", "a", 1_000_000).await;
        Some(Self { server, proxy, beside, store, ledger })
    }

    fn name(&self) -> &str {
        self.beside.rsplit('/').next().unwrap()
    }

    /// Sixty-four tasks that look a key up again and again, until the value is dropped.
    fn load(&self) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        for _ in 0..64 {
            let (store, over) = (self.store.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let _ = store.find(&key().hash).await;
                    // Connections are in use all the time, and a core is left for others.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            });
        }
        Load(over)
    }

    /// Waits for the first call of each kind that succeeds.
    async fn heals(&self, after: &str) {
        let begun = Instant::now();
        let mut id = u64::from(rand()) << 32;
        again(after, begun, async || self.store.find(&key().hash).await).await;
        again(after, begun, async || {
            id += 1;
            charge(&self.ledger, &key().account, id, 1).await
        })
        .await;
    }

    /// Every connection of the pool is of use: so many look-ups wait for one lock at the same time.
    async fn is_whole(&self, after: &str) {
        let mut lock = PgConnection::connect(&self.beside).await.unwrap();
        let begun = Instant::now();
        loop {
            sqlx::raw_sql("BEGIN; LOCK TABLE tollgate_hashes").execute(&mut lock).await.unwrap();
            let mut asked = tokio::task::JoinSet::new();
            for _ in 0..CONNECTIONS {
                let store = self.store.clone();
                asked.spawn(async move { store.find(&key().hash).await });
            }
            let (mut most, turn) = (0, Instant::now());
            while most < i64::from(CONNECTIONS) && turn.elapsed() < Duration::from_millis(1_500) {
                let waiting = "SELECT count(*) FROM pg_stat_activity \
                               WHERE datname = current_database() AND wait_event_type = 'Lock'";
                let now: i64 = sqlx::query_scalar(waiting).fetch_one(&mut lock).await.unwrap();
                most = most.max(now);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
            asked.join_all().await;
            if most == i64::from(CONNECTIONS) {
                return;
            }
            assert!(begun.elapsed() < HEALED, "after {after}: {most} connections are of use");
        }
    }
}

struct Load(Arc<AtomicBool>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn rand() -> u16 {
    use std::sync::atomic::AtomicU16;
    static NEXT: AtomicU16 = AtomicU16::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn again<T>(after: &str, begun: Instant, mut ask: impl AsyncFnMut() -> Result<T, StoreError>) {
    while let Err(error) = ask().await {
        assert!(begun.elapsed() < HEALED, "after {after}: {error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_occupy_no_slot() {
    let Some(stage) = Stage::new().await else { return };
    let load = stage.load();
    for round in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stage.proxy.strand();
        tokio::time::sleep(Duration::from_secs(3)).await;
        stage.heals(&format!("round {round}")).await;
    }
    drop(load);
    stage.is_whole("three rounds").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_idle_connections_fail_no_call() {
    let Some(stage) = Stage::new().await else { return };
    stage.is_whole("the start").await;
    // Longer than a connection is trusted without a sign of life.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    stage.proxy.strand();
    let found = tokio::time::timeout(HEALED, stage.store.find(&key().hash)).await;
    assert_eq!(found.unwrap().unwrap().as_deref(), Some(&key()));
    stage.is_whole("silence").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_network_fault_heals_in_seconds() {
    let Some(stage) = Stage::new().await else { return };
    let faults = [
        Fault::Cut,
        Fault::Slow(Duration::from_millis(700)),
        Fault::LosesAnswers,
        Fault::Hold,
        Fault::Silent,
    ];
    for fault in faults {
        let load = stage.load();
        tokio::time::sleep(Duration::from_millis(200)).await;
        stage.proxy.set(fault);
        tokio::time::sleep(Duration::from_secs(3)).await;
        stage.proxy.set(Fault::None);
        stage.heals(&format!("{fault:?}")).await;
        drop(load);
        stage.is_whole(&format!("{fault:?}")).await;
    }
    assert_eq!(stage.ledger.audit().await.unwrap(), []);
}

/// A program that answers each connection's first message by an error, as a server does that will have none of it.
async fn refusing(code: &'static str) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut asked = [0; 1_024];
            let _ = client.read(&mut asked).await;
            let fields = format!("SFATAL\0VFATAL\0C{code}\0Mrefused by a test\0\0");
            let mut answer = vec![b'E'];
            answer.extend(u32::try_from(fields.len() + 4).unwrap().to_be_bytes());
            answer.extend(fields.as_bytes());
            let _ = client.write_all(&answer).await;
        }
    });
    (port, serving)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_connections_heal_in_seconds() {
    let Some(stage) = Stage::new().await else { return };
    let codes = [
        "57P01", "57P02", "57P03", "57P04", "57P05", "53300", "28P01", "28000", "3D000", "42501", "08001",
        "08004", "08006", "08P01", "53100", "53200", "25006", "0A000", "XX000",
    ];
    for code in codes {
        let (port, serving) = refusing(code).await;
        stage.proxy.set(Fault::Cut);
        stage.proxy.point_to(port);
        let begun = Instant::now();
        while stage.proxy.open() > 0 {
            assert!(begun.elapsed() < HEALED, "the connections end");
            tokio::task::yield_now().await;
        }
        stage.proxy.set(Fault::None);
        while stage.store.find(&key().hash).await.is_ok() {
            assert!(begun.elapsed() < HEALED, "{code} is an error");
        }
        assert!(charge(&stage.ledger, &key().account, 1, 1).await.is_err(), "{code}");
        stage.proxy.point_to(stage.server.port());
        serving.abort();
        stage.heals(code).await;
    }
    stage.is_whole("all codes").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_statements_heal_at_once() {
    let Some(stage) = Stage::new().await else { return };
    let say = |words: &str| stage.server.say(stage.name(), words);
    say(
        "CREATE TABLE fault (code TEXT, times INT); INSERT INTO fault VALUES ('', 0); CREATE SEQUENCE calls; \
         CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ \
         BEGIN \
           IF (SELECT nextval('calls') <= times FROM fault) THEN \
             RAISE EXCEPTION USING ERRCODE = (SELECT code FROM fault), MESSAGE = 'raised by a test'; \
           END IF; \
           RETURN NEW; \
         END $$; \
         CREATE TRIGGER fails BEFORE UPDATE ON tollgate_balances FOR EACH ROW EXECUTE FUNCTION fail(); \
         CREATE TRIGGER fails BEFORE UPDATE ON tollgate_accounts FOR EACH ROW EXECUTE FUNCTION fail();",
    );
    let (mut id, mut account) = (10, (*key().account).clone());
    for code in [
        "53100", "53200", "42501", "55P03", "57014", "08006", "57P01", "25006", "58030", "XX000", "40003",
        "26000",
    ] {
        say(&format!("UPDATE fault SET code = '{code}', times = 1000000"));
        assert!(charge(&stage.ledger, &key().account, id, 1).await.is_err(), "{code}");
        assert!(stage.store.replace_account(&account).await.is_err(), "{code}");
        say("UPDATE fault SET times = 0");
        assert!(
            matches!(charge(&stage.ledger, &key().account, id + 1, 1).await, Ok(Charged::Posted { .. })),
            "{code}"
        );
        let _ = stage.store.replace_account(&account).await.unwrap();
        account.version += 1;
        id += 2;
    }
    // What the database undoes in favour of others is done again, and nobody hears of it.
    for code in ["40001", "40P01"] {
        say(&format!("SELECT setval('calls', 1); UPDATE fault SET code = '{code}', times = 4"));
        assert!(
            matches!(charge(&stage.ledger, &key().account, id, 1).await, Ok(Charged::Posted { .. })),
            "{code}"
        );
        say("SELECT setval('calls', 1)");
        let _ = stage.store.replace_account(&account).await.unwrap();
        account.version += 1;
        id += 1;
    }
    // Twelve codes and two: each charged once.
    assert_eq!(balance(&stage.ledger, "ada").await, 1_000_000 - 14);
    stage.is_whole("all codes").await;
    assert_eq!(stage.ledger.audit().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_backends_occupy_no_slot() {
    let Some(stage) = Stage::new().await else { return };
    stage.is_whole("the start").await;
    for _ in 0..3 {
        stage.server.say(
            "postgres",
            &format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
                stage.name()
            ),
        );
        stage.heals("57P01").await;
        stage.is_whole("57P01").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_turned_read_only_is_left() {
    let Some(stage) = Stage::new().await else { return };
    let Some(primary) = Postgres::start() else { return };
    let name = primary.database();
    assert_eq!(name.rsplit('/').next(), Some(stage.name()));
    let promoted = SqlStore::connect(&name).await.unwrap();
    assert!(promoted.create_account(&Account::new("ada", "promoted")).await.unwrap());
    stage.is_whole("the start").await;
    // The connections stay open: the old primary takes no writes any more, and new connections reach the new one.
    stage.server.say("postgres", "ALTER SYSTEM SET default_transaction_read_only = on");
    stage.server.say("postgres", "SELECT pg_reload_conf()");
    stage.proxy.point_to(primary.port());
    let begun = Instant::now();
    // Reading alone finds the new server as well.
    loop {
        let account = stage.store.account_of(&"ada".into()).await.unwrap().unwrap();
        if account.plan.as_str() == "promoted" {
            break;
        }
        assert!(begun.elapsed() < HEALED, "the old primary is still read from");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    again("the fail-over", begun, async || stage.store.replace_account(&Account::new("ada", "new")).await)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_write_finds_the_new_primary() {
    let Some(stage) = Stage::new().await else { return };
    let Some(primary) = Postgres::start() else { return };
    let promoted = SqlStore::connect(&primary.database()).await.unwrap();
    assert!(promoted.create_account(&Account::new("ada", "promoted")).await.unwrap());
    // All connections are replaced at most once in two seconds, also after a database was opened.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    // A connection that was just checked and used is not checked before the next write.
    let _ = stage.store.replace_account(&Account::new("ada", "old")).await.unwrap();
    stage.server.say("postgres", "ALTER SYSTEM SET default_transaction_read_only = on");
    stage.server.say("postgres", "SELECT pg_reload_conf()");
    stage.proxy.point_to(primary.port());
    let (begun, mut refused) = (Instant::now(), 0);
    // The old primary may take a last write before it hears of its new setting.
    while promoted.account_of(&"ada".into()).await.unwrap().unwrap().version == 0 {
        assert!(begun.elapsed() < HEALED, "writes still go to the old primary");
        if let Err(error) = stage.store.replace_account(&Account::new("ada", "new")).await {
            refused += usize::from(format!("{error:?}").contains("read-only"));
        }
    }
    assert!(refused <= 1, "the old primary refused {refused} writes");
}
