//! Charges that were rejected before they were sent to the ledger.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::amount::ChargeId;

/// The ids of charges that were never sent and not refunded yet.
///
/// The refund of such a charge has nothing to do. If it were sent to the ledger, it would create a row that bars a
/// charge which cannot arrive.
#[derive(Debug)]
pub(crate) struct Unsent {
    most: usize,
    /// The number of ids, so that no lock is needed while the ledger is healthy.
    count: AtomicUsize,
    ids: Mutex<HashSet<ChargeId>>,
}

impl Unsent {
    pub(crate) fn keeping(most: usize) -> Self {
        Self { most, count: AtomicUsize::new(0), ids: Mutex::default() }
    }

    /// Records a charge that was not sent.
    pub(crate) fn add(&self, id: ChargeId) {
        let mut ids = self.lock();
        if ids.len() >= self.most {
            // The callers do not refund these charges. If one does, its refund is sent to the ledger and is harmless.
            ids.clear();
        }
        ids.insert(id);
        self.count.store(ids.len(), Ordering::Relaxed);
    }

    /// Removes a charge.
    ///
    /// Returns true if it was recorded.
    pub(crate) fn take(&self, id: ChargeId) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut ids = self.lock();
        let there = ids.remove(&id);
        self.count.store(ids.len(), Ordering::Relaxed);
        there
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<ChargeId>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
