//! Timestamps of wall time, with their parsing and formatting.

use std::fmt;
use std::num::NonZeroU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in wall time, in whole milliseconds since the Unix epoch, UTC.
///
/// # Example
///
/// ```
/// use tollgate::clock::Timestamp;
///
/// let moment: Timestamp = "2026-04-30T12:00:00Z".parse()?;
/// assert_eq!(moment.as_millis(), 1_777_550_400_000);
/// assert_eq!(moment.to_string(), "2026-04-30T12:00:00Z");
/// let later = Timestamp::from_millis(moment.as_millis() + 50);
/// assert_eq!(later.to_string(), "2026-04-30T12:00:00.050Z");
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
// The milliseconds with the sign bit inverted. Their order is the order of time, and `Option<Timestamp>` takes eight
// bytes.
pub struct Timestamp(NonZeroU64);

const SIGN: u64 = 1 << 63;

impl Timestamp {
    /// Creates the timestamp this many milliseconds after the Unix epoch, or before it if negative. `i64::MIN` is read
    /// as the next number.
    #[inline]
    pub const fn from_millis(millis: i64) -> Self {
        match NonZeroU64::new(millis.cast_unsigned() ^ SIGN) {
            Some(number) => Self(number),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// The number of milliseconds since the Unix epoch.
    #[inline]
    pub const fn as_millis(self) -> i64 {
        (self.0.get() ^ SIGN).cast_signed()
    }

    /// Adds a duration. Returns the latest timestamp if the sum does not fit.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self::from_millis(self.as_millis().saturating_add(millis_of(duration)))
    }

    /// Subtracts a duration. Returns the earliest timestamp if the difference does not fit.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self::from_millis(self.as_millis().saturating_sub(millis_of(duration)))
    }

    /// Converts the timestamp to [`jiff`]'s type, clamped to the range of that type.
    pub(crate) fn to_jiff(self) -> jiff::Timestamp {
        let (least, most) = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
        jiff::Timestamp::from_millisecond(self.as_millis()).unwrap_or(if self.as_millis() < 0 {
            least
        } else {
            most
        })
    }
}

/// Returns the milliseconds of a duration, or the most that fit.
fn millis_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timestamp").field(&self.as_millis()).finish()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let after = time.duration_since(UNIX_EPOCH);
        Self::from_millis(after.map_or_else(|before| -millis_of(before.duration()), millis_of))
    }
}

impl std::str::FromStr for Timestamp {
    type Err = crate::error::ConfigError;

    /// Parses the format of RFC 3339, section 5.6: a date, a time and a zone. No other format is accepted.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        rfc3339(text).ok_or_else(|| {
            let expected = "expected an RFC 3339 timestamp such as `2026-04-30T12:00:00Z`";
            crate::error::ConfigError::new(text, "invalid timestamp", expected)
        })
    }
}

impl fmt::Display for Timestamp {
    /// Writes RFC 3339 in UTC, with milliseconds, or without a fraction if the timestamp is a whole second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_civil() {
            Some(civil) if self.as_millis() % 1_000 == 0 => write!(f, "{civil}Z"),
            Some(civil) => write!(f, "{civil:.3}Z"),
            None => write!(f, "{} ms since the epoch", self.as_millis()),
        }
    }
}

/// The Unix epoch in civil time.
const EPOCH: jiff::civil::DateTime = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);

impl Timestamp {
    fn to_civil(self) -> Option<jiff::civil::DateTime> {
        EPOCH.checked_add(jiff::SignedDuration::from_millis(self.as_millis())).ok()
    }

    /// Returns RFC 3339 in UTC with whole milliseconds, as JavaScript writes it: `2026-04-30T12:00:00.000Z`.
    pub(crate) fn to_millis_text(self) -> String {
        self.to_civil().map_or_else(|| self.to_string(), |civil| format!("{civil:.3}Z"))
    }
}

fn rfc3339(text: &str) -> Option<Timestamp> {
    let shape = |byte: u8| if byte.is_ascii_digit() { b'0' } else { byte };
    let (civil, rest) = text.split_at_checked(19)?;
    // A leap second is rejected, because milliseconds since the epoch cannot represent it: it would be read as another
    // second.
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
    // A timestamp that cannot be written in the format in which it is read, with a four-digit year in UTC, is rejected.
    Some(millis - offset * 60_000).filter(|millis| WRITABLE.contains(millis)).map(Timestamp::from_millis)
}

/// The milliseconds of the years 0 to 9999.
const WRITABLE: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Returns the minutes of an offset such as `+05:30`, which must be less than a day.
fn minutes(zone: &str) -> Option<i64> {
    let (hours, minutes): (i64, i64) = (zone.get(1..3)?.parse().ok()?, zone.get(4..6)?.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}
