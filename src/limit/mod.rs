//! How many requests in which time.

#[cfg(all(feature = "fleet", feature = "memory"))]
mod local;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "redis")]
pub(crate) mod redis;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "redis")]
pub use self::redis::RedisLimiter;
#[cfg(all(feature = "fleet", feature = "memory"))]
pub use local::{LocalFallback, LocalShare};
#[cfg(feature = "memory")]
pub use memory::MemoryLimiter;

use crate::account::Quotas;
pub use crate::account::Standing;
use crate::clock::Now;
use crate::future::StoreFuture;
use crate::key::KeyRecord;

/// A draw to be made: one cell from every window of a key.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Draw<'a> {
    /// Whose request it is.
    pub key: &'a KeyRecord,
    /// The quotas in force, grouped by whom they count; never empty.
    pub quotas: &'a Quotas,
    /// The time of the request.
    pub now: Now,
    /// Whether the answer says how every window stands, and not only the one that decides.
    pub every_window: bool,
}

impl<'a> Draw<'a> {
    /// A draw from the windows of `quotas` for a request with `key`.
    pub fn new(key: &'a KeyRecord, quotas: &'a Quotas, now: Now) -> Self {
        Self { key, quotas, now, every_window: false }
    }

    /// Asks how every window stands. A limiter may need a second round trip for that.
    #[must_use]
    pub fn telling_every_window(mut self, every_window: bool) -> Self {
        self.every_window = every_window && self.quotas.policies().nth(1).is_some();
        self
    }
}

/// What became of a draw.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an exceeded quota must refuse the request"]
pub enum Quota {
    /// Every window admitted the request, and each gave a cell. The standing is that of the window with the least left.
    Within(Standing),
    /// A window did not, and none gave a cell.
    Exceeded {
        /// In what time all windows will admit a request, if no other is admitted first.
        retry_after: Duration,
        /// The window that takes the longest for it.
        standing: Standing,
    },
}

impl Quota {
    /// Adds how every window stands.
    #[cfg(any(feature = "memory", feature = "redis"))]
    pub(crate) fn with_all(mut self, all: Vec<Standing>) -> Self {
        let (Self::Within(standing) | Self::Exceeded { standing, .. }) = &mut self;
        standing.all = all;
        self
    }
}

/// Limits rates: GCRA over all windows of a key at once, or, where a window is strict
/// ([`QuotaPolicy::in_any_window`](crate::account::QuotaPolicy::in_any_window)), no more than its quota in any time of its length.
///
/// # Contract
///
/// - **All or none.** A draw takes one cell from every window, or from none: one call is one atomic read-decide-write
///   over all of them, whomever they count.
/// - **Exact.** A request that is told `retry_after` is admitted from that instant on, and not before, if no other is
///   admitted in between.
/// - **Time** is the argument's monotonic time in process; a limiter that several machines share takes its server's.
/// - **Bounded.** State is kept for keys that exist, and idle state (a full window) is dropped. At its bound a limiter
///   answers `Err`; it never drops a window that is not full, which would admit what it must refuse.
/// - **Lossy at worst upwards.** State may be lost in a crash; a quota is then admitted once more.
pub trait RateLimiter: Debug + Send + Sync + 'static {
    /// Takes a cell from every window, if all have one.
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<Quota>;

    /// How every window stands, in the order of [`Quotas::policies`], without taking anything.
    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<Standing>>;
}

impl<T: RateLimiter + ?Sized> RateLimiter for Arc<T> {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<Quota> {
        (**self).draw(draw)
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<Standing>> {
        (**self).peek(draw)
    }
}

impl<T: RateLimiter + ?Sized> RateLimiter for Box<T> {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<Quota> {
        (**self).draw(draw)
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<Standing>> {
        (**self).peek(draw)
    }
}
