//! The cache in front of a key store: what it may answer with, for how long, and how seldom it asks.
#![cfg(all(feature = "fleet", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod changes;
mod channel;
mod failures;
mod floods;
mod model;
mod readings;
#[cfg(feature = "redis")]
mod redis_invalidation;
pub(crate) mod remote;
#[cfg(feature = "redis")]
mod second_tier;
#[cfg(all(feature = "redis", feature = "conformance"))]
mod suites;

use std::sync::Arc;
use std::time::Duration;

use remote::Remote;
use tollgate::key::{KeyHash, KeyStatus};
use tollgate::store::{CachedStore, CachedStoreBuilder};
use tollgate::{KeyRecord, KeyStore, ManualClock};

/// The bound on staleness in these tests.
const BOUND: Duration = Duration::from_secs(10);

fn clock() -> ManualClock {
    ManualClock::starting_at("2026-04-30T12:00:00Z".parse().unwrap())
}

fn just_before(time: Duration) -> Duration {
    time.saturating_sub(Duration::from_nanos(1))
}

/// A cache whose times to live are exact.
fn cache(remote: &Arc<Remote>, clock: &ManualClock) -> CachedStoreBuilder<Arc<Remote>> {
    CachedStore::builder(Arc::clone(remote)).stale_for_at_most(BOUND).jitter(0).clock(clock.clone())
}

/// Changes the status of the key with this hash through a store, as a manager does.
pub(crate) async fn set_status(
    store: &impl tollgate::store::KeyAdmin,
    id: tollgate::KeyId,
    status: KeyStatus,
) {
    let mut record = KeyRecord::clone(&store.get(id).await.unwrap().unwrap());
    record.status = status;
    let made = store.replace(&record).await.unwrap();
    assert!(
        matches!(made, tollgate::store::Replaced::Done | tollgate::store::Replaced::Unannounced),
        "{made:?}"
    );
}

pub(crate) async fn status_of(store: &impl KeyStore, hash: &KeyHash) -> Option<KeyStatus> {
    store.find(hash).await.unwrap().map(|record| record.status)
}

/// Waits until something is so.
pub(crate) async fn until(so: impl Fn() -> bool) {
    until_async(async || so()).await;
}

async fn until_async(so: impl AsyncFn() -> bool) {
    for _ in 0..2000 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came to that");
}
