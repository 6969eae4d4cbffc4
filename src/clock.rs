//! Time, injected: wall time for expiry and grants, monotonic time for rate limits.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment of wall time, in whole milliseconds since the Unix epoch, UTC.
///
/// # Example
///
/// ```
/// use tollgate::Timestamp;
///
/// let moment: Timestamp = "2026-04-30T12:00:00Z".parse()?;
/// assert_eq!(moment.as_millis(), 1_777_550_400_000);
/// assert_eq!(moment.to_string(), "2026-04-30T12:00:00Z");
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment so many milliseconds after (or, negative, before) the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This moment and a duration, at the far end of time where the sum would not fit.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The moment as [`jiff`] has it, held to the years that jiff can say.
    pub(crate) fn to_jiff(self) -> jiff::Timestamp {
        let (least, most) = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 { least } else { most })
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        Self(time.duration_since(UNIX_EPOCH).map_or_else(|before| -millis(before.duration()), millis))
    }
}

impl std::str::FromStr for Timestamp {
    type Err = crate::ConfigError;

    /// Reads RFC 3339, section 5.6: a date, a time and a zone, and nothing more lenient.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        rfc3339(text).ok_or_else(|| {
            let expected = "write it as in `2026-04-30T12:00:00Z`";
            crate::ConfigError::new(text, "this is no moment with a date, a time and a zone", expected)
        })
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, without a fraction where the moment is a whole second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_civil() {
            Some(civil) => write!(f, "{civil}Z"),
            None => write!(f, "{} ms since the epoch", self.0),
        }
    }
}

/// Where civil time counts from.
const EPOCH: jiff::civil::DateTime = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);

impl Timestamp {
    fn to_civil(self) -> Option<jiff::civil::DateTime> {
        EPOCH.checked_add(jiff::SignedDuration::from_millis(self.0)).ok()
    }

    /// RFC 3339 in UTC with whole milliseconds, as JavaScript writes it: `2026-04-30T12:00:00.000Z`.
    #[cfg(feature = "keygen")]
    pub(crate) fn to_millis_text(self) -> String {
        self.to_civil().map_or_else(|| self.to_string(), |civil| format!("{civil:.3}Z"))
    }
}

fn rfc3339(text: &str) -> Option<Timestamp> {
    let shape = |byte: u8| if byte.is_ascii_digit() { b'0' } else { byte };
    let (civil, rest) = text.split_at_checked(19)?;
    // A leap second has no place among milliseconds since the epoch: it would be read as another.
    if !civil.bytes().map(shape).eq(*b"0000-00-00T00:00:00") || civil.ends_with("60") {
        return None;
    }
    let fraction =
        rest.strip_prefix('.').map_or(0, |digits| digits.bytes().take_while(u8::is_ascii_digit).count() + 1);
    let zone = rest.get(fraction..).filter(|_| fraction != 1)?;
    let offset = match zone.bytes().map(shape).collect::<Vec<_>>().as_slice() {
        b"Z" => 0,
        b"+00:00" => minutes(zone)?,
        b"-00:00" => -minutes(zone)?,
        _ => return None,
    };
    let civil: jiff::civil::DateTime = text.get(..19 + fraction.min(10))?.parse().ok()?;
    let millis = i64::try_from(civil.duration_since(EPOCH).as_millis()).ok()?;
    // A moment that cannot be written as it is read, with four digits for its year in UTC, is none.
    Some(millis - offset * 60_000).filter(|millis| WRITABLE.contains(millis)).map(Timestamp)
}

/// The milliseconds of the years 0 to 9999.
const WRITABLE: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// The minutes of an offset such as `+05:30`, less than a day of them.
fn minutes(zone: &str) -> Option<i64> {
    let (hours, minutes): (i64, i64) = (zone.get(1..3)?.parse().ok()?, zone.get(4..6)?.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

/// One reading of a [`Clock`]: what the whole decision on a request goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    wall: Timestamp,
    ticks: u64,
}

impl Now {
    /// A reading of `wall` time, and of monotonic time as the `elapsed` time since a fixed origin.
    pub fn new(wall: Timestamp, elapsed: Duration) -> Self {
        Self { wall, ticks: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// Wall time: may be set back by the operator.
    pub fn wall(&self) -> Timestamp {
        self.wall
    }

    /// Monotonic time since a fixed origin: never runs backwards, and says nothing of the date.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.ticks)
    }

    /// Monotonic time in nanoseconds.
    #[cfg(any(feature = "memory", feature = "fleet"))]
    pub(crate) fn ticks(&self) -> u64 {
        self.ticks
    }
}

/// Where the gate reads the time, once a decision.
///
/// # Contract
///
/// Monotonic time never runs backwards, whatever happens to wall time, and all clocks of a process that share a
/// rate limiter share its origin.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Reads wall and monotonic time together.
    fn now(&self) -> Now;
}

impl<T: Clock + ?Sized> Clock for Arc<T> {
    fn now(&self) -> Now {
        (**self).now()
    }
}

/// All system clocks of a process count from here, so that they agree on monotonic time.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// How long wall time is carried forward by the monotonic clock before the system is asked again.
const RESYNC: u64 = 100_000_000;

/// The machine's clock.
///
/// One reading costs one read of the monotonic clock: wall time is carried forward by it and compared with the
/// system's every 100 ms, so a step of the system's clock shows that much later at the most.
///
/// # Example
///
/// ```
/// use tollgate::{Clock, SystemClock};
///
/// let clock = SystemClock::new();
/// let (earlier, later) = (clock.now(), clock.now());
/// assert!(earlier.elapsed() <= later.elapsed());
/// ```
#[derive(Debug)]
pub struct SystemClock {
    /// Wall time minus monotonic time, in nanoseconds.
    offset: AtomicI64,
    /// Monotonic time up to which the offset holds.
    good_until: AtomicU64,
}

impl SystemClock {
    /// The machine's clock.
    pub fn new() -> Self {
        Self { offset: AtomicI64::new(0), good_until: AtomicU64::new(0) }
    }

    #[cold]
    fn resync(&self, ticks: u64) {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
        };
        self.offset.store(wall.saturating_sub_unsigned(ticks), Ordering::Relaxed);
        self.good_until.store(ticks.saturating_add(RESYNC), Ordering::Release);
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let elapsed = ORIGIN.elapsed();
        // Enough for 584 years since the process began.
        let ticks = elapsed.as_secs().wrapping_mul(1_000_000_000) + u64::from(elapsed.subsec_nanos());
        if ticks >= self.good_until.load(Ordering::Acquire) {
            self.resync(ticks);
        }
        let nanos = self.offset.load(Ordering::Relaxed).saturating_add_unsigned(ticks);
        Now { wall: Timestamp(nanos.div_euclid(1_000_000)), ticks }
    }
}

/// A clock that stands until it is moved, for tests.
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
    /// A clock that shows `wall` until it is moved.
    pub fn starting_at(wall: Timestamp) -> Self {
        Self(Arc::new(ManualTime { wall: AtomicI64::new(wall.0), ticks: AtomicU64::new(0) }))
    }

    /// Moves wall and monotonic time forward, by whole milliseconds of wall time.
    pub fn advance(&self, by: Duration) {
        let (now, nanos) = (self.now(), u64::try_from(by.as_nanos()).unwrap_or(u64::MAX));
        self.0.wall.store(now.wall.saturating_add(by).0, Ordering::SeqCst);
        self.0.ticks.store(now.ticks.saturating_add(nanos), Ordering::SeqCst);
    }

    /// Sets wall time alone, forwards or back, as an operator or a time server does.
    pub fn set_wall(&self, wall: Timestamp) {
        self.0.wall.store(wall.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        let ticks = self.0.ticks.load(Ordering::SeqCst);
        Now { wall: Timestamp(self.0.wall.load(Ordering::SeqCst)), ticks }
    }
}
