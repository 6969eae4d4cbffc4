//! The file of a SQLite database that is deleted, replaced or not to be written to while it is in use.

use std::path::PathBuf;
use std::process::Command;

use tollgate::credit::SqlLedger;
use tollgate::sql::Database;
use tollgate::store::{AccountAdmin, KeyAdmin, SqlStore};
use tollgate::{Account, KeyStore};

use crate::database::Place;
use crate::log::Log;
use crate::services::postgres::{is_root, unprivileged};
use crate::sql::ledger::{balance, charge, posted, top_up};
use crate::sql::store::{insert, record, store};

fn path(place: &Place) -> PathBuf {
    place.url.trim_start_matches("sqlite:").into()
}

#[tokio::test]
async fn deleted_file_is_found_at_once() {
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let place = Place::sqlite();
    let store = store(&place, &["ada"]).await;
    let ledger = SqlLedger::new(store.database());
    let _ = insert(&store, &record(1, "ada")).await;
    let _ = top_up(&ledger, "ada", "a", 10).await;
    let aside = path(&place).with_extension("aside");
    for _ in 0..2 {
        std::fs::rename(path(&place), &aside).unwrap();
        // Known keys are not read as unknown, and nothing is written where nobody finds it.
        for _ in 0..3 {
            assert!(store.find(&record(1, "ada").hash).await.is_err());
            assert!(charge(&ledger, &record(1, "ada").account, 1, 1).await.is_err());
            assert!(store.create_account(&Account::new("bob", "pro")).await.is_err());
        }
        assert!(ledger.audit().await.is_err());
        assert!(!path(&place).exists(), "no other file was made");
        std::fs::rename(&aside, path(&place)).unwrap();
        assert!(store.find(&record(1, "ada").hash).await.unwrap().is_some());
    }
    assert_eq!(charge(&ledger, &record(1, "ada").account, 1, 1).await.unwrap(), posted(9));
    let log = log.0.lock().unwrap().clone();
    assert_eq!(log.matches("the database file was deleted or replaced: put it back").count(), 2, "{log}");
    assert_eq!(log.matches("the database file was restored").count(), 2, "{log}");
}

#[tokio::test]
async fn replaced_file_is_found_at_once() {
    let place = Place::sqlite();
    let old = store(&place, &["ada"]).await;
    std::fs::remove_file(path(&place)).unwrap();
    assert!(old.account_of(&"ada".into()).await.is_err());
    let other = Place::sqlite();
    store(&other, &["bob"]).await.database().close().await;
    std::fs::copy(path(&other), path(&place)).unwrap();
    assert!(old.account_of(&"ada".into()).await.is_err());
    assert!(old.create_account(&Account::new("eve", "pro")).await.is_err());
}

#[tokio::test]
async fn late_connections_open_the_same_file() {
    let place = Place::sqlite();
    let ledger = SqlLedger::new(&place.open().await);
    let _ = top_up(&ledger, "ada", "a", 500).await;
    let mut reading = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let ledger = ledger.clone();
        reading.spawn(async move { balance(&ledger, "ada").await });
    }
    assert!(reading.join_all().await.into_iter().all(|balance| balance == 500));
}

#[tokio::test]
async fn read_only_url_is_an_error_at_start() {
    let place = Place::sqlite();
    place.open().await.close().await;
    let error = Database::connect(&format!("{}?mode=ro", place.url)).await.unwrap_err().to_string();
    assert!(
        error.contains("readonly") && error.contains("check that this process has permission"),
        "{error}"
    );
}

/// The variable that names a read-only file for a process without administrator rights.
const READER: &str = "TOLLGATE_TEST_READER";

#[tokio::test]
#[ignore = "a process of its own, which another test starts"]
async fn reader() {
    let Ok(url) = std::env::var(READER) else { return };
    let error = SqlStore::connect(&url).await.unwrap_err().to_string();
    assert!(
        error.contains("readonly") && error.contains("check that this process has permission"),
        "{error}"
    );
}

#[tokio::test]
async fn read_only_file_is_an_error_at_start() {
    let place = Place::sqlite();
    store(&place, &["ada"]).await.database().close().await;
    let mut read_only = std::fs::metadata(path(&place)).unwrap().permissions();
    read_only.set_readonly(true);
    std::fs::set_permissions(path(&place), read_only).unwrap();
    if is_root() {
        // Rights mean nothing to an administrator: somebody else is to look, who may write to the folder alone.
        let folder = path(&place).parent().unwrap().to_owned();
        let given = Command::new("chown").arg("postgres").args([path(&place), folder]).status().unwrap();
        assert!(given.success());
    }
    let program = path(&place).with_extension("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut reader = unprivileged(&program);
    let reader =
        reader.args(["--exact", "sql::file::reader", "--ignored", "--nocapture"]).env(READER, &place.url);
    let told = reader.output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert!(String::from_utf8_lossy(&told.stdout).contains("1 passed"));
}
