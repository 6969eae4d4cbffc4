//! A rate limiter that uses a shared limiter, and the node's own share while the shared limiter fails.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::account::{InFlightLimits, QuotaScope, Quotas};
use crate::clock::Now;
use crate::future::StoreFuture;
use crate::key::KeyRecord;
use crate::limit::{
    Acquire, Acquired, Caller, Correction, Draw, LimitDecision, LocalShare, RateLimiter, SlotId, WindowStatus,
};
use crate::trace::Mode;

/// A rate limiter that asks a limiter shared by all nodes. While the shared limiter fails, it limits by this node's
/// share alone. This is the policy `local`; without it, a request is refused with 503.
///
/// Wrap the shared limiter in a guard, so that a dead server costs no time. A draw that was not answered in time may
/// still be taken on the server, and is taken from the share as well. The server is asked only once.
///
/// With the feature `tracing`, one event reports that draws begin to be taken from the share (a warning), and another
/// that the shared limiter answers again. Both contain the type of the shared limiter. The text of its error is in an
/// event at debug level. If the limiter fails intermittently, these events are emitted at most ten times a second.
///
/// # Excess
///
/// The fleet admits at most the sum of what the shared limiter admits and what the shares admit. For a quota *q* per
/// window *W*, over *n* nodes, in any time *t*:
///
/// - the shared limiter alone admits `q + q·t/W`: a full bucket and its refill;
/// - the shares admit `n × (s + s·t/W)` with the share `s = max(1, ⌊q/n⌋)`. For *q ≥ n* this is at most the same amount
///   again.
///
/// With *q ≥ n* the sum is thus at most **twice what the quota alone would admit** in the same time, `2q + 2q·t/W`,
/// however often the server fails and returns: 2*q* at one moment, and 4*q* within a window, of which the quota alone
/// would admit 2*q*. The sum exceeds the quota alone only if the server failed or returned within that time. A server
/// that returns without its windows, as one that stores nothing on disk, starts with full windows: *q* more each time.
///
/// A limit on requests in flight is at most doubled while requests of both kinds are in flight.
///
/// A strict quota has no refill: in any window the shared limiter admits *q* at the most, and the shares admit at most
/// the same amount again.
///
/// The amounts are those of requests that take one unit. A request whose weight is above the share is admitted by a full
/// share, so that each node may exceed its share by the units of one request: see [`LocalShare`].
///
/// # Example
///
/// ```
/// use std::num::NonZeroU32;
/// use tollgate::guard::Resilient;
/// use tollgate::limit::{LocalFallback, LocalShare};
/// use tollgate::MemoryLimiter;
///
/// let shared = Resilient::new(MemoryLimiter::new()); // one behind a network, elsewhere
/// let nodes = NonZeroU32::new(4).unwrap();
/// let limiter = LocalFallback::new(shared, LocalShare::new(nodes));
/// # drop(limiter);
/// ```
#[derive(Debug)]
pub struct LocalFallback<T> {
    shared: T,
    local: Arc<LocalShare>,
    /// Logs the start and the end of the use of the share.
    log: Arc<Mode>,
}

/// The minimum time between log events of a limiter that fails intermittently.
const APART: Duration = Duration::from_millis(100);

impl<T: RateLimiter> LocalFallback<T> {
    /// Creates a limiter that asks `shared`, and `local` while `shared` fails.
    pub fn new(shared: T, local: LocalShare) -> Self {
        let begins = "a shared limiter fails: this node applies its own share of the quotas";
        let log = Mode::before::<T>(begins, "a shared limiter has recovered: the shared quotas apply again")
            .apart(APART);
        Self { shared, local: Arc::new(local), log: Arc::new(log) }
    }

    /// Returns the data that the share needs if the server does not answer.
    fn aside(&self, draw: &Draw<'_>) -> LocalDraw {
        let caller = LocalCaller::of(&draw.caller);
        let (local, shares) = (Arc::clone(&self.local), self.local.shares_of(draw.quotas));
        let (weight, now, every_window) = (draw.weight, draw.now, draw.every_window);
        LocalDraw { local, caller, shares, weight, now, every_window, log: Arc::clone(&self.log) }
    }
}

/// The sender of a request, for a call to the share at a later time.
struct LocalCaller {
    key: Option<KeyRecord>,
    address: Option<IpAddr>,
}

impl LocalCaller {
    /// Copies the ids and the account of a record, which may be dropped by then. The share needs nothing else.
    fn of(caller: &Caller<'_>) -> Self {
        let copy = |key: &KeyRecord| KeyRecord::new(key.id, key.hash, Arc::clone(&key.account));
        Self { key: caller.key.map(copy), address: caller.address }
    }

    fn caller(&self) -> Caller<'_> {
        Caller { key: self.key.as_ref(), address: self.address }
    }
}

/// A request for slots of this node's share.
struct LocalAcquire {
    local: Arc<LocalShare>,
    id: SlotId,
    caller: LocalCaller,
    limits: InFlightLimits,
    now: Now,
    log: Arc<Mode>,
}

impl LocalAcquire {
    fn acquire(&self) -> StoreFuture<Acquired> {
        let (caller, limits) = (self.caller.caller(), &self.limits);
        acquire_locally(&self.local, &Acquire { id: self.id, caller, limits, now: self.now, local: false })
    }
}

/// Takes slots of this node's share, so that their release goes to the share too.
fn acquire_locally(local: &LocalShare, acquire: &Acquire<'_>) -> StoreFuture<Acquired> {
    let mut acquired = local.acquire(acquire);
    if let Some(Acquired::Held { local }) = acquired.answer_mut() {
        *local = true;
    }
    acquired
}

struct LocalDraw {
    local: Arc<LocalShare>,
    caller: LocalCaller,
    shares: Arc<Quotas>,
    weight: NonZeroU32,
    now: Now,
    every_window: bool,
    log: Arc<Mode>,
}

impl LocalDraw {
    /// Returns the draw from this node's share.
    fn draw(&self) -> Draw<'_> {
        let Self { shares, weight, now, every_window, .. } = self;
        let caller = self.caller.caller();
        Draw { caller, quotas: shares, weight: *weight, now: *now, every_window: *every_window }
    }
}

impl<T: RateLimiter> RateLimiter for LocalFallback<T> {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision> {
        let mut asked = self.shared.draw(draw);
        match asked.take_ready() {
            Some(Err(error)) => {
                self.log.begin(draw.now.ticks(), &error);
                self.local.draw(draw)
            }
            Some(answer) => {
                self.log.end();
                answer.into()
            }
            None => {
                let aside = self.aside(draw);
                StoreFuture::boxed(async move {
                    match asked.await {
                        Err(error) => {
                            aside.log.begin(aside.now.ticks(), &error);
                            aside.local.draw_share(&aside.draw()).await
                        }
                        answer => {
                            aside.log.end();
                            answer
                        }
                    }
                })
            }
        }
    }

    fn is_failing(&self) -> bool {
        self.shared.is_failing()
    }

    fn acquire(&self, acquire: &Acquire<'_>) -> StoreFuture<Acquired> {
        if !self.shared.limits_in_flight() {
            return acquire_locally(&self.local, acquire);
        }
        let mut asked = self.shared.acquire(acquire);
        match asked.take_ready() {
            Some(Err(error)) => {
                self.log.begin(acquire.now.ticks(), &error);
                acquire_locally(&self.local, acquire)
            }
            Some(answer) => {
                self.log.end();
                answer.into()
            }
            None => {
                let aside = LocalAcquire {
                    local: Arc::clone(&self.local),
                    id: acquire.id,
                    caller: LocalCaller::of(&acquire.caller),
                    limits: acquire.limits.clone(),
                    now: acquire.now,
                    log: Arc::clone(&self.log),
                };
                StoreFuture::boxed(async move {
                    match asked.await {
                        Err(error) => {
                            aside.log.begin(aside.now.ticks(), &error);
                            aside.acquire().await
                        }
                        answer => {
                            aside.log.end();
                            answer
                        }
                    }
                })
            }
        }
    }

    fn release(&self, acquire: &Acquire<'_>) -> StoreFuture<()> {
        if acquire.local { self.local.release(acquire) } else { self.shared.release(acquire) }
    }

    // A correction that fails leaves the units of the draw taken.
    fn correct(&self, correction: &Correction<'_>) -> StoreFuture<()> {
        if correction.local { self.local.correct(correction) } else { self.shared.correct(correction) }
    }

    fn limits_in_flight(&self) -> bool {
        true
    }

    fn counts_together(&self, owners: &[&QuotaScope]) -> bool {
        self.shared.counts_together(owners)
    }

    // A peek logs nothing, because the next draw does.
    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        let mut asked = self.shared.peek(draw);
        match asked.take_ready() {
            Some(Err(_)) => self.local.peek(draw),
            Some(answer) => answer.into(),
            None => {
                let aside = self.aside(draw);
                StoreFuture::boxed(async move {
                    match asked.await {
                        Err(_) => aside.local.peek_share(&aside.draw()).await,
                        answer => answer,
                    }
                })
            }
        }
    }
}
