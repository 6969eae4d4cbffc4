//! The steps of time by which usage is counted.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::ToSpan as _;
use jiff::tz::TimeZone;

use crate::clock::Timestamp;
use crate::error::ConfigError;
use crate::words;

/// A step of time, in UTC. Usage is counted by each step.
///
/// # Example
///
/// ```
/// use tollgate::usage::UsageStep;
///
/// let time = "2026-04-30T12:34:56Z".parse()?;
/// assert_eq!(UsageStep::Hour.start_of(time).to_string(), "2026-04-30T12:00:00Z");
/// assert_eq!(UsageStep::Month.start_of(time).to_string(), "2026-04-01T00:00:00Z");
/// assert_eq!(UsageStep::Month.after(time).to_string(), "2026-05-01T00:00:00Z");
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UsageStep {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day, from midnight UTC.
    Day,
    /// A calendar month, from midnight UTC of its first day.
    Month,
}

impl UsageStep {
    /// All steps, the shortest first.
    pub const ALL: &'static [Self] = &[Self::Minute, Self::Hour, Self::Day, Self::Month];

    /// Returns the step's name, as [`Display`](fmt::Display) writes it and [`FromStr`] reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// Returns the start of the step that contains a time.
    #[must_use]
    pub fn start_of(self, time: Timestamp) -> Timestamp {
        match self.length() {
            Some(length) => {
                Timestamp::from_millis(time.as_millis().div_euclid(length).saturating_mul(length))
            }
            None => month(time, 0),
        }
    }

    /// Returns the start of the step after the one that contains a time.
    #[must_use]
    pub fn after(self, time: Timestamp) -> Timestamp {
        match self.length() {
            Some(length) => self.start_of(time).saturating_add(Duration::from_millis(length.unsigned_abs())),
            None => month(time, 1),
        }
    }

    /// Returns the time that is this many steps before the step that contains a time.
    #[must_use]
    pub fn before(self, time: Timestamp, steps: u32) -> Timestamp {
        match self.length() {
            Some(length) => {
                let back = Duration::from_millis(length.unsigned_abs()).saturating_mul(steps);
                self.start_of(time).saturating_sub(back)
            }
            None => month(time, -i64::from(steps)),
        }
    }

    /// Returns the number of steps from the one that contains `from` up to `to`.
    pub(super) fn count(self, from: Timestamp, to: Timestamp) -> u64 {
        let (start, end) = (self.start_of(from).as_millis(), to.as_millis());
        let Some(length) = self.length() else { return months(from, to) };
        u64::try_from(end.saturating_sub(start)).map_or(0, |millis| millis.div_ceil(length.unsigned_abs()))
    }

    /// Returns the length in milliseconds, or `None` for a month.
    const fn length(self) -> Option<i64> {
        match self {
            Self::Minute => Some(60_000),
            Self::Hour => Some(3_600_000),
            Self::Day => Some(DAY),
            Self::Month => None,
        }
    }
}

/// The milliseconds of a day.
const DAY: i64 = 86_400_000;

/// Returns the number of months from the one that contains `from` up to `to`.
fn months(from: Timestamp, to: Timestamp) -> u64 {
    let number = |time: Timestamp| {
        let date = time.to_jiff().to_zoned(TimeZone::UTC).date();
        i64::from(date.year()) * 12 + i64::from(date.month())
    };
    // The month that contains `to` counts, unless it begins at that time.
    let begun = i64::from(month(to, 0) < to);
    u64::try_from(number(to) - number(from) + begun).unwrap_or(0)
}

/// Returns the start of the month that is this many months after the one that contains a time.
fn month(time: Timestamp, months: i64) -> Timestamp {
    let day = time.to_jiff().to_zoned(TimeZone::UTC).date().first_of_month();
    let day = day.checked_add(months.months()).unwrap_or(day);
    let start = day.to_zoned(TimeZone::UTC).map(|start| start.timestamp().as_millisecond());
    start.map_or(time, Timestamp::from_millis)
}

impl fmt::Display for UsageStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for UsageStep {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = Self::ALL.iter().map(|step| step.name());
        let unknown = || ConfigError::new(text, "unknown step", words::one_of(text, names));
        Self::ALL.iter().copied().find(|step| step.name() == text).ok_or_else(unknown)
    }
}
