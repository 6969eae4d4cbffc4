//! Injected clocks: wall time for expiry and grants, monotonic time for rate limits.
//!
//! A gate reads its clock once for each decision. A test uses a clock that it moves itself, so it does not have to
//! sleep.
//!
//! # Example
//!
//! A key expires when the clock of the test has advanced by a day:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use tollgate::key::KeyHasher;
//! use tollgate::{Account, Clock, KeyId, KeyRecord, ManualClock};
//!
//! let clock = ManualClock::starting_at("2026-04-30T12:00:00Z".parse()?);
//! let account = Arc::new(Account::new("acme", "pro"));
//! let mut key = KeyRecord::new(KeyId::generate(), KeyHasher::sha256().hash(b"acme_secret"), account);
//! key.expires_at = Some("2026-05-01T12:00:00Z".parse()?);
//!
//! assert!(!key.has_expired(clock.now().wall()));
//! clock.advance(Duration::from_hours(24));
//! assert!(key.has_expired(clock.now().wall()));
//! # Ok::<(), tollgate::ConfigError>(())
//! ```
//!
//! # Overview
//!
//! - [`Clock`]: the trait. [`GateBuilder::clock`](crate::GateBuilder::clock) sets the clock of a gate.
//! - [`SystemClock`]: the machine's clock, the default.
//! - [`ManualClock`]: a clock for tests.
//! - [`Now`]: one reading of both times, and [`Timestamp`]: a point in wall time.

mod system;
mod timestamp;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

pub use system::SystemClock;
pub use timestamp::Timestamp;

/// One reading of a [`Clock`], used for the whole decision on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    wall: Timestamp,
    ticks: u64,
}

impl Now {
    /// Creates a reading of `wall` time and of monotonic time, given as the `elapsed` time since a fixed origin.
    pub fn new(wall: Timestamp, elapsed: Duration) -> Self {
        Self { wall, ticks: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// Wall time. The operator may set it back.
    pub fn wall(&self) -> Timestamp {
        self.wall
    }

    /// Monotonic time since a fixed origin. It never runs backwards and is unrelated to the date.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.ticks)
    }

    /// Returns the monotonic time since an earlier reading.
    pub(crate) fn since(&self, earlier: Self) -> Duration {
        Duration::from_nanos(self.ticks.saturating_sub(earlier.ticks))
    }

    /// Monotonic time in nanoseconds.
    pub(crate) fn ticks(&self) -> u64 {
        self.ticks
    }
}

/// The gate's source of time, read once for each decision.
///
/// # Contract
///
/// Monotonic time never runs backwards, whatever happens to wall time. All clocks of a process that share a rate
/// limiter share its origin.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Reads wall and monotonic time together.
    fn now(&self) -> Now;
}

impl<T: Clock + ?Sized> Clock for Arc<T> {
    fn now(&self) -> Now {
        (**self).now()
    }
}

/// A clock that stands at this reading.
impl Clock for Now {
    fn now(&self) -> Now {
        *self
    }
}

/// A clock for tests whose time changes only when it is moved.
///
/// Clones share their time.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tollgate::{Clock, ManualClock};
///
/// let clock = ManualClock::starting_at("2026-04-30T12:00:00Z".parse()?);
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().wall().to_string(), "2026-04-30T12:01:00Z");
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<ManualTime>);

#[derive(Debug)]
struct ManualTime {
    wall: AtomicI64,
    ticks: AtomicU64,
}

impl ManualClock {
    /// Creates a clock that shows `wall` until it is moved.
    pub fn starting_at(wall: Timestamp) -> Self {
        Self(Arc::new(ManualTime { wall: AtomicI64::new(wall.as_millis()), ticks: AtomicU64::new(0) }))
    }

    /// Moves wall and monotonic time forward, by whole milliseconds of wall time.
    pub fn advance(&self, by: Duration) {
        let (now, nanos) = (self.now(), u64::try_from(by.as_nanos()).unwrap_or(u64::MAX));
        self.0.wall.store(now.wall.saturating_add(by).as_millis(), Ordering::SeqCst);
        self.0.ticks.store(now.ticks.saturating_add(nanos), Ordering::SeqCst);
    }

    /// Sets only wall time, forwards or backwards, as an operator or a time server does.
    pub fn set_wall(&self, wall: Timestamp) {
        self.0.wall.store(wall.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        let ticks = self.0.ticks.load(Ordering::SeqCst);
        Now { wall: Timestamp::from_millis(self.0.wall.load(Ordering::SeqCst)), ticks }
    }
}
