//! The time of key management over the store in memory: issue, rotate, revoke, and a page of 1,000 of 1,000,000 keys.
#![allow(
    clippy::expect_used,
    missing_docs,
    reason = "a bench that cannot be set up is a bug; criterion's macros make undocumented items"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use tollgate::key::{KeyHash, Length};
use tollgate::manage::ListKeys;
use tollgate::{
    Account, Gate, KeyFormat, KeyId, KeyManager, KeyRecord, KeySource, MemoryStore, NewKey, Plan,
};

/// Returns a manager over a store with this number of keys. Each account has a thousand of them.
fn manager(keys: u32) -> KeyManager {
    let store = Arc::new(MemoryStore::new());
    store.put_account(Account::new("ada", "pro"));
    for number in 0..keys {
        let account = Account::new(format!("account-{}", number / 1_000), "pro");
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_le_bytes());
        hash[31] = 1;
        let id = KeyId::from_bytes(u128::from(number).to_be_bytes());
        store.put_key(KeyRecord::new(id, KeyHash::from_bytes(hash), Arc::new(account)));
    }
    let gate = Gate::builder()
        .source(KeySource::header("X-API-Key").expect("a header"))
        .format(KeyFormat::new("acme_", Length::exactly(32)).expect("a format"))
        .plan(Plan::new("pro"))
        .store(store)
        .build()
        .expect("a gate");
    KeyManager::new(gate).expect("a manager")
}

fn manage(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let manager = manager(1_000_000);
    let issue = || runtime.block_on(manager.issue(NewKey::new("ada", "bot"))).expect("a key").key.id;
    let mut group = criterion.benchmark_group("1,000,000 keys");
    group.bench_function("issue", |bencher| bencher.iter(issue));
    group.bench_function("rotate", |bencher| {
        let rotate = |id| runtime.block_on(manager.rotate(id, Duration::from_mins(1))).expect("rotated");
        bencher.iter_batched(issue, |id| black_box(rotate(id)), BatchSize::SmallInput);
    });
    group.bench_function("revoke", |bencher| {
        let revoke = |id| runtime.block_on(manager.revoke(id)).expect("revoked");
        bencher.iter_batched(issue, |id| black_box(revoke(id)), BatchSize::SmallInput);
    });
    let mut asked = ListKeys::default();
    asked.limit = 1_000;
    asked.cursor = Some(KeyId::from_bytes(500_000_u128.to_be_bytes()));
    group.bench_function("list 1,000", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(manager.list(&asked)).expect("a page")));
    });
    group.finish();
}

criterion_group!(benches, manage);
criterion_main!(benches);
