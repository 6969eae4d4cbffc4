//! Erased data leaves no trace in a SQLite file, and nobody else may read the file.

use std::path::PathBuf;
use std::time::Duration;

use tollgate::credit::{CreditAdmin, SqlLedger};
use tollgate::store::{AccountAdmin, KeyAdmin, SqlStore};
use tollgate::{Account, KeyRecord};

use crate::database::Place;
use crate::sql::ledger::{charge, top_up};
use crate::sql::store::{insert, later, record, store};

/// The file, and what lies beside it.
fn files(place: &Place) -> Vec<PathBuf> {
    let path = place.url.trim_start_matches("sqlite:");
    let files = ["", "-wal", "-shm"].map(|ending| PathBuf::from(format!("{path}{ending}")));
    files.into_iter().filter(|file| file.exists()).collect()
}

fn holds(place: &Place, wanted: &[u8]) -> bool {
    let found = |file: PathBuf| {
        let bytes = std::fs::read(file).unwrap();
        bytes.windows(wanted.len()).any(|bytes| bytes == wanted)
    };
    files(place).into_iter().any(found)
}

/// A key with a name that is found in no other.
fn named(number: u8, account: &str) -> KeyRecord {
    let mut key = record(number, account);
    key.name = format!("the-name-of-key-{number:03}-");
    key
}

/// Returns true if any part of a key is there: its name, its hash as bytes or as text.
fn shows(place: &Place, key: &KeyRecord) -> bool {
    let hash = key.hash.as_bytes();
    let half = |half: &[u8]| format!("{:032x}", u128::from_be_bytes(half.try_into().unwrap()));
    let text = half(&hash[..16]) + &half(&hash[16..]);
    holds(place, key.name.as_bytes()) || holds(place, hash) || holds(place, text.as_bytes())
}

async fn filled(place: &Place) -> SqlStore {
    let store = store(place, &["ada", "an-account-of-its-own"]).await;
    for number in 1..=120 {
        let account = if number <= 60 { "ada" } else { "an-account-of-its-own" };
        let _ = insert(&store, &named(number, account)).await;
        // Uses are noted beside the record, in its row.
        store.touch(&[(named(number, account).id, later(5))]).await.unwrap();
    }
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_key_leaves_no_trace() {
    let place = Place::sqlite();
    let store = filled(&place).await;
    for number in [1, 17, 59] {
        let key = named(number, "ada");
        assert!(shows(&place, &key));
        assert!(store.erase(key.id).await.unwrap());
        assert!(!shows(&place, &key), "{number}");
    }
    assert!(shows(&place, &named(18, "ada")), "the others are as they were");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_account_leaves_no_trace() {
    let place = Place::sqlite();
    let store = filled(&place).await;
    assert!(store.erase_account(&"an-account-of-its-own".into()).await.unwrap());
    assert!(!holds(&place, b"an-account-of-its-own"));
    for number in 61..=120 {
        assert!(!shows(&place, &named(number, "an-account-of-its-own")), "{number}");
    }
    // While somebody reads what was, it cannot go; the next to erase takes it along.
    let other = place.open().await;
    let ledger = SqlLedger::new(&other);
    let _ = top_up(&ledger, "an-account-with-credits", "a", 100).await;
    let _ = charge(&ledger, &Account::new("an-account-with-credits", "pro"), 7, 1).await.unwrap();
    assert!(holds(&place, b"an-account-with-credits"));
    assert!(ledger.erase_balance(&"an-account-with-credits".into()).await.unwrap());
    assert!(!holds(&place, b"an-account-with-credits"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_swept_leaves_no_trace() {
    let place = Place::sqlite();
    let store = store(&place, &["ada"]).await;
    for number in 1..=100 {
        let mut key = named(number, "ada");
        key.expires_at = Some(later(i64::from(number)));
        let _ = insert(&store, &key).await;
    }
    assert_eq!(store.sweep(later(81)).await.unwrap(), 80);
    for number in 1..=80 {
        assert!(!shows(&place, &named(number, "ada")), "{number}");
    }
    assert!(shows(&place, &named(81, "ada")));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::sqlite();
    let _store = filled(&place).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let modes: Vec<_> =
        files(&place).iter().map(|file| file.metadata().unwrap().permissions().mode() & 0o777).collect();
    assert!(modes.len() >= 2 && modes.iter().all(|mode| *mode == 0o600), "{modes:?}");
}
