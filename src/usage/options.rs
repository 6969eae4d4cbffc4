//! The settings of usage: intervals, retention and memory.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::ConfigError;
use crate::usage::UsageStep;

/// The time for which the counts of each step are kept. Months are always kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageRetention {
    /// The time for which minutes are kept. Defaults to 2 days.
    pub minutes: Duration,
    /// The time for which hours are kept. Defaults to 60 days.
    pub hours: Duration,
    /// The time for which days are kept. Defaults to 3 years of 365.25 days.
    pub days: Duration,
}

/// A day.
const DAY: Duration = Duration::from_hours(24);

/// The default time for which days are kept: three years, as `3years` in the configuration.
const YEARS: Duration = Duration::from_hours(3 * 8_766);

impl Default for UsageRetention {
    fn default() -> Self {
        Self { minutes: 2 * DAY, hours: 60 * DAY, days: YEARS }
    }
}

impl UsageRetention {
    /// Returns the start before which the counts of a step are removed, or `None` if they are kept. A step is removed when
    /// all of it is older than the retention.
    pub fn before(&self, step: UsageStep, now: Timestamp) -> Option<Timestamp> {
        let kept = match step {
            UsageStep::Minute => self.minutes,
            UsageStep::Hour => self.hours,
            UsageStep::Day => self.days,
            UsageStep::Month => return None,
        };
        Some(step.start_of(now.saturating_sub(kept)))
    }
}

/// The settings of a gate's usage.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tollgate::usage::UsageOptions;
///
/// let mut options = UsageOptions::default();
/// options.flush = Some(Duration::from_secs(5));
/// options.keep.hours = Duration::from_hours(24 * 366);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageOptions {
    /// The interval at which counts are written to the store. `None` if only [`Usage::flush`](crate::usage::Usage::flush)
    /// writes them. Defaults to 10 seconds.
    pub flush: Option<Duration>,
    /// The retention of each step.
    pub keep: UsageRetention,
    /// The maximum number of rows in memory between two flushes, and again the maximum number of rows that wait for a
    /// store that cannot be reached. Defaults to 100,000.
    ///
    /// A row takes up to 300 bytes between two flushes, and 112 bytes while it waits: see
    /// [`Usage`](crate::usage::Usage#memory).
    pub max_rows: usize,
}

impl Default for UsageOptions {
    fn default() -> Self {
        Self { flush: Some(Duration::from_secs(10)), keep: UsageRetention::default(), max_rows: 100_000 }
    }
}

impl UsageOptions {
    /// Checks the settings.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let shown = |time: Duration| format!("{}s", time.as_secs_f64());
        if let Some(flush) = self.flush
            && !(Duration::from_millis(10)..=Duration::from_hours(1)).contains(&flush)
        {
            let expected = "write a time from `10ms` to `1h`, such as `10s`";
            return Err(
                ConfigError::new(shown(flush), "the interval is out of range", expected).in_member("flush")
            );
        }
        let UsageRetention { minutes, hours, days } = self.keep;
        let least = [("minutes", minutes, 1), ("hours", hours, 24), ("days", days, 24 * 31)];
        for (member, kept, hours) in least {
            if kept < Duration::from_hours(hours) {
                let expected = format!("write at least `{hours}h`");
                let problem = "the retention is shorter than a step of the next longer kind";
                let member = format!("keep.{member}");
                return Err(ConfigError::new(shown(kept), problem, expected).in_member(member));
            }
        }
        if self.max_rows == 0 {
            return Err(
                ConfigError::new("0", "no row would be counted", "write at least 1").in_member("max_rows")
            );
        }
        Ok(())
    }
}
