//! A rate limiter that admits requests while the limiter behind it fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::account::{QuotaPolicy, QuotaScope, Quotas};
use crate::clock::Now;
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::limit::{Acquire, Acquired, Correction, Draw, LimitDecision, RateLimiter, WindowStatus};
use crate::metrics::{Counter, FAILED_OPEN};
use crate::trace::Mode;

/// A rate limiter that asks a limiter shared by all nodes, and admits every request while that limiter fails. This is
/// the policy `allow`.
///
/// **While the shared limiter fails, nothing is limited.** Use it only if a refused request costs more than any number
/// of admitted ones. [`LocalFallback`](crate::limit::LocalFallback) keeps a limit for each node.
///
/// An answer that is not certain counts as a failure: the request is admitted, and the server may have taken its units.
/// A call that the limiter [rejects](StoreError::is_rejected), for example because the client's address is unknown, stays
/// an error.
///
/// The metric `tollgate_failed_open_total` counts the requests that were admitted without a limit. With the feature
/// `tracing`, one event (a warning) reports that this begins, and another that the limiter answers again.
///
/// # Example
///
/// ```
/// use tollgate::guard::Resilient;
/// use tollgate::limit::AllowOnFailure;
/// use tollgate::MemoryLimiter;
///
/// let shared = Resilient::new(MemoryLimiter::new()); // one behind a network, elsewhere
/// let limiter = AllowOnFailure::new(shared);
/// # drop(limiter);
/// ```
#[derive(Debug)]
pub struct AllowOnFailure<T> {
    shared: T,
    failing: Arc<Failing>,
}

/// The log and the count of the requests that are admitted without a limit.
#[derive(Debug)]
struct Failing {
    log: Mode,
    admitted: Counter,
    /// True if a request was admitted without a limit.
    has_admitted: AtomicBool,
}

/// The minimum time between log events of a limiter that fails intermittently.
const APART: Duration = Duration::from_millis(100);

impl<T: RateLimiter> AllowOnFailure<T> {
    /// Creates a limiter that asks `shared`, and admits requests while `shared` fails.
    pub fn new(shared: T) -> Self {
        let begins = "a rate limiter fails: requests are admitted without a limit";
        let log = Mode::before::<T>(begins, "a rate limiter has recovered: quotas apply again").apart(APART);
        let admitted = Counter::new(&FAILED_OPEN, &[]);
        Self { shared, failing: Arc::new(Failing { log, admitted, has_admitted: AtomicBool::new(false) }) }
    }

    /// Returns true if this limiter itself admitted the request of an answer that is marked as local. A limiter that marks
    /// its own answers, as [`LocalFallback`](crate::limit::LocalFallback) does, never fails.
    fn is_own(&self, local: bool) -> bool {
        local && self.failing.has_admitted.load(Ordering::Relaxed)
    }

    /// Returns the answer of the shared limiter, or what `otherwise` returns if it failed.
    fn or_else<R: Send + 'static>(
        &self,
        mut asked: StoreFuture<R>,
        now: Now,
        otherwise: impl FnOnce() -> R + Send + 'static,
    ) -> StoreFuture<R> {
        if let Some(answer) = asked.take_ready() {
            return self.failing.answer(answer, now, otherwise).into();
        }
        let failing = Arc::clone(&self.failing);
        StoreFuture::boxed(async move { failing.answer(asked.await, now, otherwise) })
    }
}

impl Failing {
    fn answer<R>(
        &self,
        answer: Result<R, StoreError>,
        now: Now,
        otherwise: impl FnOnce() -> R,
    ) -> Result<R, StoreError> {
        match answer {
            Err(error) if !error.is_rejected() => {
                self.log.begin(now.ticks(), &error);
                self.admitted.add(1);
                self.has_admitted.store(true, Ordering::Relaxed);
                Ok(otherwise())
            }
            answer => {
                self.log.end();
                answer
            }
        }
    }
}

/// Returns the state of each window as if it were full.
fn full(quotas: &Quotas) -> Vec<WindowStatus> {
    let status = |(place, policy): (usize, &QuotaPolicy)| {
        WindowStatus::new(place, policy.capacity(), Duration::ZERO).with_limit(policy.capacity())
    };
    quotas.policies().enumerate().map(status).collect()
}

/// Returns the window with the least capacity, as if it were full.
fn least(quotas: &Quotas) -> WindowStatus {
    let least = quotas.policies().enumerate().min_by_key(|(_, policy)| policy.capacity());
    let (place, capacity) = least.map_or((0, u32::MAX), |(place, policy)| (place, policy.capacity()));
    WindowStatus::new(place, capacity, Duration::ZERO).with_limit(capacity)
}

impl<T: RateLimiter> RateLimiter for AllowOnFailure<T> {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision> {
        let (status, all) = (least(draw.quotas), draw.every_window.then(|| full(draw.quotas)));
        self.or_else(self.shared.draw(draw), draw.now, move || match all {
            Some(all) => LimitDecision::Within(status).with_all(all),
            None => LimitDecision::Within(status),
        })
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        self.shared.peek(draw)
    }

    fn acquire(&self, acquire: &Acquire<'_>) -> StoreFuture<Acquired> {
        self.or_else(self.shared.acquire(acquire), acquire.now, || Acquired::Held { local: true })
    }

    fn release(&self, acquire: &Acquire<'_>) -> StoreFuture<()> {
        if self.is_own(acquire.local) { StoreFuture::ready(()) } else { self.shared.release(acquire) }
    }

    fn correct(&self, correction: &Correction<'_>) -> StoreFuture<()> {
        if self.is_own(correction.local) { StoreFuture::ready(()) } else { self.shared.correct(correction) }
    }

    fn limits_in_flight(&self) -> bool {
        self.shared.limits_in_flight()
    }

    fn counts_together(&self, owners: &[&QuotaScope]) -> bool {
        self.shared.counts_together(owners)
    }

    fn is_failing(&self) -> bool {
        self.shared.is_failing()
    }
}
