//! PostgreSQL by way of `PgBouncer`.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tollgate::credit::{Abandoned, Charged, SqlLedger};
use tollgate::sql::DatabaseOptions;
use tollgate::store::{AccountAdmin, InsertKey, Inserted, KeyAdmin, SqlStore};
use tollgate::{Account, KeyStore};

use crate::services::pgbouncer::PgBouncer;
use crate::services::postgres::Postgres;
use crate::sql::ledger::{balance, charge, number, top_up};
use crate::sql::store::{NOW, insert, record};

/// Few connections of the server for many of the pool's: transactions change places.
const SERVER: u32 = 3;

struct Stage {
    server: Postgres,
    url: String,
    _pooler: PgBouncer,
    options: DatabaseOptions,
}

fn stage(mode: &str, connections: u32) -> Option<Stage> {
    let server = Postgres::start()?;
    let pooler = PgBouncer::start(&server, mode, connections)?;
    let url = server.database();
    let options = DatabaseOptions::new(&pooler.way_to(&url)).unwrap();
    // Many tests share two cores.
    let options = options.with_acquire_timeout(Duration::from_secs(30));
    Some(Stage { server, url, _pooler: pooler, options })
}

/// Looks keys up, charges and notes uses, all at the same time: everything succeeds.
async fn all_succeeds(options: DatabaseOptions) {
    let database = options.open().await.unwrap();
    let (store, ledger) = (SqlStore::new(&database), SqlLedger::new(&database));
    assert!(store.create_account(&Account::new("ada", "pro")).await.unwrap());
    let _ = top_up(&ledger, "ada", "a", 1_000).await;
    for id in 0..20 {
        let _ = insert(&store, &record(id, "ada")).await;
    }
    // A row stays locked to the end of a transaction of several statements.
    let mut inserts = tokio::task::JoinSet::new();
    for id in 20..40 {
        let store = store.clone();
        let insert = InsertKey::new(record(id, "ada"), NOW).with_max_active(Some(22));
        inserts.spawn(async move { store.insert(&insert).await.unwrap() });
    }
    let inserted = inserts.join_all().await;
    assert_eq!(inserted.iter().filter(|inserted| **inserted == Inserted::Done).count(), 2);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..20 {
        let (store, ledger) = (store.clone(), ledger.clone());
        tasks.spawn(async move {
            let key = record(u8::try_from(task).unwrap(), "ada");
            for turn in 0..10 {
                assert!(store.find(&key.hash).await.unwrap().is_some());
                let id = 1_000 * (task + 1) + turn;
                assert!(matches!(
                    charge(&ledger, &key.account, id, 1).await.unwrap(),
                    Charged::Posted { .. }
                ));
                store.touch(&[(key.id, NOW)]).await.unwrap();
                if turn % 2 == 0 {
                    tollgate::CreditLedger::refund(
                        &ledger,
                        &crate::support::refund(&key.account, number(id)),
                    )
                    .await
                    .unwrap();
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(balance(&ledger, "ada").await, 900);
    assert_eq!(ledger.close_abandoned(Duration::ZERO, Abandoned::Refund).await.unwrap(), 100);
    assert!(store.erase(record(1, "ada").id).await.unwrap());
    assert_eq!(store.sweep(NOW).await.unwrap(), 0);
    assert_eq!(ledger.audit().await.unwrap(), []);
    database.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_mode_works() {
    let Some(stage) = stage("session", 20) else { return };
    all_succeeds(stage.options).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transaction_mode_works_with_the_option() {
    let Some(stage) = stage("transaction", SERVER) else { return };
    all_succeeds(stage.options.with_transaction_pooling()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn option_works_without_a_pooler() {
    let Some(server) = Postgres::start() else { return };
    all_succeeds(DatabaseOptions::new(&server.database()).unwrap().with_transaction_pooling()).await;
}

/// A statement that waits for a lock is ended by the server, whose connection is free then.
async fn time_limits_hold(stage: Stage) {
    let limit = Duration::from_millis(300);
    let store = SqlStore::new(&stage.options.with_statement_timeout(limit).open().await.unwrap());
    assert!(store.create_account(&Account::new("ada", "pro")).await.unwrap());
    let mut lock = PgConnection::connect(&stage.url).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE tollgate_hashes, tollgate_accounts").execute(&mut lock).await.unwrap();
    assert!(store.find(&record(1, "ada").hash).await.unwrap_err().is_timeout());
    assert!(store.create_account(&Account::new("bob", "pro")).await.unwrap_err().is_timeout());
    // It was the server that gave up.
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND state = 'active'";
    assert_eq!(stage.server.say("postgres", waiting), "0");
    sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    assert!(store.create_account(&Account::new("bob", "pro")).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_limits_hold_in_session_mode() {
    if let Some(stage) = stage("session", 20) {
        time_limits_hold(stage).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_limits_hold_in_transaction_mode() {
    if let Some(mut stage) = stage("transaction", SERVER) {
        stage.options = stage.options.with_transaction_pooling();
        time_limits_hold(stage).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transaction_mode_needs_the_option() {
    let Some(stage) = stage("transaction", SERVER) else { return };
    let store = SqlStore::new(&stage.options.open().await.unwrap());
    let mut told = String::new();
    for _ in 0..200 {
        let mut asked = tokio::task::JoinSet::new();
        for id in 0..10 {
            let store = store.clone();
            asked.spawn(async move {
                let _ = store.touch(&[(record(id, "ada").id, NOW)]).await;
                store.find(&record(id, "ada").hash).await
            });
        }
        for error in asked.join_all().await.into_iter().filter_map(Result::err) {
            told = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        }
        if told.contains("with_transaction_pooling") {
            return;
        }
    }
    panic!("the option is not named: {told}");
}
