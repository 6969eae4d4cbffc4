//! A guard for a remote back end: time limits, a bound on waiting calls, a circuit breaker, and retries of settlements
//! and refunds.
//!
//! A back end that does not answer would hold up every request. Behind a guard, a call fails within its time limit.
//! After repeated failures, calls fail at once, until the back end answers again.
//!
//! # Example
//!
//! A store that cannot be reached opens the circuit:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use tollgate::guard::{GuardLimits, Resilient};
//! use tollgate::key::{KeyHash, KeyHasher};
//! use tollgate::{KeyRecord, KeyStore, StoreError, StoreFuture};
//!
//! #[derive(Debug)]
//! struct Unreachable;
//!
//! impl KeyStore for Unreachable {
//!     fn find(&self, _: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
//!         StoreFuture::failed(StoreError::unavailable("connection refused"))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let mut limits = GuardLimits::default();
//! limits.time = Duration::from_millis(250);
//! limits.failures = 2;
//! let store = Resilient::with_limits(Unreachable, limits);
//!
//! let hash = KeyHasher::sha256().hash(b"acme_secret");
//! assert!(store.find(&hash).await.is_err() && !store.health().open);
//! assert!(store.find(&hash).await.is_err() && store.health().open);
//! # }
//! ```
//!
//! # Overview
//!
//! - [`Resilient`]: the guard. It implements the traits of the back end behind it, so a gate takes it as a store, a
//!   ledger or a limiter.
//! - [`GuardLimits`]: the time limit, the bound on waiting calls, and the terms of the circuit breaker.
//! - [`GuardHealth`]: the state of the circuit and the number of waiting calls, for a health check or a metric.
//! - [`BackEndPolicies`]: the guards of a gate's back ends and the answers while they fail, as the configuration file sets
//!   them.

mod circuit;
mod credits;
mod keys;
mod limiter;
mod pending_settlements;
mod policy;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use circuit::Circuit;
use pending_settlements::PendingSettlements;
pub(crate) use policy::LedgerGuard;
pub use policy::{BackEndPolicies, LimiterFailure, LimiterPolicy, StorePolicy};

use crate::clock::{Clock, SystemClock};
use crate::credit::Unsent;
use crate::error::StoreError;
use crate::future::StoreFuture;

/// The limits of a guard: the time of a call, the number of waiting calls, and the terms of the circuit breaker.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tollgate::guard::GuardLimits;
///
/// let mut limits = GuardLimits::default();
/// limits.time = Duration::from_millis(250);
/// assert_eq!(limits.failures, 5);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardLimits {
    /// The maximum duration of one call. Defaults to one second.
    pub time: Duration,
    /// The minimum wait after which a call that its caller abandons counts as a failure. Defaults to 250 ms.
    ///
    /// A caller abandons a call when an outer deadline is shorter than [`time`](Self::time), for example. An earlier
    /// abandonment is no evidence about the back end, because clients disconnect.
    pub given_up: Duration,
    /// The maximum number of calls that wait at once. Defaults to 1,024.
    ///
    /// A further call is refused at once with a "no room" error. Settlements and refunds are not bounded: waiting
    /// charges take no room from them.
    pub waiting: usize,
    /// The number of consecutive failures that open the circuit. Defaults to five.
    pub failures: u32,
    /// The time for which the circuit stays open before one call probes the back end. Defaults to half a second.
    pub cooldown: Duration,
    /// The maximum number of failed settlements and refunds that are kept for a retry. Defaults to 65,536.
    ///
    /// If there is no room, a settlement replaces a refund.
    pub pending_settlements: usize,
    /// The number of kept settlements and refunds that are sent at once. Defaults to 256.
    pub settlements_at_once: usize,
    /// The maximum duration of [`flush`](Resilient::flush). Defaults to ten seconds.
    pub flush: Duration,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(1),
            given_up: Duration::from_millis(250),
            waiting: 1_024,
            failures: 5,
            cooldown: Duration::from_millis(500),
            pending_settlements: 65_536,
            settlements_at_once: 256,
            flush: Duration::from_secs(10),
        }
    }
}

/// The state of a guarded back end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardHealth {
    /// True if the circuit is open: the back end has failed repeatedly and receives no calls.
    pub open: bool,
    /// The number of calls that wait for the back end.
    pub waiting: usize,
    /// The number of settlements and refunds that are kept for a retry.
    pub pending_settlements: usize,
}

/// A remote back end with a time limit for each call, a bound on the number of waiting calls, and a circuit breaker.
///
/// After a number of consecutive failures the circuit opens: the back end receives no calls, and every call fails at
/// once as unavailable. From time to time, one call probes whether the back end is back.
///
/// The guard is itself a back end and implements the traits of the back end that it guards:
/// [`KeyStore`](crate::store::KeyStore) and its write side, [`CreditLedger`](crate::credit::CreditLedger) and its write
/// side, [`RateLimiter`](crate::limit::RateLimiter). A call that cannot be decided is an `Err`. The gate answers it
/// with 503, never 401, and admits nobody:
///
/// | back end | while it fails | fallback |
/// |---|---|---|
/// | key store | 503 | a cache that serves known keys for a configured time |
/// | rate limiter | 503 | `LocalFallback`: each node limits by itself; `AllowOnFailure`: nothing is limited |
/// | ledger | 503 | credits that the node has already leased |
///
/// A call that its caller abandons, because of a deadline of its own or because a client disconnects, also counts as a
/// failure once it has waited for [`given_up`](GuardLimits::given_up). Otherwise, the circuit would never open for a
/// back end that hangs if an outer deadline is shorter. The guard should still have the shortest time limit: it can
/// answer the calls that it ends itself.
///
/// No call is ever made twice: a draw or a charge that was not answered in time may have happened. A **settlement or
/// refund** that fails, or that is made while the circuit is open, is kept and retried in the background until it
/// succeeds. Both are idempotent. Its first answer is still the `Err`. The kept closings are lost when the process
/// ends: the ledger's sweep closes those charges.
///
/// - Settlements are sent before refunds, because their requests were served. If there is no room left, a settlement
///   replaces the oldest refund. The ledger's sweep then refunds that charge.
/// - A charge that was **never sent**, because the circuit is open or there is no room, leaves no trace: its refund
///   succeeds at once.
/// - [`flush`](Resilient::flush), for shutdown, ends within [`GuardLimits::flush`].
///
/// With the feature `tracing`, one event (a warning) is logged when the circuit opens, and one when it closes. Both
/// name the type of the back end. The text of the back end's error is logged in an event at debug level.
///
/// The guard needs a tokio runtime with its timer enabled.
///
/// # Example
///
/// ```
/// use tollgate::guard::Resilient;
/// use tollgate::MemoryLimiter;
///
/// let limiter = Resilient::new(MemoryLimiter::new());
/// assert!(!limiter.health().open);
/// ```
pub struct Resilient<T> {
    back_end: Arc<T>,
    shared: Arc<Shared>,
}

/// The state of a guard, without the type of the back end.
struct Shared {
    limits: GuardLimits,
    circuit: Circuit,
    waiting: AtomicUsize,
    pending_settlements: PendingSettlements,
    unsent: Unsent,
    /// The error returned while the circuit is open, created once.
    left_alone: StoreError,
}

impl<T> Resilient<T> {
    /// Guards a back end with the default limits.
    pub fn new(back_end: T) -> Self {
        Self::with_limits(back_end, GuardLimits::default())
    }

    /// Guards a back end with the given limits.
    pub fn with_limits(back_end: T, limits: GuardLimits) -> Self {
        Self::with_clock(back_end, limits, SystemClock::new())
    }

    /// Guards a back end with the given limits and a clock that measures how long the circuit has been open.
    pub fn with_clock(back_end: T, limits: GuardLimits, clock: impl Clock) -> Self {
        let shared = Shared {
            circuit: Circuit::before::<T>(&limits, Arc::new(clock)),
            waiting: AtomicUsize::new(0),
            pending_settlements: PendingSettlements::keeping(limits.pending_settlements),
            unsent: Unsent::keeping(limits.pending_settlements),
            limits,
            left_alone: StoreError::unavailable("the circuit breaker is open after repeated failures"),
        };
        Self { back_end: Arc::new(back_end), shared: Arc::new(shared) }
    }

    /// Returns the same guard, with the same state, in front of another handle of its back end.
    fn in_front_of<B>(&self, back_end: B) -> Resilient<B> {
        Resilient { back_end: Arc::new(back_end), shared: Arc::clone(&self.shared) }
    }

    /// Returns the back end, without the guard.
    pub fn back_end(&self) -> &T {
        &self.back_end
    }

    /// Returns the state of the back end.
    pub fn health(&self) -> GuardHealth {
        GuardHealth {
            open: self.shared.circuit.is_open(),
            waiting: self.shared.waiting.load(Ordering::Relaxed),
            pending_settlements: self.shared.pending_settlements.len(),
        }
    }

    /// Calls the back end within the limits.
    fn ask<R: Send + 'static>(&self, ask: impl FnOnce(&T) -> StoreFuture<R>) -> StoreFuture<R>
    where
        T: Send + Sync + 'static,
    {
        self.send(self.shared.limits.waiting, ask).unwrap_or_else(StoreFuture::failed)
    }

    /// Calls the back end if fewer than `most` calls wait.
    ///
    /// Returns an `Err` if the back end was not called.
    fn send<R: Send + 'static>(
        &self,
        most: usize,
        ask: impl FnOnce(&T) -> StoreFuture<R>,
    ) -> Result<StoreFuture<R>, StoreError>
    where
        T: Send + Sync + 'static,
    {
        if !self.shared.circuit.admits() {
            return Err(self.shared.left_alone.clone());
        }
        // Take the place before the call: a call without a place must never be made.
        let mut place = Place::take(&self.shared, most).ok_or_else(StoreError::overloaded)?;
        let mut asked = ask(&self.back_end);
        if let Some(answer) = asked.take_ready() {
            place.heard = true;
            return Ok(self.shared.heard(answer).into());
        }
        Ok(StoreFuture::boxed(async move {
            let answer = match tokio::time::timeout(place.shared.limits.time, asked).await {
                Ok(answer) => answer,
                Err(_) => Err(StoreError::timed_out()),
            };
            place.heard = true;
            place.shared.heard(answer)
        }))
    }
}

impl Shared {
    /// Reports an answer to the circuit.
    ///
    /// A corrupt answer and a rejected question count as answers too: the back end is reachable.
    fn heard<R>(&self, answer: Result<R, StoreError>) -> Result<R, StoreError> {
        match &answer {
            Err(error) if !error.is_answer() => self.circuit.failed(error),
            _ => self.circuit.answered(),
        }
        answer
    }
}

/// The place of a call among the waiting calls.
///
/// It is freed when it is dropped, also if the caller stops waiting.
struct Place {
    shared: Arc<Shared>,
    /// The time when the call was made.
    since: u64,
    /// True if the call was answered or timed out.
    heard: bool,
}

impl Place {
    fn take(shared: &Arc<Shared>, most: usize) -> Option<Self> {
        let room = |waiting| (waiting < most).then_some(waiting + 1);
        shared.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Self { shared: Arc::clone(shared), since: shared.circuit.now(), heard: false })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        if !self.heard {
            self.shared.circuit.given_up(self.since);
        }
    }
}

impl<T> Clone for Resilient<T> {
    fn clone(&self) -> Self {
        Self { back_end: Arc::clone(&self.back_end), shared: Arc::clone(&self.shared) }
    }
}

impl<T: fmt::Debug> fmt::Debug for Resilient<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resilient")
            .field("back_end", &self.back_end)
            .field("limits", &self.shared.limits)
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}
