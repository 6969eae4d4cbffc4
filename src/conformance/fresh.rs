//! Names that nobody else has, and calls that are made at the same time.

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

/// The calls of a race: enough to meet, and few enough for any runtime's pool of threads.
pub(super) const RACERS: usize = 16;

/// Makes calls at the same time, each on a thread of its own, and waits for all answers.
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

/// A name that nobody else has.
pub(super) fn name() -> String {
    format!("conformance-{:016x}{:016x}", random(), random())
}

/// An account that nobody else has.
pub(super) fn account() -> Account {
    Account::new(name(), "conformance")
}

/// A hash that nobody else has.
pub(super) fn hash() -> KeyHash {
    KeyHasher::sha256().hash(name().as_bytes())
}

/// A key of this account that nobody else has.
pub(super) fn key(account: &Arc<Account>) -> KeyRecord {
    KeyRecord::new(KeyId::generate(), hash(), Arc::clone(account))
}

/// The id of a charge that nobody else has.
pub(super) fn charge() -> ChargeId {
    ChargeId::from_bytes((u128::from(random()) << 64 | u128::from(random())).to_be_bytes())
}

/// The id of an adjustment that nobody else has.
pub(super) fn adjustment() -> Result<AdjustmentId, Fault> {
    name().parse().map_err(|error| Fault::new(format!("{error}")))
}

/// The present, from which the times of calls are counted: a back end on its server's own time knows no other.
pub(super) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
