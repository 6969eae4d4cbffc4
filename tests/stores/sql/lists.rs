//! Many keys: listed a page at a time, and swept when they are dead.

use std::collections::BTreeSet;
use std::sync::Arc;

use tollgate::key::KeyStatus;
use tollgate::store::{Inserted, KeyAdmin, KeyQuery};
use tollgate::{Account, KeyId, KeyRecord, KeyStore};

use crate::database::{Place, both};
use crate::sql::store::{NOW, insert, later, record, store};

both!(keys_are_listed_by_id_in_pages, list_uses_an_index, dead_keys_are_swept);

async fn keys_are_listed_by_id_in_pages(place: Place) {
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

/// A page costs the same for any number of keys.
async fn list_uses_an_index(place: Place) {
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
