//! A circuit breaker: after consecutive failures, a back end receives no calls for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::StoreError;
use crate::guard::GuardLimits;
use crate::metrics::CircuitMetrics;
use crate::trace::Mode;

/// A circuit breaker that counts consecutive failures.
///
/// After too many failures it opens. It then admits one probe call per rest period. An answer to the probe closes it.
#[derive(Debug)]
pub(super) struct Circuit {
    clock: Arc<dyn Clock>,
    most: u32,
    cooldown: u64,
    /// The time after which another probe call is admitted if the last one got no answer: the longer of the rest period
    /// and the time limit of a call.
    probe: u64,
    /// The minimum wait after which an abandoned call counts as a failure.
    given_up: u64,
    failures: AtomicU32,
    /// The time when the next call is admitted, in monotonic nanoseconds; zero while the circuit is closed.
    ask_at: AtomicU64,
    /// Logs when the circuit opens and when it closes.
    log: Mode,
    metrics: CircuitMetrics,
}

const CLOSED: u64 = 0;

impl Circuit {
    /// Creates a circuit for a back end of the type `T`.
    pub(super) fn before<T>(limits: &GuardLimits, clock: Arc<dyn Clock>) -> Self {
        let (cooldown, time) = (nanos(limits.cooldown), nanos(limits.time));
        let (probe, given_up) = (cooldown.max(time), nanos(limits.given_up));
        let (failures, ask_at) = (AtomicU32::new(0), AtomicU64::new(CLOSED));
        let opens = "a back end failed repeatedly: the circuit breaker is open, and calls are paused";
        let log = Mode::before::<T>(opens, "a back end has recovered: the circuit breaker is closed");
        let metrics = CircuitMetrics::new(log.back_end());
        Self {
            clock,
            most: limits.failures.max(1),
            cooldown,
            probe,
            given_up,
            failures,
            ask_at,
            log,
            metrics,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.ask_at.load(Ordering::Acquire) != CLOSED
    }

    /// Returns true if a call may be made now.
    pub(super) fn admits(&self) -> bool {
        let ask_at = self.ask_at.load(Ordering::Acquire);
        if ask_at == CLOSED {
            return true;
        }
        let now = self.now();
        // Admit only one of the concurrent callers. If its call is never answered, another is admitted after the probe
        // time.
        let next = now.saturating_add(self.probe);
        now >= ask_at
            && self.ask_at.compare_exchange(ask_at, next, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    pub(super) fn answered(&self) {
        // Write only if necessary: a write would invalidate the cache line, which all threads share.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.is_open() && self.ask_at.swap(CLOSED, Ordering::AcqRel) != CLOSED {
            self.metrics.closed();
        }
        self.log.end();
    }

    pub(super) fn failed(&self, error: &StoreError) {
        let before = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |failures| Some(failures.saturating_add(1)))
            .unwrap_or_default();
        if before.saturating_add(1) >= self.most {
            let now = self.now();
            let ask_at = now.saturating_add(self.cooldown).max(CLOSED + 1);
            if self.ask_at.swap(ask_at, Ordering::AcqRel) == CLOSED {
                self.metrics.opened();
            }
            self.log.begin(now, error);
        }
    }

    /// Records that the caller of a call made at `since` stopped waiting.
    pub(super) fn given_up(&self, since: u64) {
        if self.now().saturating_sub(since) >= self.given_up {
            self.failed(&StoreError::timed_out());
        }
    }

    /// Returns the monotonic time, in nanoseconds.
    pub(super) fn now(&self) -> u64 {
        nanos(self.clock.now().elapsed())
    }
}

impl Drop for Circuit {
    fn drop(&mut self) {
        if self.is_open() {
            self.metrics.closed();
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
