//! The retention of usage.

use std::time::Duration;

use crate::clock::Timestamp;
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
    /// Returns the start before which the counts of a step are removed, or `None` if they are kept.
    pub fn before(&self, step: UsageStep, now: Timestamp) -> Option<Timestamp> {
        let kept = match step {
            UsageStep::Minute => self.minutes,
            UsageStep::Hour => self.hours,
            UsageStep::Day => self.days,
            UsageStep::Month => return None,
        };
        Some(now.saturating_sub(kept))
    }
}
