//! Keys and accounts.

use std::sync::Arc;

use tollgate::account::AccountStatus;
use tollgate::clock::Timestamp;
use tollgate::key::{KeyHash, KeyHasher, KeyStatus, PreviousSecret};
use tollgate::store::{AccountAdmin, InsertKey, Inserted, KeyAdmin, KeyQuery, Replaced, SqlStore};
use tollgate::{Account, KeyId, KeyRecord, KeyStore};

use crate::database::{Place, both};

both!(
    a_key_is_found_by_either_of_its_secrets,
    hash_is_compared_as_bytes,
    changed_account_shows_on_all_its_keys,
    unreadable_record_is_an_error,
    parallel_creates_respect_the_cap,
    one_of_two_changes_to_a_version_is_made,
    last_used_time_never_goes_back,
    erasure_removes_all_dependent_rows,
    leaving_caller_interrupts_nothing,
);

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_777_550_400_000);

pub(crate) fn later(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + seconds * 1_000)
}

fn hash(text: &str) -> KeyHash {
    KeyHasher::sha256().hash(text.as_bytes())
}

pub(crate) fn record(number: u8, account: &str) -> KeyRecord {
    let mut id = [0; 16];
    id[15] = number;
    KeyRecord::new(
        KeyId::from_bytes(id),
        hash(&format!("{account} {number}")),
        Arc::new(Account::new(account, "pro")),
    )
}

pub(crate) async fn store(place: &Place, accounts: &[&str]) -> SqlStore {
    let store = SqlStore::new(&place.open().await);
    for account in accounts {
        assert!(store.create_account(&Account::new(*account, "pro")).await.unwrap());
    }
    store
}

pub(crate) async fn insert(store: &SqlStore, record: &KeyRecord) -> Inserted {
    store.insert(&InsertKey::new(record.clone(), NOW)).await.unwrap()
}

async fn a_key_is_found_by_either_of_its_secrets(place: Place) {
    let store = store(&place, &["ada"]).await;
    let mut key = record(1, "ada");
    assert_eq!(insert(&store, &record(1, "nobody")).await, Inserted::NoAccount);
    assert_eq!(insert(&store, &key).await, Inserted::Done);
    assert_eq!(*store.find(&key.hash).await.unwrap().unwrap(), key);
    assert_eq!(insert(&store, &key).await, Inserted::Taken);
    // The same secret under another id, as its own or as a retiring one.
    let mut twin = record(2, "ada");
    twin.retiring = Some(PreviousSecret { hash: key.hash, until: NOW });
    assert_eq!(insert(&store, &twin).await, Inserted::Taken);
    assert_eq!(store.get(twin.id).await.unwrap(), None, "nothing of it stayed");
    assert_eq!(store.find(&twin.hash).await.unwrap(), None);

    let old = key.hash;
    key.retiring = Some(PreviousSecret { hash: old, until: NOW });
    key.hash = hash("new");
    assert_eq!(store.replace(&key).await.unwrap(), Replaced::Done);
    key.version += 1;
    for found in [old, key.hash] {
        assert_eq!(*store.find(&found).await.unwrap().unwrap(), key);
    }
    let middle = key.hash;
    key.retiring = Some(PreviousSecret { hash: middle, until: NOW });
    key.hash = hash("newest");
    assert_eq!(store.replace(&key).await.unwrap(), Replaced::Done);
    assert_eq!(store.find(&old).await.unwrap(), None, "an older one no more");
    assert!(store.find(&middle).await.unwrap().is_some());

    let mut other = record(3, "ada");
    assert_eq!(insert(&store, &other).await, Inserted::Done);
    other.hash = middle;
    assert_eq!(store.replace(&other).await.unwrap(), Replaced::Taken);
    other.hash = hash("ada 3");
    assert_eq!(*store.find(&other.hash).await.unwrap().unwrap(), other, "a refused change is none");
    assert_eq!(store.replace(&record(9, "ada")).await.unwrap(), Replaced::Gone);
}

async fn hash_is_compared_as_bytes(place: Place) {
    let store = store(&place, &["ada"]).await;
    // Bytes that are letters, which differ in case alone, and bytes that are no text at all.
    let letters = [b'A'; 32];
    let mut key = record(1, "ada");
    key.hash = KeyHash::from_bytes(letters);
    assert_eq!(insert(&store, &key).await, Inserted::Done);
    assert_eq!(store.find(&KeyHash::from_bytes([b'a'; 32])).await.unwrap(), None);
    for (place, byte) in [(0, 0), (31, 0), (31, b' '), (31, 0xff), (16, b'a')] {
        let mut near = letters;
        near[place] = byte;
        assert_eq!(store.find(&KeyHash::from_bytes(near)).await.unwrap(), None);
    }
    let mut zeros = record(2, "ada");
    zeros.hash = KeyHash::from_bytes([0; 32]);
    assert_eq!(insert(&store, &zeros).await, Inserted::Done);
    assert_eq!(store.find(&zeros.hash).await.unwrap().unwrap().id, zeros.id);
    assert_eq!(store.find(&key.hash).await.unwrap().unwrap().id, key.id);
}

async fn changed_account_shows_on_all_its_keys(place: Place) {
    let store = store(&place, &["ada", "bob"]).await;
    for number in 1..=3 {
        assert_eq!(insert(&store, &record(number, "ada")).await, Inserted::Done);
    }
    assert_eq!(insert(&store, &record(4, "bob")).await, Inserted::Done);
    // Another node sees it at once.
    let other = SqlStore::new(&place.open().await);
    let mut account = Account::clone(&*store.account_of(&"ada".into()).await.unwrap().unwrap());
    account.status = AccountStatus::Suspended;
    assert_eq!(other.replace_account(&account).await.unwrap(), Replaced::Done);
    assert_eq!(other.replace_account(&account).await.unwrap(), Replaced::Stale);
    assert_eq!(other.replace_account(&Account::new("eve", "pro")).await.unwrap(), Replaced::Gone);
    for number in 1..=3 {
        let found = store.find(&record(number, "ada").hash).await.unwrap().unwrap();
        assert_eq!((found.account.status, found.account.version), (AccountStatus::Suspended, 1));
    }
    let untouched = store.find(&record(4, "bob").hash).await.unwrap().unwrap();
    assert_eq!(untouched.account.status, AccountStatus::Active);
    assert!(!store.create_account(&Account::new("ada", "free")).await.unwrap());
}

async fn unreadable_record_is_an_error(place: Place) {
    let store = store(&place, &["ada"]).await;
    let key = record(1, "ada");
    assert_eq!(insert(&store, &key).await, Inserted::Done);
    let text = place.say("SELECT record FROM tollgate_keys").await;
    let other = text.replace(&text[text.find("\"hash\":\"").unwrap() + 8..][..64], &"0".repeat(64));
    for spoilt in [text.replace("\"v\":1", "\"v\":2"), "null".to_owned(), String::new(), other] {
        place.say(&format!("UPDATE tollgate_keys SET record = '{spoilt}'")).await;
        assert!(store.find(&key.hash).await.unwrap_err().is_corrupt(), "{spoilt}");
    }
    place.say(&format!("UPDATE tollgate_keys SET record = '{text}'")).await;
    place.say("UPDATE tollgate_accounts SET record = '{}'").await;
    assert!(store.find(&key.hash).await.unwrap_err().is_corrupt());
}

async fn parallel_creates_respect_the_cap(place: Place) {
    let (one, two) = (store(&place, &["ada", "bob"]).await, SqlStore::new(&place.open().await));
    let mut expired = record(100, "ada");
    expired.expires_at = Some(NOW);
    let mut revoked = record(101, "ada");
    revoked.status = KeyStatus::Revoked;
    let mut paused = record(102, "ada");
    paused.status = KeyStatus::Paused;
    for key in [&expired, &revoked, &paused] {
        assert_eq!(insert(&one, key).await, Inserted::Done);
    }
    let create = |number: u8| {
        let store = if number.is_multiple_of(2) { one.clone() } else { two.clone() };
        let insert = InsertKey::new(record(number, "ada"), NOW).with_max_active(Some(2));
        tokio::spawn(async move { store.insert(&insert).await.unwrap() })
    };
    let mut answers = Vec::new();
    for task in (0..20).map(create).collect::<Vec<_>>() {
        answers.push(task.await.unwrap());
    }
    assert_eq!(
        answers.iter().filter(|answer| **answer == Inserted::Done).count(),
        1,
        "the paused one counts"
    );
    assert_eq!(answers.iter().filter(|answer| **answer == Inserted::Full).count(), 19);
    let mut query = KeyQuery::first(100);
    query.account = Some("ada".into());
    assert_eq!(one.list(&query).await.unwrap().len(), 4);
    let full = InsertKey::new(expired, NOW).with_max_active(Some(0));
    assert_eq!(one.insert(&full).await.unwrap(), Inserted::Taken, "that it is taken is told first");
}

async fn one_of_two_changes_to_a_version_is_made(place: Place) {
    let (one, two) = (store(&place, &["ada"]).await, SqlStore::new(&place.open().await));
    let key = record(1, "ada");
    assert_eq!(insert(&one, &key).await, Inserted::Done);
    let change = |number: usize| {
        let (store, mut key) =
            (if number.is_multiple_of(2) { one.clone() } else { two.clone() }, key.clone());
        key.name = number.to_string();
        tokio::spawn(async move { store.replace(&key).await.unwrap() })
    };
    let mut done = Vec::new();
    for (number, task) in (0..16).map(change).collect::<Vec<_>>().into_iter().enumerate() {
        if task.await.unwrap() == Replaced::Done {
            done.push(number.to_string());
        }
    }
    let stored = one.get(key.id).await.unwrap().unwrap();
    assert_eq!((done, stored.version), (vec![stored.name.clone()], 1));
    // It stays its account's, whatever the change says.
    let mut moved = KeyRecord::clone(&stored);
    moved.account = Arc::new(Account::new("eve", "pro"));
    assert_eq!(one.replace(&moved).await.unwrap(), Replaced::Done);
    assert_eq!(one.get(key.id).await.unwrap().unwrap().account.id.as_str(), "ada");
}

async fn last_used_time_never_goes_back(place: Place) {
    let store = store(&place, &["ada"]).await;
    let (first, second) = (record(1, "ada"), record(2, "ada"));
    assert_eq!(insert(&store, &first).await, Inserted::Done);
    assert_eq!(insert(&store, &second).await, Inserted::Done);
    let used = async |key: &KeyRecord| store.get(key.id).await.unwrap().unwrap().last_used_at;
    store.touch(&[]).await.unwrap();
    store.touch(&[(first.id, later(5)), (first.id, later(9)), (first.id, later(7))]).await.unwrap();
    assert_eq!(used(&first).await, Some(later(9)));
    store.touch(&[(record(7, "ada").id, NOW), (first.id, later(8)), (second.id, later(1))]).await.unwrap();
    assert_eq!((used(&first).await, used(&second).await), (Some(later(9)), Some(later(1))));
    let mut stale = first.clone();
    stale.last_used_at = Some(later(2));
    assert_eq!(store.replace(&stale).await.unwrap(), Replaced::Done, "a use is no change");
    assert_eq!(used(&first).await, Some(later(9)));
    // Many at once, from two nodes that name the same keys.
    let other = SqlStore::new(&place.open().await);
    let touch = |number: i64| {
        let store = if number % 2 == 0 { store.clone() } else { other.clone() };
        let (one, two) = ((first.id, later(number)), (second.id, later(number)));
        tokio::spawn(async move { store.touch(&if number % 3 == 0 { [one, two] } else { [two, one] }).await })
    };
    for task in (10..60).map(touch).collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    assert_eq!((used(&first).await, used(&second).await), (Some(later(59)), Some(later(59))));
}

async fn erasure_removes_all_dependent_rows(place: Place) {
    let store = store(&place, &["ada", "bob"]).await;
    for (number, account) in [(1, "ada"), (2, "ada"), (3, "bob")] {
        assert_eq!(insert(&store, &record(number, account)).await, Inserted::Done);
    }
    let first = record(1, "ada");
    assert!(store.erase(first.id).await.unwrap());
    assert!(!store.erase(first.id).await.unwrap());
    assert_eq!(store.find(&first.hash).await.unwrap(), None);
    assert_eq!(insert(&store, &first).await, Inserted::Done, "its secret is free again");
    assert!(store.erase_account(&"ada".into()).await.unwrap());
    assert!(!store.erase_account(&"ada".into()).await.unwrap());
    assert_eq!(store.find(&first.hash).await.unwrap(), None);
    assert_eq!(store.list(&KeyQuery::first(9)).await.unwrap().len(), 1);
    assert_eq!(place.say("SELECT count(*) FROM tollgate_hashes").await, "1");
}

async fn leaving_caller_interrupts_nothing(place: Place) {
    let store = store(&place, &["ada"]).await;
    for number in 1..=40 {
        let insert = InsertKey::new(record(number, "ada"), NOW).with_max_active(Some(100));
        let mut asked = store.insert(&insert);
        // Asked once, and left.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _under_way = std::future::Future::poll(std::pin::Pin::new(&mut asked), &mut context);
        drop(asked);
    }
    // Each comes to its end, and nothing is left open that would be in the way of others.
    let until = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while store.list(&KeyQuery::first(100)).await.unwrap().len() < 40 {
        assert!(std::time::Instant::now() < until);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(store.create_account(&Account::new("next", "pro")).await.unwrap());
}
