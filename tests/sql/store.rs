//! Keys and accounts.

use std::collections::BTreeSet;
use std::sync::Arc;

use tollgate::{
    Account, AccountAdmin, AccountStatus, InsertKey, Inserted, KeyAdmin, KeyHash, KeyHasher, KeyId, KeyQuery,
    KeyRecord, KeyStatus, KeyStore, Replaced, Retiring, SqlStore, Timestamp,
};

use crate::place::{Place, both};

both!(
    a_key_is_found_by_either_of_its_secrets,
    case_37_a_hash_is_compared_as_bytes,
    case_89_a_changed_account_shows_on_all_its_keys,
    case_94_a_record_that_cannot_be_read_is_an_error,
    case_158_twenty_creates_at_a_cap_of_two,
    of_two_changes_to_one_version_one_is_made,
    a_use_never_goes_back,
    keys_are_listed_by_id_a_page_at_a_time,
    a_list_walks_an_index,
    dead_keys_are_swept,
    what_is_erased_is_gone_with_all_that_hung_on_it,
    a_caller_that_leaves_cuts_nothing_short,
);

const NOW: Timestamp = Timestamp::from_millis(1_777_550_400_000);

fn later(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + seconds * 1_000)
}

fn hash(text: &str) -> KeyHash {
    KeyHasher::sha256().hash(text.as_bytes())
}

fn record(number: u8, account: &str) -> KeyRecord {
    let mut id = [0; 16];
    id[15] = number;
    KeyRecord::new(
        KeyId::from_bytes(id),
        hash(&format!("{account} {number}")),
        Arc::new(Account::new(account, "pro")),
    )
}

async fn store(place: &Place, accounts: &[&str]) -> SqlStore {
    let store = SqlStore::new(&place.open().await);
    for account in accounts {
        assert!(store.create_account(&Account::new(*account, "pro")).await.unwrap());
    }
    store
}

async fn insert(store: &SqlStore, record: &KeyRecord) -> Inserted {
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
    twin.retiring = Some(Retiring { hash: key.hash, until: NOW });
    assert_eq!(insert(&store, &twin).await, Inserted::Taken);
    assert_eq!(store.get(twin.id).await.unwrap(), None, "nothing of it stayed");
    assert_eq!(store.find(&twin.hash).await.unwrap(), None);

    let old = key.hash;
    key.retiring = Some(Retiring { hash: old, until: NOW });
    key.hash = hash("new");
    assert_eq!(store.replace(&key).await.unwrap(), Replaced::Done);
    key.version += 1;
    for found in [old, key.hash] {
        assert_eq!(*store.find(&found).await.unwrap().unwrap(), key);
    }
    let middle = key.hash;
    key.retiring = Some(Retiring { hash: middle, until: NOW });
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

async fn case_37_a_hash_is_compared_as_bytes(place: Place) {
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

async fn case_89_a_changed_account_shows_on_all_its_keys(place: Place) {
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

async fn case_94_a_record_that_cannot_be_read_is_an_error(place: Place) {
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

async fn case_158_twenty_creates_at_a_cap_of_two(place: Place) {
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

async fn of_two_changes_to_one_version_one_is_made(place: Place) {
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

async fn a_use_never_goes_back(place: Place) {
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

async fn keys_are_listed_by_id_a_page_at_a_time(place: Place) {
    let store = store(&place, &["ada", "bob"]).await;
    for number in (1..=30).rev() {
        let mut key = record(number, if number % 2 == 0 { "ada" } else { "bob" });
        key.status = if number % 3 == 0 { KeyStatus::Paused } else { KeyStatus::Active };
        key.environment = if number % 5 == 0 { "test".into() } else { "live".into() };
        assert_eq!(insert(&store, &key).await, Inserted::Done);
    }
    let all = store.list(&KeyQuery::first(usize::MAX)).await.unwrap();
    assert_eq!(all.len(), 30);
    let conditions = |account: bool, status: bool, environment: bool| {
        let mut query = KeyQuery::first(4);
        query.account = account.then(|| "ada".into());
        query.status = status.then_some(KeyStatus::Active);
        query.environment = environment.then(|| "live".into());
        query
    };
    for shape in 0..8 {
        let mut query = conditions(shape & 1 > 0, shape & 2 > 0, shape & 4 > 0);
        let expected: Vec<KeyId> = all.iter().filter(|key| query.admits(key)).map(|key| key.id).collect();
        let mut read = Vec::new();
        loop {
            let page = store.list(&query).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= 4);
            query.after = Some(last.id);
            read.extend(page.iter().map(|key| key.id));
        }
        assert_eq!(read, expected);
        assert_eq!(read.iter().collect::<BTreeSet<_>>().len(), read.len());
    }
    assert!(store.list(&KeyQuery::first(0)).await.unwrap().is_empty());
}

/// However many keys there are, a page costs what its own keys cost.
async fn a_list_walks_an_index(place: Place) {
    let store = store(&place, &["ada", "bob"]).await;
    assert_eq!(insert(&store, &record(1, "ada")).await, Inserted::Done);
    let text = place.say("SELECT record FROM tollgate_keys").await.replace('\'', "''");
    let postgres = place.is_postgres();
    let (id, series) = if postgres {
        ("decode(lpad(to_hex(n), 32, '0'), 'hex')", "generate_series(10, 20000) AS n")
    } else {
        let series = "(WITH RECURSIVE c(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM c WHERE n < 20000) SELECT n FROM c)";
        ("CAST(printf('%016d', n) AS BLOB)", series)
    };
    place.say(&format!(
        "INSERT INTO tollgate_keys (id, account, status, environment, version, record) \
         SELECT {id}, CASE WHEN n % 100 = 0 THEN 'ada' ELSE 'bob' END, 'active', 'live', 0, '{text}' FROM {series}"
    )).await;
    place.say("ANALYZE").await;
    let explain = if postgres { "EXPLAIN" } else { "EXPLAIN QUERY PLAN" };
    let after = if postgres {
        "'\\x000000000000000000000000000000ff'"
    } else {
        "x'000000000000000000000000000000ff'"
    };
    for condition in [
        "",
        "account = 'ada' AND ",
        "status = 'active' AND ",
        "status = 'paused' AND environment = 'live' AND ",
    ] {
        let plan = place
            .say(&format!(
                "{explain} SELECT k.record, a.record FROM (SELECT id, account, record FROM tollgate_keys \
             WHERE 1 = 1 AND {condition}id > {after} ORDER BY id LIMIT 50) AS k \
             JOIN tollgate_accounts a ON a.id = k.account ORDER BY k.id"
            ))
            .await;
        assert!(
            !plan.contains("SCAN tollgate_keys") && !plan.contains("Seq Scan on tollgate_keys"),
            "{plan}"
        );
        assert!(plan.contains("Index Scan") || plan.contains("SEARCH tollgate_keys"), "{plan}");
    }
}

async fn dead_keys_are_swept(place: Place) {
    let store = store(&place, &["ada"]).await;
    let mut keys: Vec<KeyRecord> = (1..=6).map(|number| record(number, "ada")).collect();
    keys[1].expires_at = Some(later(10));
    keys[2].expires_at = Some(later(20));
    keys[3].revoked_at = Some(later(10));
    keys[4].revoked_at = Some(later(30));
    keys[4].expires_at = Some(later(15));
    keys[5].revoked_at = Some(later(20));
    for key in &keys {
        assert_eq!(insert(&store, key).await, Inserted::Done);
    }
    assert_eq!(store.sweep(later(10)).await.unwrap(), 0, "before is before");
    assert_eq!(store.sweep(later(20)).await.unwrap(), 3);
    let left: Vec<KeyId> = store.list(&KeyQuery::first(9)).await.unwrap().iter().map(|key| key.id).collect();
    assert_eq!(left, [keys[0].id, keys[2].id, keys[5].id]);
    assert_eq!(store.find(&keys[1].hash).await.unwrap(), None);
    for number in 0..=255 {
        let mut key = record(number, "many");
        key.account = Arc::new(Account::new("ada", "pro"));
        key.revoked_at = Some(NOW);
        key.id = KeyId::from_bytes([number.max(1); 16]);
        let _ = insert(&store, &key).await;
    }
    assert_eq!(store.sweep(later(1)).await.unwrap(), 255);
}

async fn what_is_erased_is_gone_with_all_that_hung_on_it(place: Place) {
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

async fn a_caller_that_leaves_cuts_nothing_short(place: Place) {
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
