//! The published suites: the back ends in memory keep them, by whatever pointer they are held.
#![cfg(all(feature = "conformance", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use tollgate::conformance::{self, Capability, Suite};
use tollgate::{
    Account, AccountAdmin, CreditAdmin, KeyHasher, KeyId, KeyRecord, MemoryLedger, MemoryLimiter,
    MemoryStore, RateLimiter,
};

/// A ledger in memory decides before its caller can ask for a refund: no charge comes after it.
fn credits(ledger: impl CreditAdmin) -> Suite {
    conformance::credits(ledger).without(Capability::LateCharges)
}

#[tokio::test]
async fn the_store_in_memory_keeps_the_contract() {
    conformance::keys(MemoryStore::new()).run().await.assert();
    conformance::keys(Arc::new(MemoryStore::new()) as Arc<dyn AccountAdmin>).run().await.assert();
    conformance::keys(Box::new(MemoryStore::new()) as Box<dyn AccountAdmin>).run().await.assert();
}

#[tokio::test]
async fn the_ledger_in_memory_keeps_the_contract() {
    credits(MemoryLedger::new()).run().await.assert();
    credits(Arc::new(MemoryLedger::new()) as Arc<dyn CreditAdmin>).run().await.assert();
    credits(Box::new(MemoryLedger::new()) as Box<dyn CreditAdmin>).run().await.assert();
}

#[tokio::test]
async fn the_limiter_in_memory_keeps_the_contract() {
    conformance::limits(MemoryLimiter::new()).run().await.assert();
    conformance::limits(Arc::new(MemoryLimiter::new()) as Arc<dyn RateLimiter>).run().await.assert();
    conformance::limits(Box::new(MemoryLimiter::new()) as Box<dyn RateLimiter>).run().await.assert();
}

/// One store in use by many: no check stands in the way of another.
#[tokio::test(flavor = "multi_thread")]
async fn suites_run_at_the_same_time_on_one_store() {
    let store = Arc::new(MemoryStore::new());
    let (ledger, limiter) = (Arc::new(MemoryLedger::new()), Arc::new(MemoryLimiter::new()));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..3 {
        running.spawn(conformance::keys(Arc::clone(&store)).run());
        running.spawn(credits(Arc::clone(&ledger)).run());
        running.spawn(conformance::limits(Arc::clone(&limiter)).run());
    }
    for report in running.join_all().await {
        report.assert();
    }
}

#[tokio::test]
async fn look_ups_are_checked_where_there_is_no_write_side() {
    let store = MemoryStore::new();
    let hash = KeyHasher::sha256().hash(b"acme_secret");
    let record = KeyRecord::new(KeyId::generate(), hash, Arc::new(Account::new("acme", "pro")));
    store.put_key(record.clone());
    conformance::look_ups(Arc::new(store), [record.clone()]).run().await.assert();
    let report = conformance::look_ups(MemoryStore::new(), [record]).run().await;
    assert_eq!(report.failures()[0].check(), "every_key_is_found_by_its_hashes");
}

#[tokio::test]
async fn what_is_left_out_is_told() {
    let report = credits(MemoryLedger::new()).run().await;
    assert_eq!(report.left_out().len(), 3, "{report}");
    assert!(report.left_out().iter().all(|(_, lack)| *lack == Capability::LateCharges));
    assert!(report.to_string().contains("the owner declares no LateCharges"), "{report}");
    // Undeclared, the lack is found.
    let report = conformance::charges(MemoryLedger::new()).run().await;
    let failed: Vec<_> = report.failures().iter().map(conformance::Failure::check).collect();
    assert!(failed.contains(&"a_charge_that_arrives_after_its_refund_takes_nothing"), "{report}");
}
