//! Opening a database: its tables, their versions, and what goes wrong.

use std::time::Duration;

use tollgate::audit::{Action, Actor, AuditEntry, AuditEvent, AuditQuery, AuditStore as _, SqlAuditStore};
use tollgate::credit::{Abandoned, CreditAdmin as _, SqlLedger};
use tollgate::sql::{Database, DatabaseOptions, OpenError};
use tollgate::store::{AccountAdmin, InsertKey, Inserted, KeyAdmin, Replaced, SqlStore};
use tollgate::usage::{BatchId, SqlUsage, UsageBatch, UsageRetention, UsageStore, Written};
use tollgate::{Account, KeyStore as _};

use crate::database::{Place, both};
use crate::services::postgres::Postgres;
use crate::sql::ledger::{balance, charge, top_up};
use crate::sql::store::{NOW, insert, record};

both!(
    eight_starting_nodes_create_tables_once,
    a_newer_schema_is_refused_and_left_alone,
    failed_migration_leaves_nothing,
    reopened_database_has_its_data,
);

/// The number of steps of the schema.
fn steps() -> usize {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sql/schema");
    std::fs::read_dir(folder).unwrap().count()
}

async fn eight_starting_nodes_create_tables_once(place: Place) {
    let nodes: Vec<_> = (0..8)
        .map(|_| {
            let url = place.url.clone();
            tokio::spawn(async move { Database::connect(&url).await })
        })
        .collect();
    for node in nodes {
        let database = node.await.unwrap().unwrap();
        database.close().await;
    }
    let versions: Vec<_> = (1..=steps()).map(|version| version.to_string()).collect();
    let found = place.say("SELECT version FROM tollgate_schema ORDER BY version").await;
    assert_eq!(found, versions.join("\n"));
}

async fn a_newer_schema_is_refused_and_left_alone(place: Place) {
    place.open().await.close().await;
    place.say("INSERT INTO tollgate_schema VALUES (1000)").await;
    let error = Database::connect(&place.url).await.unwrap_err();
    let OpenError::Newer { found: 1_000, known, .. } = error else { panic!("{error}") };
    assert_eq!(usize::try_from(known).unwrap(), steps());
    assert!(error.to_string().contains("use a newer tollgate"), "{error}");
    assert_eq!(place.say("SELECT count(*) FROM tollgate_schema").await, (steps() + 1).to_string());
}

async fn failed_migration_leaves_nothing(place: Place) {
    place.say("CREATE TABLE tollgate_balances (mine INTEGER)").await;
    let error = Database::connect(&place.url).await.unwrap_err();
    assert!(matches!(error, OpenError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("tollgate_balances"), "{error}");
    place.say("DROP TABLE tollgate_balances").await;
    place.open().await.close().await;
    assert_eq!(place.say("SELECT count(*) FROM tollgate_schema").await, steps().to_string());
}

async fn reopened_database_has_its_data(place: Place) {
    let first = SqlStore::new(&place.open().await);
    assert!(first.create_account(&Account::new("acme", "pro")).await.unwrap());
    first.database().close().await;
    assert!(first.account_of(&"acme".into()).await.is_err(), "a closed database says nothing");
    let second = SqlStore::new(&place.open().await);
    assert_eq!(*second.account_of(&"acme".into()).await.unwrap().unwrap(), Account::new("acme", "pro"));
}

#[tokio::test]
async fn invalid_url_error_hides_the_password() {
    for url in [
        "",
        "keys.db",
        "mysql://me:s3cret@host/db",
        "postgres://me:s3cret@host:port/db",
        "sqlite::memory:",
        "sqlite:",
    ] {
        let error = DatabaseOptions::new(url).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
    let options = DatabaseOptions::new("postgres://me:s3cret@127.0.0.1:1/db").unwrap();
    assert!(!format!("{options:?}").contains("s3cret"), "{options:?}");
    assert!(format!("{options:?}").contains("postgres://127.0.0.1:1/db"), "{options:?}");
    let options = options.with_acquire_timeout(std::time::Duration::from_millis(50));
    let error = options.open().await.unwrap_err();
    assert!(matches!(error, OpenError::Unavailable { .. }));
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    let error = Database::connect("sqlite:/no/such/folder/keys.db").await.unwrap_err();
    assert!(error.to_string().contains("/no/such/folder/keys.db"), "{error}");
}

/// A role of its own with these rights on the tables of a database.
fn role(place: &Place, name: &str, grants: &str) -> String {
    let server = place.server().unwrap();
    let database = place.url.rsplit('/').next().unwrap();
    let all = "tollgate_accounts, tollgate_keys, tollgate_hashes, tollgate_balances, tollgate_entries, \
               tollgate_charges, tollgate_adjustments, tollgate_audit, tollgate_usage_batches, tollgate_usage_series, \
               tollgate_usage_minutes, tollgate_usage_hours, tollgate_usage_days, tollgate_usage_months, tollgate_crossings, \
               tollgate_alerts, tollgate_budgets";
    server.say(database, &format!("DROP ROLE IF EXISTS {name}"));
    server.say(database, &format!("CREATE ROLE {name} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC"));
    if !grants.is_empty() {
        server.say(
            database,
            &format!("GRANT {grants} ON {all} TO {name}; GRANT SELECT ON tollgate_schema TO {name}"),
        );
    }
    place.url.replace("tollgate@", &format!("{name}@"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_minimal_role_is_enough() {
    let Some(place) = Place::postgres() else { return };
    place.open().await.close().await;
    let url = role(&place, "gate_minimal", "SELECT, INSERT, UPDATE, DELETE");
    let database = Database::connect(&url).await.unwrap();
    let (store, ledger) = (SqlStore::new(&database), SqlLedger::new(&database));
    assert!(store.create_account(&Account::new("ada", "pro")).await.unwrap());
    assert_eq!(insert(&store, &record(1, "ada")).await, Inserted::Done);
    let mut capped = InsertKey::new(record(2, "ada"), NOW);
    capped.max_active = Some(2);
    assert_eq!(store.insert(&capped).await.unwrap(), Inserted::Done);
    assert!(store.find(&record(1, "ada").hash).await.unwrap().is_some());
    assert_eq!(store.replace(&record(1, "ada")).await.unwrap(), Replaced::Done);
    store.touch(&[(record(1, "ada").id, NOW)]).await.unwrap();
    let _ = top_up(&ledger, "ada", "a", 100).await;
    let _ = charge(&ledger, &record(1, "ada").account, 1, 10).await.unwrap();
    assert_eq!(ledger.close_abandoned(Duration::ZERO, Abandoned::Refund).await.unwrap(), 1);
    assert_eq!(ledger.forget_closed(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(ledger.audit().await.unwrap(), []);
    let audit = SqlAuditStore::new(&database);
    let event = AuditEvent::new(NOW, Action::Swept, Actor::default());
    audit.append(&[AuditEntry::new(event, 0)]).await.unwrap();
    assert_eq!(audit.query(&AuditQuery::default()).await.unwrap().entries.len(), 1);
    assert_eq!(audit.forget(NOW.saturating_add(Duration::from_millis(1))).await.unwrap(), 1);
    assert!(ledger.erase_balance(&"ada".into()).await.unwrap());
    let usage = SqlUsage::new(&database);
    let batch = UsageBatch::new(BatchId { node: [7; 16], number: 1 }, Vec::new());
    assert_eq!(usage.write(&batch).await.unwrap(), Written::Added);
    assert_eq!(usage.prune(&UsageRetention::default(), NOW).await.unwrap(), 0);
    assert!(!usage.erase_account(&"ada".into()).await.unwrap());
    assert_eq!(store.sweep(NOW).await.unwrap(), 0);
    assert!(store.erase(record(1, "ada").id).await.unwrap());
    assert!(store.erase_account(&"ada".into()).await.unwrap());
    database.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_rights_error_names_the_rights() {
    let Some(place) = Place::postgres() else { return };
    place.say("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    let url = role(&place, "gate_nothing", "");
    let error = Database::connect(&url).await.unwrap_err().to_string();
    assert!(
        error.contains("permission denied") && error.contains("a role with permission to create tables"),
        "{error}"
    );
    place.open().await.close().await;
    let error = Database::connect(&url).await.unwrap_err().to_string();
    assert!(error.contains("permission denied for table tollgate_schema"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_server_is_an_error_at_start() {
    let Some(place) = Place::postgres() else { return };
    place.open().await.close().await;
    let name = place.url.rsplit('/').next().unwrap();
    place.say(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    let error = Database::connect(&place.url).await.unwrap_err().to_string();
    assert!(error.contains("the server is read-only"), "{error}");
}

/// Locks and caps hold with any session defaults of the database, and no call fails because of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stricter_session_defaults_change_nothing() {
    for level in ["repeatable read", "serializable"] {
        let Some(place) = Place::postgres() else { return };
        let name = place.url.rsplit('/').next().unwrap().to_owned();
        place.say(&format!("ALTER DATABASE {name} SET default_transaction_isolation = '{level}'")).await;
        place.say(&format!("ALTER DATABASE {name} SET default_transaction_deferrable = on")).await;
        let nodes = [place.open().await, place.open().await];
        let stores = nodes.each_ref().map(SqlStore::new);
        let ledgers = nodes.each_ref().map(SqlLedger::new);
        assert!(stores[0].create_account(&Account::new("ada", "pro")).await.unwrap());
        let _ = top_up(&ledgers[0], "ada", "a", 1_000).await;
        let mut issuing = tokio::task::JoinSet::new();
        for number in 0..20_u8 {
            let store = stores[usize::from(number % 2)].clone();
            let mut insert = InsertKey::new(record(number, "ada"), NOW);
            insert.max_active = Some(2);
            issuing.spawn(async move { store.insert(&insert).await.unwrap() });
        }
        let done = issuing.join_all().await.into_iter().filter(|done| *done == Inserted::Done).count();
        assert_eq!(done, 2, "{level}");
        let mut charging = tokio::task::JoinSet::new();
        for id in 0..800_u64 {
            let (ledger, store) =
                (ledgers[usize::from(id % 2 == 0)].clone(), stores[usize::from(id % 2 == 0)].clone());
            charging.spawn(async move {
                if id % 8 == 0 {
                    store.touch(&[(record(0, "ada").id, NOW), (record(1, "ada").id, NOW)]).await.unwrap();
                }
                charge(&ledger, &record(0, "ada").account, id, 1).await.unwrap()
            });
        }
        charging.join_all().await;
        assert_eq!(balance(&ledgers[0], "ada").await, 200, "{level}");
        assert_eq!(ledgers[0].audit().await.unwrap(), []);
    }
}

/// A service starts before its database, answers errors, and works when the database comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_without_server_waits_for_it() {
    let Some(mut server) = Postgres::start() else { return };
    let url = server.database();
    server.kill();
    let options = DatabaseOptions::new(&url).unwrap().with_acquire_timeout(Duration::from_millis(300));
    let error = options.clone().open().await.unwrap_err();
    assert!(matches!(error, OpenError::Unavailable { .. }), "{error}");
    let database = options.with_start_without_server().open().await.unwrap();
    let (store, ledger) = (SqlStore::new(&database), SqlLedger::new(&database));
    let key = record(1, "ada");
    let (found, charged) = tokio::join!(store.find(&key.hash), charge(&ledger, &key.account, 1, 1));
    assert!(found.is_err() && charged.is_err());
    server.restart();
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while let Err(error) = store.find(&key.hash).await {
        assert!(std::time::Instant::now() < until, "{error:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(store.create_account(&Account::new("ada", "pro")).await.unwrap());
    let _ = insert(&store, &key).await;
    assert!(store.find(&key.hash).await.unwrap().is_some());
    database.close().await;
}
