//! Servers that die, stop and come back, and nodes that are killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate::credit::{Abandoned, Charged, SqlLedger};
use tollgate::key::KeyHasher;
use tollgate::sql::{Database, DatabaseOptions};
use tollgate::store::{AccountAdmin, InsertKey, Inserted, KeyAdmin, KeyQuery, SqlStore};
use tollgate::{Account, CreditLedger, KeyId, KeyRecord, KeyStore, StoreError};

use crate::database::{Place, both};
use crate::services::postgres::Postgres;
use crate::sql::ledger::{at, balance, charge, number, posted, top_up};

both!(killed_node_leaves_the_ledger_consistent);

/// The time within which a server must be found again.
const LONG: Duration = Duration::from_mins(1);

fn key() -> KeyRecord {
    let hash = KeyHasher::sha256().hash(b"acme_secret");
    KeyRecord::new(KeyId::from_bytes([7; 16]), hash, Arc::new(Account::new("ada", "pro")))
}

/// A store with one key, and a ledger with 1,000 credits, over a server of the test's own.
async fn open(server: &Postgres) -> (SqlStore, SqlLedger) {
    let options = DatabaseOptions::new(&server.database()).unwrap().with_connections(4);
    let short = Duration::from_millis(400);
    let database = options.with_acquire_timeout(short).with_statement_timeout(short).open().await.unwrap();
    let (store, ledger) = (SqlStore::new(&database), SqlLedger::new(&database));
    assert!(store.create_account(&key().account).await.unwrap());
    assert_eq!(store.insert(&InsertKey::new(key(), at(0))).await.unwrap(), Inserted::Done);
    let _ = top_up(&ledger, "ada", "a", 1_000).await;
    (store, ledger)
}

/// Checks that calls fail in bounded time, and that no key is reported absent.
async fn all_fails(store: &SqlStore, ledger: &SqlLedger) {
    let begun = Instant::now();
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        asked.spawn(async move { store.find(&key().hash).await });
    }
    for found in asked.join_all().await {
        assert!(found.is_err(), "{found:?}");
    }
    assert!(store.get(key().id).await.is_err());
    assert!(store.list(&KeyQuery::first(5)).await.is_err());
    assert!(store.insert(&InsertKey::new(key(), at(0))).await.is_err());
    assert!(store.touch(&[(key().id, at(0))]).await.is_err());
    assert!(charge(ledger, &key().account, 500, 7).await.is_err());
    assert!(ledger.refund(&crate::support::refund(&key().account, number(500))).await.is_err());
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
}

/// Asks until there is an answer.
async fn again<T>(mut ask: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(begun.elapsed() < LONG, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_server_is_an_error_and_found_again() {
    let Some(mut server) = Postgres::start() else { return };
    let (store, ledger) = open(&server).await;
    for _ in 0..2 {
        assert_eq!(*store.find(&key().hash).await.unwrap().unwrap(), key());
        server.kill();
        all_fails(&store, &ledger).await;
        server.restart();
        assert_eq!(again(async || store.find(&key().hash).await).await.as_deref(), Some(&key()));
        // What became of the charge is not known: the gate gives it back.
        again(async || ledger.refund(&crate::support::refund(&key().account, number(500))).await).await;
        assert_eq!(balance(&ledger, "ada").await, 1_000);
        assert_eq!(ledger.audit().await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_server_is_an_error_at_deadline() {
    let Some(server) = Postgres::start() else { return };
    let (store, ledger) = open(&server).await;
    server.pause();
    let begun = Instant::now();
    let error = store.find(&key().hash).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(error.is_timeout() || error.to_string().contains("overloaded"), "{error}");
    all_fails(&store, &ledger).await;
    server.resume();
    assert_eq!(again(async || store.find(&key().hash).await).await.as_deref(), Some(&key()));
    again(async || ledger.refund(&crate::support::refund(&key().account, number(500))).await).await;
    assert_eq!(again(async || charge(&ledger, &key().account, 501, 1).await).await, posted(999));
    assert_eq!(ledger.audit().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server_charges_nothing_twice() {
    let Some(mut server) = Postgres::start() else { return };
    let (_, ledger) = open(&server).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..32_u64 {
        let ledger = ledger.clone();
        tasks.spawn(async move {
            let (mut taken, mut unknown) = (0, Vec::new());
            for turn in 0..12 {
                let id = 1_000 * (task + 1) + turn;
                match charge(&ledger, &key().account, id, 1).await {
                    Ok(Charged::Posted { .. }) => taken += 1,
                    Ok(refused) => panic!("there is enough for all: {refused:?}"),
                    Err(_) => unknown.push(id),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (taken, unknown)
        });
    }
    tokio::time::sleep(Duration::from_millis(80)).await;
    server.kill();
    server.restart();
    let (mut taken, mut unknown) = (0, Vec::new());
    for (some, lost) in tasks.join_all().await {
        taken += some;
        unknown.extend(lost);
    }
    assert!(!unknown.is_empty(), "the server was away while it was asked");
    for id in unknown {
        again(async || ledger.refund(&crate::support::refund(&key().account, number(id))).await).await;
    }
    assert_eq!(balance(&ledger, "ada").await, 1_000 - taken);
    assert_eq!(ledger.audit().await.unwrap(), []);
}

/// The variable that names the database for a node that is to be killed.
const NODE: &str = "TOLLGATE_TEST_NODE";

/// A node that charges until it is killed, and says which charges were answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of its own, which another test starts and kills"]
async fn node() {
    let Ok(url) = std::env::var(NODE) else { return };
    let ledger = SqlLedger::new(&Database::connect(&url).await.unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16_u64 {
        let ledger = ledger.clone();
        tasks.spawn(async move {
            for turn in 0.. {
                let id = task * 1_000_000 + turn;
                let _ = charge(&ledger, &key().account, id, 1).await.unwrap();
                writeln!(std::io::stdout(), "posted {id:032x}").unwrap();
            }
        });
    }
    tasks.join_all().await;
}

async fn killed_node_leaves_the_ledger_consistent(place: Place) {
    let ledger = SqlLedger::new(&place.open().await);
    let _ = top_up(&ledger, "ada", "a", 1_000_000).await;
    let mut node = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sql::outage::node", "--ignored", "--nocapture"])
        .env(NODE, &place.url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(node.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut answered = Vec::new();
    for line in said {
        answered.extend(line.split_once("posted ").map(|(_, id)| id.to_owned()));
        if answered.len() == 200 {
            node.kill().unwrap();
        }
    }
    node.wait().unwrap();
    assert!(answered.len() >= 200);
    let id = if place.is_postgres() { "encode(id, 'hex')" } else { "lower(hex(id))" };
    let kept = place.say(&format!("SELECT {id} FROM tollgate_charges WHERE closed_at IS NULL")).await;
    let kept: std::collections::HashSet<&str> = kept.lines().collect();
    // The last line may have been cut.
    assert!(
        answered.iter().filter(|id| id.len() == 32).all(|id| kept.contains(id.as_str())),
        "answered is kept"
    );
    assert_eq!(balance(&ledger, "ada").await, 1_000_000 - kept.len() as u64);
    assert_eq!(ledger.close_abandoned(Duration::ZERO, Abandoned::Refund).await.unwrap(), kept.len() as u64);
    assert_eq!(balance(&ledger, "ada").await, 1_000_000);
    assert_eq!(ledger.audit().await.unwrap(), []);
}

/// One machine with a file, as the README puts it together: a settlement that fails is kept by the guard and made later. A
/// sweep that comes in between gives nothing back of it.
#[cfg(feature = "fleet")]
#[tokio::test]
async fn failed_file_settlement_is_made_later() {
    use sqlx::ConnectOptions as _;
    use tollgate::Credits;
    use tollgate::guard::Resilient;

    let place = Place::sqlite();
    let options = DatabaseOptions::new(&place.url).unwrap();
    let short = Duration::from_millis(300);
    let database = options.with_acquire_timeout(short).with_statement_timeout(short).open().await.unwrap();
    let credits = SqlLedger::new(&database);
    let _ = top_up(&credits, "ada", "a", 100).await;
    let (ledger, account) = (Resilient::new(credits.clone()), Account::new("ada", "pro"));
    assert_eq!(charge(&ledger, &account, 1, 30).await.unwrap(), posted(70));
    // Nobody can write: as on a full disk, but that it can be made good at once.
    let file: sqlx::sqlite::SqliteConnectOptions = place.url.parse().unwrap();
    let mut lock = file.connect().await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
    ledger.settle(&crate::support::settlement(&account, number(1), Credits::new(30))).await.unwrap_err();
    assert_eq!(ledger.health().pending_settlements, 1);
    sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    let began = Instant::now();
    while ledger.health().pending_settlements > 0 {
        assert!(began.elapsed() < LONG, "it is never made");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ledger.flush().await.unwrap();
    assert_eq!(credits.close_abandoned(Duration::ZERO, Abandoned::Refund).await.unwrap(), 0);
    assert_eq!(balance(&credits, "ada").await, 70);
}
