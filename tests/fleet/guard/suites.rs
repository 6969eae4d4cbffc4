//! The published suites, over back ends that are guarded, and over limits that a node keeps by itself.

use std::num::NonZeroU32;
use std::sync::Arc;

use tollgate::conformance::{self, Capability};
use tollgate::guard::Resilient;
use tollgate::limit::{LocalFallback, LocalShare};
use tollgate::{MemoryLedger, MemoryLimiter, MemoryStore};

use crate::support::remote::{Fault, Remote};

#[tokio::test]
async fn guarded_back_ends_keep_the_contract() {
    conformance::keys(Resilient::new(MemoryStore::new())).run().await.assert();
    let credits = conformance::credits(Resilient::new(MemoryLedger::new()));
    credits.without(Capability::LateCharges).run().await.assert();
    conformance::limits(Resilient::new(MemoryLimiter::new())).run().await.assert();
}

#[tokio::test]
async fn guarded_remote_back_ends_keep_contract() {
    let charges = conformance::charges(Resilient::new(Remote::new(MemoryLedger::new())));
    charges.without(Capability::LateCharges).run().await.assert();
    conformance::limits(Resilient::new(Remote::new(MemoryLimiter::new()))).run().await.assert();
}

/// The share of one node is the whole quota.
#[tokio::test]
async fn custom_limiter_keeps_the_contract() {
    conformance::limits(LocalShare::new(NonZeroU32::MIN)).run().await.assert();
    let shared = Resilient::new(Remote::new(Arc::new(MemoryLimiter::new())));
    shared.back_end().set(Fault::Down);
    conformance::limits(LocalFallback::new(shared, LocalShare::new(NonZeroU32::MIN))).run().await.assert();
    let shared = Resilient::new(Remote::new(MemoryLimiter::new()));
    conformance::limits(LocalFallback::new(shared, LocalShare::new(NonZeroU32::MIN))).run().await.assert();
}
