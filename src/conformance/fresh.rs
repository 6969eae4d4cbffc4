//! Unique names for checks, and concurrent calls.

use std::sync::{Arc, Barrier};
use std::time::SystemTime;

use tokio::runtime::Handle;

use crate::account::Account;
use crate::amount::ChargeId;
use crate::amount::random;
use crate::clock::Timestamp;
use crate::conformance::suite::Fault;
use crate::credit::AdjustmentId;
use crate::future::StoreFuture;
use crate::key::{KeyHash, KeyHasher, KeyId, KeyRecord};
use crate::limit::SlotId;

/// The number of concurrent calls of a race. It is high enough for the calls to overlap, and low enough for any
/// runtime's thread pool.
pub(super) const RACERS: usize = 16;

/// Makes calls at the same time, each on its own thread, and waits for all results.
pub(super) async fn race<T, F>(calls: impl IntoIterator<Item = F>) -> Result<Vec<T>, Fault>
where
    T: Send + 'static,
    F: FnOnce() -> StoreFuture<T> + Send + 'static,
{
    let calls: Vec<F> = calls.into_iter().collect();
    let start = Arc::new(Barrier::new(calls.len()));
    let run = |call: F| {
        let start = Arc::clone(&start);
        tokio::task::spawn_blocking(move || {
            start.wait();
            Handle::current().block_on(call())
        })
    };
    let mut answers = Vec::new();
    for racer in calls.into_iter().map(run).collect::<Vec<_>>() {
        answers.push(racer.await.map_err(|panicked| Fault::new(format!("a call panicked: {panicked}")))??);
    }
    Ok(answers)
}

/// Returns a unique name.
pub(super) fn name() -> String {
    format!("conformance-{:016x}{:016x}", random(), random())
}

/// Returns a new account with a unique id.
pub(super) fn account() -> Account {
    Account::new(name(), "conformance")
}

/// Returns a unique key hash.
pub(super) fn hash() -> KeyHash {
    KeyHasher::sha256().hash(name().as_bytes())
}

/// Returns the record of a new, unique key of this account.
pub(super) fn key(account: &Arc<Account>) -> KeyRecord {
    KeyRecord::new(KeyId::generate(), hash(), Arc::clone(account))
}

fn id() -> [u8; 16] {
    (u128::from(random()) << 64 | u128::from(random())).to_be_bytes()
}

/// Returns a unique charge id.
pub(super) fn charge() -> ChargeId {
    ChargeId::from_bytes(id())
}

/// Returns a unique id of slots.
pub(super) fn slots() -> SlotId {
    SlotId::from_bytes(id())
}

/// Returns a unique adjustment id.
pub(super) fn adjustment() -> Result<AdjustmentId, Fault> {
    name().parse().map_err(|error| Fault::new(format!("{error}")))
}

/// Returns the present time, from which the times of calls are counted. A back end that uses its server's own time
/// knows no other time.
pub(super) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
