//! Detection of an authority that hangs. While it hangs, one read at a time checks if it is back, and no other caller
//! waits for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::StoreError;

/// A detector of an authority that hangs: a read timed out and no other read was answered meanwhile. If other reads
/// were answered, the authority is only busy, and the read may have timed out while waiting for its turn.
pub(super) struct HangDetector {
    hangs: AtomicBool,
    answers: AtomicU64,
    finds_out: Semaphore,
}

/// A read that may be made.
pub(super) struct Admitted<'h> {
    /// The number of reads that had been answered before this one.
    answers: u64,
    _finds_out: Option<SemaphorePermit<'h>>,
}

impl HangDetector {
    pub(super) fn new() -> Self {
        Self { hangs: AtomicBool::new(false), answers: AtomicU64::new(0), finds_out: Semaphore::new(1) }
    }

    /// Admits a read, or fails at once if the authority hangs and another read is checking it.
    pub(super) fn admit(&self) -> Result<Admitted<'_>, StoreError> {
        let finds_out = if self.hangs.load(Ordering::Relaxed) {
            let hangs = |_| {
                StoreError::unavailable("the authority does not answer; another call checks for its recovery")
            };
            Some(self.finds_out.try_acquire().map_err(hangs)?)
        } else {
            None
        };
        Ok(Admitted { answers: self.answers.load(Ordering::Relaxed), _finds_out: finds_out })
    }

    /// Records the outcome of a read.
    pub(super) fn note(&self, admitted: &Admitted<'_>, timed_out: bool) {
        if !timed_out {
            self.answers.fetch_add(1, Ordering::Relaxed);
            self.hangs.store(false, Ordering::Relaxed);
        } else if self.answers.load(Ordering::Relaxed) == admitted.answers {
            self.hangs.store(true, Ordering::Relaxed);
        }
    }
}
