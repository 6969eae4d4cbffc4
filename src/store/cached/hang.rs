//! Whether the authority hangs: then one reading at a time finds out whether it is back, and nobody else waits for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::StoreError;

/// Knows that the authority hangs by a reading that was given up while no other was answered: one that did not get its
/// turn in time says nothing of an authority that is merely busy.
pub(super) struct Hang {
    hangs: AtomicBool,
    answers: AtomicU64,
    finds_out: Semaphore,
}

/// A reading that may be made.
pub(super) struct Admitted<'h> {
    /// How many readings had been answered before.
    answers: u64,
    _finds_out: Option<SemaphorePermit<'h>>,
}

impl Hang {
    pub(super) fn new() -> Self {
        Self { hangs: AtomicBool::new(false), answers: AtomicU64::new(0), finds_out: Semaphore::new(1) }
    }

    /// Admits a reading, or says at once that the authority hangs.
    pub(super) fn admit(&self) -> Result<Admitted<'_>, StoreError> {
        let finds_out = if self.hangs.load(Ordering::Relaxed) {
            let hangs =
                |_| StoreError::unavailable("it hangs, and another reading finds out whether it is back");
            Some(self.finds_out.try_acquire().map_err(hangs)?)
        } else {
            None
        };
        Ok(Admitted { answers: self.answers.load(Ordering::Relaxed), _finds_out: finds_out })
    }

    /// Notes what became of a reading.
    pub(super) fn note(&self, admitted: &Admitted<'_>, timed_out: bool) {
        if !timed_out {
            self.answers.fetch_add(1, Ordering::Relaxed);
            self.hangs.store(false, Ordering::Relaxed);
        } else if self.answers.load(Ordering::Relaxed) == admitted.answers {
            self.hangs.store(true, Ordering::Relaxed);
        }
    }
}
