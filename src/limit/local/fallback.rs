//! A shared limiter, and the node's own share while that fails.

use std::sync::Arc;
use std::time::Duration;

use crate::account::Quotas;
use crate::clock::Now;
use crate::future::StoreFuture;
use crate::key::KeyRecord;
use crate::limit::{Draw, LocalShare, Quota, RateLimiter, Standing};
use crate::trace::Mode;

/// Asks a limiter that all nodes share, and while it fails limits by this node's share alone: the policy `local`, where
/// without it a request is refused by 503.
///
/// Put the limiter that is asked behind a guard, so that a dead server costs no time. A draw that was not answered in
/// time may be spent there, and is drawn from the share as well: it is asked for once.
///
/// With the feature `tracing`, one event says when draws begin to be taken from the share (a warning) and one when the shared
/// limiter answers again. Both name the type of that limiter; the text of its error is in an event at debug level. Of a limiter
/// that fails now and then they come at most ten times a second.
///
/// # Excess
///
/// What the fleet admits is at most what the shared limiter admits and what the shares admit, together. Of a quota *q* per
/// window *W*, over *n* nodes, in any time *t*:
///
/// - the shared limiter alone: `q + q·t/W`, a full bucket and what it is refilled by;
/// - the shares: `n × (s + s·t/W)` with the share `s = max(1, ⌊q/n⌋)`, which for *q ≥ n* is at most as much again.
///
/// So with *q ≥ n* it is at most **twice what the quota alone would admit** in the same time, `2q + 2q·t/W`, however often the
/// server goes and comes back: 2*q* at one moment, and 4*q* within a window, of which the quota alone would admit 2*q*. It
/// comes to more than the quota alone only where the server was lost or came back within that time. A server that comes
/// back without its windows, as one that keeps nothing on disk, begins with full ones: *q* more each time.
///
/// A strict quota has no refill: in any window the shared limiter admits *q* at the most, and the shares as much again.
///
/// # Example
///
/// ```
/// use std::num::NonZeroU32;
/// use tollgate::guard::Guarded;
/// use tollgate::limit::{LocalFallback, LocalShare};
/// use tollgate::MemoryLimiter;
///
/// let shared = Guarded::new(MemoryLimiter::new()); // one behind a network, elsewhere
/// let nodes = NonZeroU32::new(4).unwrap();
/// let limiter = LocalFallback::new(shared, LocalShare::new(nodes));
/// # drop(limiter);
/// ```
#[derive(Debug)]
pub struct LocalFallback<T> {
    shared: T,
    local: Arc<LocalShare>,
    /// Tells the log when the share is drawn from.
    told: Arc<Mode>,
}

/// How far apart the log is told of a limiter that fails now and then.
const APART: Duration = Duration::from_millis(100);

impl<T: RateLimiter> LocalFallback<T> {
    /// Asks `shared`, and while that fails `local`.
    pub fn new(shared: T, local: LocalShare) -> Self {
        let begins = "a shared limiter fails: this node's share of the quotas is drawn from";
        let told =
            Mode::before::<T>(begins, "a shared limiter answers again: the shares are left").apart(APART);
        Self { shared, local: Arc::new(local), told: Arc::new(told) }
    }

    /// What the share needs, should the server not answer.
    fn aside(&self, draw: &Draw<'_>) -> Aside {
        // The record may be gone by then: the share goes by the ids, and by the account itself.
        let key = KeyRecord::new(draw.key.id, draw.key.hash, Arc::clone(&draw.key.account));
        let (local, shares) = (Arc::clone(&self.local), self.local.shares_of(draw.quotas));
        let (now, every_window) = (draw.now, draw.every_window);
        Aside { local, key, shares, now, every_window, told: Arc::clone(&self.told) }
    }
}

struct Aside {
    local: Arc<LocalShare>,
    key: KeyRecord,
    shares: Arc<Quotas>,
    now: Now,
    every_window: bool,
    told: Arc<Mode>,
}

impl Aside {
    /// The draw from this node's share.
    fn draw(&self) -> Draw<'_> {
        Draw::new(&self.key, &self.shares, self.now).telling_every_window(self.every_window)
    }
}

impl<T: RateLimiter> RateLimiter for LocalFallback<T> {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<Quota> {
        let mut asked = self.shared.draw(draw);
        match asked.take_ready() {
            Some(Err(error)) => {
                self.told.begin(draw.now.ticks(), &error);
                self.local.draw(draw)
            }
            Some(answer) => {
                self.told.end();
                answer.into()
            }
            None => {
                let aside = self.aside(draw);
                StoreFuture::boxed(async move {
                    match asked.await {
                        Err(error) => {
                            aside.told.begin(aside.now.ticks(), &error);
                            aside.local.draw_share(&aside.draw()).await
                        }
                        answer => {
                            aside.told.end();
                            answer
                        }
                    }
                })
            }
        }
    }

    // Of what is only looked at the log is not told: the next draw will be.
    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<Standing>> {
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
