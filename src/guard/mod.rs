//! A guard in front of a remote back end: time limits, a bound on waiting calls, a circuit, and closings that are tried again.

mod circuit;
mod closings;
mod credits;
mod keys;
mod limiter;
mod unsent;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use circuit::Circuit;
use closings::Closings;
use unsent::Unsent;

use crate::clock::{Clock, SystemClock};
use crate::error::StoreError;
use crate::future::StoreFuture;

/// How long a remote back end is waited for, by how many, and when it is left alone.
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
    /// The time that one call may take: one second, if nothing is said.
    pub time: Duration,
    /// From what wait on a call counts as a failure that its caller gives up, as where a deadline further out is shorter than
    /// [`time`](Self::time): 250 ms, if nothing is said. Sooner it says nothing of the back end: clients leave.
    pub given_up: Duration,
    /// How many calls may wait at once, 1,024 if nothing is said; one beyond is answered "no room" at once. Settlements and
    /// refunds are waited for however many they are: charges that wait take no room from them.
    pub waiting: usize,
    /// After how many failures in a row the back end is left alone: five, if nothing is said.
    pub failures: u32,
    /// For how long it is left alone before one call finds out whether it is back: half a second, if nothing is said.
    pub rest: Duration,
    /// How many settlements and refunds that failed are kept to be tried again: 65,536, if nothing is said. Where there is no
    /// room, a settlement takes the place of a refund.
    pub closings: usize,
    /// How many of those are sent at once: 256, if nothing is said.
    pub closings_at_once: usize,
    /// The time that [`flush`](Guarded::flush) may take: ten seconds, if nothing is said.
    pub flush: Duration,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(1),
            given_up: Duration::from_millis(250),
            waiting: 1_024,
            failures: 5,
            rest: Duration::from_millis(500),
            closings: 65_536,
            closings_at_once: 256,
            flush: Duration::from_secs(10),
        }
    }
}

/// How a guarded back end fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardHealth {
    /// Whether the back end has failed repeatedly and is left alone.
    pub open: bool,
    /// How many calls wait for it.
    pub waiting: usize,
    /// How many settlements and refunds are kept to be tried again.
    pub closings: usize,
}

/// A remote back end with a limit to every call's time, a bound to how many wait, and a circuit: after so many failures in
/// a row it is left alone, and every call is answered at once that it is unavailable; from time to time one call finds
/// out whether it is back.
///
/// It is a back end itself, whatever it guards: [`KeyStore`](crate::store::KeyStore) with its write side,
/// [`CreditLedger`](crate::credit::CreditLedger) with its own, [`RateLimiter`](crate::limit::RateLimiter). What cannot be decided is an
/// `Err`, and the gate answers 503 for it, never 401, and lets nobody in:
///
/// | back end | while it fails | what else there is |
/// |---|---|---|
/// | key store | 503 | a cache that serves what it knows for a stated time |
/// | rate limiter | 503 | `LocalFallback`: each node limits by itself |
/// | ledger | 503 | a lease of credits that the node holds already |
///
/// A call that its caller gives up, by a deadline of its own or as a client leaves, has failed too once it has waited for
/// [`given_up`](GuardLimits::given_up): otherwise a back end that hangs would never be left alone where somebody further
/// out is less patient. Still, leave the guard the shortest time: what it gives up itself it can answer.
///
/// No call is ever made twice: a draw or a charge that was not answered in time may have happened. A **settlement or
/// refund** that fails, or that comes while the back end is left alone, is kept and tried again in the background until
/// it is done; both are idempotent. Its first answer is the `Err` all the same. What is kept ends with the process: those
/// charges are for the ledger's sweep.
///
/// - Settlements, whose requests were served, are sent before refunds. Where there is room for no more, a settlement takes
///   the place of the oldest refund; that charge is for the ledger's sweep, which gives it back.
/// - A charge that was **never sent**, as the back end is left alone or there is no room, leaves nothing behind: its refund is
///   done at once.
/// - [`flush`](Guarded::flush), for shutdown, ends within [`GuardLimits::flush`].
///
/// With the feature `tracing`, one event says when the circuit opens (a warning) and one when it closes. Both name the type of
/// the back end; the text of its error is in an event at debug level.
///
/// Waiting needs a tokio runtime with its timer.
///
/// # Example
///
/// ```
/// use tollgate::guard::Guarded;
/// use tollgate::MemoryLimiter;
///
/// let limiter = Guarded::new(MemoryLimiter::new());
/// assert!(!limiter.health().open);
/// ```
pub struct Guarded<T>(Arc<Shared<T>>);

struct Shared<T> {
    back_end: T,
    limits: GuardLimits,
    circuit: Circuit,
    waiting: AtomicUsize,
    closings: Closings,
    unsent: Unsent,
    /// What is answered while the back end is left alone: made once.
    left_alone: StoreError,
}

impl<T> Guarded<T> {
    /// Guards a back end within the usual limits.
    pub fn new(back_end: T) -> Self {
        Self::with_limits(back_end, GuardLimits::default())
    }

    /// Guards a back end within these limits.
    pub fn with_limits(back_end: T, limits: GuardLimits) -> Self {
        Self::with_clock(back_end, limits, SystemClock::new())
    }

    /// The same, with a clock that says how long the back end has been left alone.
    pub fn with_clock(back_end: T, limits: GuardLimits, clock: impl Clock) -> Self {
        Self(Arc::new(Shared {
            back_end,
            circuit: Circuit::before::<T>(&limits, Arc::new(clock)),
            waiting: AtomicUsize::new(0),
            closings: Closings::keeping(limits.closings),
            unsent: Unsent::keeping(limits.closings),
            limits,
            left_alone: StoreError::unavailable("it has failed repeatedly and is left alone for a while"),
        }))
    }

    /// The back end itself, past the guard.
    pub fn back_end(&self) -> &T {
        &self.0.back_end
    }

    /// How the back end fares.
    pub fn health(&self) -> GuardHealth {
        GuardHealth {
            open: self.0.circuit.is_open(),
            waiting: self.0.waiting.load(Ordering::Relaxed),
            closings: self.0.closings.len(),
        }
    }

    /// Asks the back end, within the limits.
    fn ask<R: Send + 'static>(&self, ask: impl FnOnce(&T) -> StoreFuture<R>) -> StoreFuture<R>
    where
        T: Send + Sync + 'static,
    {
        self.send(self.0.limits.waiting, ask).unwrap_or_else(StoreFuture::failed)
    }

    /// Asks the back end, where fewer than `most` calls wait. An `Err` says that it was not asked.
    fn send<R: Send + 'static>(
        &self,
        most: usize,
        ask: impl FnOnce(&T) -> StoreFuture<R>,
    ) -> Result<StoreFuture<R>, StoreError>
    where
        T: Send + Sync + 'static,
    {
        if !self.0.circuit.admits() {
            return Err(self.0.left_alone.clone());
        }
        // It is taken before the back end is asked: a call that finds none was never made.
        let mut place = Place::take(self, most).ok_or_else(StoreError::overloaded)?;
        let mut asked = ask(&self.0.back_end);
        if let Some(answer) = asked.take_ready() {
            place.heard = true;
            return Ok(self.heard(answer).into());
        }
        Ok(StoreFuture::boxed(async move {
            let answer = match tokio::time::timeout(place.guard.0.limits.time, asked).await {
                Ok(answer) => answer,
                Err(_) => Err(StoreError::timed_out()),
            };
            place.heard = true;
            place.guard.heard(answer)
        }))
    }

    /// Tells the circuit of an answer. One that cannot be right is an answer too, and so is that the question cannot be:
    /// the back end is there.
    fn heard<R>(&self, answer: Result<R, StoreError>) -> Result<R, StoreError> {
        match &answer {
            Err(error) if !error.is_answer() => self.0.circuit.failed(error),
            _ => self.0.circuit.answered(),
        }
        answer
    }
}

/// A call's place among those that wait: free again when it is dropped, also by a caller that gives up.
struct Place<T> {
    guard: Guarded<T>,
    /// When the call was made.
    since: u64,
    /// Whether it came to its end, by an answer or by its time.
    heard: bool,
}

impl<T> Place<T> {
    fn take(guard: &Guarded<T>, most: usize) -> Option<Self> {
        let room = |waiting| (waiting < most).then_some(waiting + 1);
        guard.0.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Self { guard: guard.clone(), since: guard.0.circuit.now(), heard: false })
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        let shared = &self.guard.0;
        shared.waiting.fetch_sub(1, Ordering::Relaxed);
        if !self.heard {
            shared.circuit.given_up(self.since);
        }
    }
}

impl<T> Clone for Guarded<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("back_end", &self.0.back_end)
            .field("limits", &self.0.limits)
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}
