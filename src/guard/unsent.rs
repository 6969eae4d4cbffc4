//! Charges that the guard refused without asking the ledger.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::amount::ChargeId;

/// The ids of charges that were never sent and not given back yet. A refund of one has nothing to do: sent to the ledger, it
/// would leave a row there that bars a charge which cannot come.
#[derive(Debug)]
pub(super) struct Unsent {
    most: usize,
    /// How many there are, so that a ledger that is well costs no lock.
    count: AtomicUsize,
    ids: Mutex<HashSet<ChargeId>>,
}

impl Unsent {
    pub(super) fn keeping(most: usize) -> Self {
        Self { most, count: AtomicUsize::new(0), ids: Mutex::default() }
    }

    /// Notes a charge that was not sent.
    pub(super) fn add(&self, id: ChargeId) {
        let mut ids = self.lock();
        if ids.len() >= self.most {
            // Nobody gives them back: a refund of one that is forgotten is sent, and does no harm.
            ids.clear();
        }
        ids.insert(id);
        self.count.store(ids.len(), Ordering::Relaxed);
    }

    /// Forgets a charge; says whether it was noted.
    pub(super) fn take(&self, id: ChargeId) -> bool {
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
