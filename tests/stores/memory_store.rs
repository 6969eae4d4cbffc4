//! Keys whose hashes were made elsewhere, and are none.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::Request;
use tollgate::key::{KeyHash, KeyHasher, Length};
use tollgate::rule::ScopeRule;
use tollgate::state::StateOwner;
use tollgate::store::KeyAdmin;
use tollgate::{
    Account, DenialKind, Gate, KeyFormat, KeyId, KeyRecord, KeySource, KeyStore, MemoryStore, Plan,
    RequestView, Rule,
};

/// A map that crowds grows without end: this would not come to its end.
#[tokio::test]
async fn similar_hashes_are_kept_apart() {
    for place in [0, 4, 8, 16, 28] {
        let store = MemoryStore::new();
        let hash = |number: u32| {
            let mut bytes = [0; 32];
            bytes[place..place + 4].copy_from_slice(&number.to_le_bytes());
            KeyHash::from_bytes(bytes)
        };
        let account = Arc::new(Account::new("acme", "pro"));
        for number in 0..20_000 {
            let id = KeyId::from_bytes(u128::from(number).to_be_bytes());
            store.put_key(KeyRecord::new(id, hash(number), Arc::clone(&account)));
        }
        for number in [0, 1, 9_999, 19_999] {
            let found = store.find(&hash(number)).await.unwrap().unwrap();
            assert_eq!(found.id, KeyId::from_bytes(u128::from(number).to_be_bytes()), "{place}");
        }
    }
}

#[tokio::test]
async fn record_that_was_used_is_put_back_changed() {
    const KEY: &str = "acme_0123456789abcdef0123456789abcdef";
    type Change = fn(&mut KeyRecord);
    let rows: [(Change, DenialKind); 4] = [
        (|record| record.account = Arc::new(Account::new("small", "free")), DenialKind::PlanRequired),
        (|record| record.scopes = Some(vec!["read".into()]), DenialKind::ScopeRequired),
        (|record| record.quotas = Some(vec!["1 per day".parse().unwrap()]), DenialKind::RateLimited),
        (|record| record.environment = "test".into(), DenialKind::Unknown),
    ];
    for (change, expected) in rows {
        let store = Arc::new(MemoryStore::new());
        let (id, hash) = (KeyId::from_bytes([1; 16]), KeyHasher::sha256().hash(KEY.as_bytes()));
        store.put_key(KeyRecord::new(id, hash, Arc::new(Account::new("acme", "pro"))));
        let mut rule = Rule::new("/admin").unwrap();
        (rule.scopes, rule.min_plan) = (ScopeRule::AnyOf(vec!["admin".into()]), Some("pro".into()));
        let plan = |name: &str, rank| {
            let mut plan = Plan::new(name);
            plan.rank = Some(rank);
            plan
        };
        let gate = Gate::builder().store(Arc::clone(&store)).plan(plan("free", 1)).plan(plan("pro", 2));
        let gate = gate.source(KeySource::header("X-API-Key").unwrap()).rule(rule);
        let format = KeyFormat::new("acme_", Length::exactly(32)).unwrap();
        let gate = gate.format(format).build().unwrap();
        let request = Request::get("/admin").header("X-API-Key", KEY).body(()).unwrap();
        assert!(gate.admit(&RequestView::of(&request)).await.is_ok());

        let mut used = store.key(id).unwrap();
        assert!(store.erase(id).await.unwrap());
        while Arc::get_mut(&mut used).is_none() {
            // The map of the store drops its last pointer later.
            let other = KeyId::from_bytes([2; 16]);
            store.put_key(KeyRecord::new(
                other,
                KeyHash::from_bytes([2; 32]),
                Arc::new(Account::new("b", "pro")),
            ));
        }
        let mut record = Arc::into_inner(used).unwrap();
        change(&mut record);
        store.put_key(record);
        // The first request is the one of the new quota.
        let first = gate.admit(&RequestView::of(&request)).await;
        let denial = match first {
            Ok(_) => gate.admit(&RequestView::of(&request)).await.unwrap_err(),
            Err(denial) => denial,
        };
        assert_eq!(denial.kind(), expected);
    }
}

#[test]
fn record_enters_without_attached_state() {
    let (store, owner) = (MemoryStore::new(), StateOwner::new());
    let attach = |state: &tollgate::state::AttachedState| state.attach(owner, Arc::new(AtomicU64::new(1)));
    let account = Account::new("acme", "pro");
    attach(account.state());
    assert!(store.put_account(account).state().get::<AtomicU64>(owner).is_none());
    let record = KeyRecord::new(
        KeyId::from_bytes([1; 16]),
        KeyHash::from_bytes([1; 32]),
        store.account("acme").unwrap(),
    );
    attach(record.state());
    store.put_key(record);
    assert!(store.key(KeyId::from_bytes([1; 16])).unwrap().state().get::<AtomicU64>(owner).is_none());
}

#[test]
fn details_changed_in_place_drop_state() {
    let owner = StateOwner::new();
    let attach = |state: &tollgate::state::AttachedState| state.attach(owner, Arc::new(AtomicU64::new(1)));
    let mut account = Account::new("acme", "pro");
    attach(account.state());
    account.plan = "free".into();
    assert!(account.state().get::<AtomicU64>(owner).is_none());
    let mut record =
        KeyRecord::new(KeyId::from_bytes([1; 16]), KeyHash::from_bytes([1; 32]), Arc::new(account));
    attach(record.state());
    record.scopes = Some(vec![]);
    assert!(record.state().get::<AtomicU64>(owner).is_none());
}
