//! More keys than there is room for.

use tollgate::KeyStore;

use crate::cached::remote::{Remote, hash};
use crate::cached::{cache, clock};

/// Without optimisation a million take minutes.
const UNKNOWN: u64 = if cfg!(debug_assertions) { 50_000 } else { 1_000_000 };

#[tokio::test]
async fn flood_evicts_no_known_record() {
    let remote = Remote::new();
    let known: Vec<_> = (0..200).map(|number| remote.key(number).1).collect();
    let store = cache(&remote, &clock()).capacity(1000).absent_capacity(500).build().unwrap();
    for hash in &known {
        store.find(hash).await.unwrap();
    }
    for number in 1_000..1_000 + UNKNOWN {
        assert!(store.find(&hash(number)).await.unwrap().is_none());
        if number % (UNKNOWN / 10) == 0 {
            let (records, absent) = store.len();
            assert!(records == 200 && absent <= 500, "{records} records, {absent} absent");
        }
    }
    assert!(known.iter().all(|hash| store.find(hash).is_ready()));
    assert!(store.len().1 > 0);
}

#[tokio::test]
async fn capacity_holds_and_used_records_stay() {
    let remote = Remote::new();
    let account = remote.store.put_account(tollgate::Account::new("ada", "plain"));
    for number in 0..20_000_u64 {
        let id = tollgate::KeyId::from_bytes(u128::from(number).to_be_bytes());
        remote.store.put_key(tollgate::KeyRecord::new(id, hash(number), std::sync::Arc::clone(&account)));
    }
    let store = cache(&remote, &clock()).capacity(500).build().unwrap();
    for _ in 0..100 {
        for number in 0..100 {
            store.find(&hash(number)).await.unwrap();
        }
    }
    for number in 100..20_000 {
        assert!(store.find(&hash(number)).await.unwrap().is_some());
        if number % 1000 == 0 {
            assert!(store.len().0 <= 500);
        }
    }
    let stayed = (0..100).filter(|number| store.find(&hash(*number)).is_ready()).count();
    assert!(stayed >= 95, "{stayed} of 100 records in use");
}
