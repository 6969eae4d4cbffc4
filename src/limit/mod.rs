//! Rate limiters, which limit the number of requests per window, and the number of requests in flight.
//!
//! For each request, a gate draws one unit from every window of a key, or as many as the request's
//! [weight](crate::rule::Weight) says. A request for which a window has too few units left is denied with 429 and
//! `Retry-After`. Where there is a [limit on requests in flight](crate::account::InFlightLimit), the gate also acquires a slot,
//! and releases it when the body of the response has ended.
//!
//! # Example
//!
//! Two requests per minute are admitted. The third is admitted half a minute later:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use tollgate::account::{QuotaPolicy, Quotas};
//! use tollgate::key::KeyHasher;
//! use tollgate::limit::{Draw, LimitDecision};
//! use tollgate::{Account, Clock, KeyId, KeyRecord, ManualClock, MemoryLimiter, RateLimiter};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let account = Arc::new(Account::new("acme", "pro"));
//! let key = KeyRecord::new(KeyId::generate(), KeyHasher::sha256().hash(b"acme_secret"), account);
//! let quotas = Quotas::new(["2 per minute".parse::<QuotaPolicy>()?]);
//! let (limiter, clock) = (MemoryLimiter::new(), ManualClock::starting_at("2026-04-30T12:00:00Z".parse()?));
//!
//! for _ in 0..2 {
//!     let decision = limiter.draw(&Draw::new(&key, &quotas, clock.now())).await?;
//!     assert!(matches!(decision, LimitDecision::Within(_)));
//! }
//! let LimitDecision::Exceeded { retry_after, .. } = limiter.draw(&Draw::new(&key, &quotas, clock.now())).await? else {
//!     panic!("the third request is admitted");
//! };
//! assert_eq!(retry_after, Duration::from_secs(30));
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//!
//! - [`RateLimiter`]: the trait. [`GateBuilder::limiter`](crate::GateBuilder::limiter) sets the limiter of a gate.
//! - [`MemoryLimiter`]: windows in this process.
//! - `RedisLimiter`: windows and slots in Redis, which all nodes share (feature `redis`).
//! - `LocalShare`: each node enforces its share of a quota by itself (feature `fleet`).
//! - `LocalFallback`: each node enforces its share while another limiter fails (feature `fleet`).
//! - `AllowOnFailure`: nothing is limited while another limiter fails (feature `fleet`).
//!
//! The quotas themselves are set by plans, accounts and keys: see [`QuotaPolicy`](crate::account::QuotaPolicy).

#[cfg(feature = "fleet")]
mod allow;
#[cfg(all(feature = "fleet", feature = "memory"))]
mod local;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "redis")]
pub(crate) mod redis;
mod slots;

use std::fmt::Debug;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "redis")]
pub use self::redis::RedisLimiter;
#[cfg(feature = "fleet")]
pub use allow::AllowOnFailure;
#[cfg(all(feature = "fleet", feature = "memory"))]
pub use local::{LocalFallback, LocalShare};
#[cfg(feature = "memory")]
pub use memory::MemoryLimiter;
pub use slots::{Acquire, Acquired, SlotId};

use ipnet::IpNet;

pub use crate::account::WindowStatus;
use crate::account::{NetworkCut, QuotaScope, Quotas};
use crate::clock::Now;
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::key::KeyRecord;

/// The sender of a request: its key and its address.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Caller<'a> {
    /// The key of the request. `None` for a request without a key.
    pub key: Option<&'a KeyRecord>,
    /// The client's address. A gate sets it if a quota counts networks.
    pub address: Option<IpAddr>,
}

#[cfg(any(feature = "memory", feature = "redis"))]
impl<'a> Caller<'a> {
    /// Returns the key, whose windows, or whose account's windows, are drawn from.
    pub(crate) fn known_key(&self) -> Result<&'a KeyRecord, StoreError> {
        self.key.ok_or_else(|| StoreError::rejected("a quota counts keys or accounts, and there is no key"))
    }

    /// Returns the client's network, whose windows are drawn from.
    pub(crate) fn network(&self, cut: NetworkCut) -> Result<IpNet, StoreError> {
        let network = self.address.map(|address| cut.of(address));
        network.ok_or_else(|| StoreError::rejected("a quota counts networks, and the address is unknown"))
    }
}

/// A request to a rate limiter for the units of one request, from every window of a caller.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Draw<'a> {
    /// The sender of the request.
    pub caller: Caller<'a>,
    /// The effective quotas, grouped by the owner that they count. Never empty.
    pub quotas: &'a Quotas,
    /// The weight of the request: the units that it takes from each window, except from those that count requests
    /// ([`QuotaPolicy::units_of`](crate::account::QuotaPolicy::units_of)).
    pub weight: NonZeroU32,
    /// The time of the request.
    pub now: Now,
    /// True if the answer contains the state of every window, and not only of the one that decides.
    pub every_window: bool,
}

impl<'a> Draw<'a> {
    /// Creates a draw of one unit from the windows of `quotas`, for a request with `key`.
    #[inline]
    pub fn new(key: &'a KeyRecord, quotas: &'a Quotas, now: Now) -> Self {
        let caller = Caller { key: Some(key), address: None };
        Self { caller, quotas, weight: NonZeroU32::MIN, now, every_window: false }
    }

    /// Creates a draw for a request without a key. No quota may count keys or accounts.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use tollgate::account::{NetworkCut, QuotaPolicy, QuotaScope, Quotas};
    /// use tollgate::limit::{Draw, LimitDecision};
    /// use tollgate::{Clock, ManualClock, MemoryLimiter, RateLimiter};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let per_network = QuotaScope::Network(NetworkCut::default());
    /// let quotas = Quotas::new(["60 per minute".parse::<QuotaPolicy>()?.counting(per_network)]);
    /// let (limiter, clock) = (MemoryLimiter::new(), ManualClock::starting_at("2026-04-30T12:00:00Z".parse()?));
    /// let draw = Draw::keyless(&quotas, clock.now()).from_address("192.0.2.7".parse()?);
    /// assert!(matches!(limiter.draw(&draw).await?, LimitDecision::Within(_)));
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn keyless(quotas: &'a Quotas, now: Now) -> Self {
        Self { caller: Caller::default(), quotas, weight: NonZeroU32::MIN, now, every_window: false }
    }

    /// Sets the client's address, from which quotas that count networks find the network.
    #[must_use]
    #[inline]
    pub fn from_address(mut self, address: IpAddr) -> Self {
        self.caller.address = Some(address);
        self
    }

    /// Sets the weight of the request. A gate never draws more than [`Quotas::capacity`].
    #[must_use]
    #[inline]
    pub fn weighing(mut self, weight: NonZeroU32) -> Self {
        self.weight = weight;
        self
    }

    /// Requests the state of every window with the result of the draw.
    #[must_use]
    #[inline]
    pub fn telling_every_window(mut self, every_window: bool) -> Self {
        self.every_window = every_window && self.quotas.policies().nth(1).is_some();
        self
    }
}

/// The correction of a draw whose units were reserved before the weight of the request was known.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Correction<'a> {
    /// The draw that was admitted, with the units that it took. Its time is now: the time of the correction.
    pub draw: Draw<'a>,
    /// The weight of the request. Zero if it took nothing.
    pub actual: u32,
    /// The time since the draw.
    pub elapsed: Duration,
    /// True if the share of this node admitted the draw: the [`WindowStatus::limit`] of its answer is present.
    pub local: bool,
}

impl<'a> Correction<'a> {
    /// Creates a correction of a draw that was admitted `elapsed` ago, to the weight `actual`.
    pub fn new(draw: Draw<'a>, actual: u32, elapsed: Duration) -> Self {
        Self { draw, actual, elapsed, local: false }
    }

    /// Sets the limiter that admitted the draw: the share of this node, or the one that all nodes share.
    #[must_use]
    pub fn admitted_locally(mut self, local: bool) -> Self {
        self.local = local;
        self
    }
}

/// The result of a draw.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an exceeded quota must deny the request"]
pub enum LimitDecision {
    /// Every window admitted the request and gave its units. The state is that of the window with the least left.
    Within(WindowStatus),
    /// At least one window did not admit the request, and no window gave a unit.
    Exceeded {
        /// The time until all windows admit this request, if no other is admitted first.
        retry_after: Duration,
        /// The window with the longest wait.
        window_status: WindowStatus,
    },
}

impl LimitDecision {
    /// Adds the state of every window.
    pub(crate) fn with_all(mut self, all: Vec<WindowStatus>) -> Self {
        let (Self::Within(window_status) | Self::Exceeded { window_status, .. }) = &mut self;
        window_status.all = all.into();
        self
    }
}

/// A rate limiter that applies GCRA to all windows of a key at once. A strict window
/// ([`QuotaPolicy::in_any_window`](crate::account::QuotaPolicy::in_any_window)) admits no more than its quota in any
/// period of its length.
///
/// # Contract
///
/// - **All or none.** A draw takes its units from every window, or from none. One call is one atomic read-decide-write
///   over all windows, whatever owners they count.
/// - **Weights.** A draw takes the units that [`QuotaPolicy::units_of`](crate::account::QuotaPolicy::units_of) returns
///   for its weight, but no more than the [capacity](crate::account::QuotaPolicy::capacity) of the window.
/// - **Separate.** A window is identified by the owner that its quota counts, by the
///   [origin](crate::account::QuotaGroup::origin) of the quota, and by the name, the length and the kind of the quota.
/// - **Exact.** A request that receives `retry_after` is admitted from that instant on, and not before, if no other is
///   admitted in between.
/// - **Time** in one process is the monotonic time of the argument. A limiter that several machines share uses its
///   server's time.
/// - **Owners.** A network is the client's address, cut as the quota's scope requires; an IPv4 address that is mapped into
///   IPv6 is an IPv4 address. Networks of different cuts are different owners. If a quota counts an owner that the
///   [caller](Draw::caller) lacks, a limiter answers `Err`.
/// - **Bounded.** State is kept for keys that exist, and idle state (a full window) is dropped. At its bound a limiter
///   answers `Err`. It never drops a window that is not full, because that would admit requests that must be refused.
///   Windows of networks are the exception: clients choose their addresses, so that a limiter may forget those of the
///   networks with the most quota left.
/// - **Loss only admits more.** State may be lost in a crash; a quota is then admitted once more.
///
/// # Requests in flight
///
/// A limiter may leave out [`acquire`](Self::acquire), [`release`](Self::release) and
/// [`limits_in_flight`](Self::limits_in_flight). A gate with a limit on requests in flight then does not start, and a
/// request whose key has such a limit of its own is denied with 503.
///
/// - **All or none.** One call takes a slot of every limit, or of none. A refused call leaves nothing behind.
/// - **Separate.** The slots of a limit are identified by the owner that it counts and by its
///   [origin](crate::account::InFlightLimit::origin). A limit that is changed counts the slots that are held.
/// - **Held** until they are released. A limiter that several machines share gives the slots of a machine that has failed
///   free after a time. The limiter of the machine extends this time as long as the request lasts.
/// - **Dropped.** A call that is dropped before it has answered holds no slot, or not for long.
/// - **Always released.** A release works also while the limiter cannot answer: the slots are then free after a time.
pub trait RateLimiter: Debug + Send + Sync + 'static {
    /// Takes the units of a request from every window, if all have them.
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision>;

    /// Returns the state of every window, in the order of [`Quotas::policies`], without taking anything.
    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>>;

    /// Changes the units that a draw took to those of its actual weight, without regard to what is left. Windows that count
    /// requests do not change.
    ///
    /// - More units are taken like those of a draw, but a window owes at most its capacity: it is full again after at most
    ///   twice the time in which an empty window is refilled. A strict window counts at most twice its quota.
    /// - Fewer units are given back, but not those that were refilled since: for a window that refills, these are
    ///   `elapsed` divided by the [refill time](crate::account::QuotaPolicy::refill). They would be given twice,
    ///   because the window may have been full in the meantime. A strict window gives back nothing after its length,
    ///   and before that its oldest units first, so that it never counts too few in a later period.
    fn correct(&self, correction: &Correction<'_>) -> StoreFuture<()>;

    /// Takes a slot of every limit, if all have one. Defaults to an error.
    fn acquire(&self, _acquire: &Acquire<'_>) -> StoreFuture<Acquired> {
        StoreFuture::failed(StoreError::rejected("the limiter has no limits on requests in flight"))
    }

    /// Frees the slots that [`acquire`](Self::acquire) has taken with this id. It is called once for each answer
    /// [`Acquired::Held`]. Defaults to an error.
    fn release(&self, _acquire: &Acquire<'_>) -> StoreFuture<()> {
        StoreFuture::failed(StoreError::rejected("the limiter has no limits on requests in flight"))
    }

    /// Returns true if the limiter implements [`acquire`](Self::acquire) and [`release`](Self::release). Defaults to
    /// `false`. A wrapper returns the answer of the limiter behind it.
    fn limits_in_flight(&self) -> bool {
        false
    }

    /// Returns true if one call can take from the windows, or the slots, of all these owners. Defaults to `true`. A wrapper
    /// returns the answer of the limiter behind it. A gate whose configuration has a request that draws from owners for
    /// which this is false does not start.
    fn counts_together(&self, _owners: &[&QuotaScope]) -> bool {
        true
    }

    /// Returns true if the limiter is known to fail: the circuit of its guard is open. A wrapper returns the answer of the
    /// limiter behind it. Defaults to `false`.
    fn is_failing(&self) -> bool {
        false
    }

    /// Returns the limiter in Redis that this is, without a wrapper. A gate draws and charges in one call if its ledger
    /// is on the same server.
    #[cfg(feature = "redis")]
    #[doc(hidden)]
    fn as_redis(&self) -> Option<&RedisLimiter> {
        None
    }
}

impl<T: RateLimiter + ?Sized> RateLimiter for Arc<T> {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision> {
        (**self).draw(draw)
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        (**self).peek(draw)
    }

    fn acquire(&self, acquire: &Acquire<'_>) -> StoreFuture<Acquired> {
        (**self).acquire(acquire)
    }

    fn release(&self, acquire: &Acquire<'_>) -> StoreFuture<()> {
        (**self).release(acquire)
    }

    fn correct(&self, correction: &Correction<'_>) -> StoreFuture<()> {
        (**self).correct(correction)
    }

    fn limits_in_flight(&self) -> bool {
        (**self).limits_in_flight()
    }

    fn counts_together(&self, owners: &[&QuotaScope]) -> bool {
        (**self).counts_together(owners)
    }

    fn is_failing(&self) -> bool {
        (**self).is_failing()
    }

    #[cfg(feature = "redis")]
    fn as_redis(&self) -> Option<&RedisLimiter> {
        (**self).as_redis()
    }
}
