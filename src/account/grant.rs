//! Credits that come back: a grant refills a balance to its amount, at whole periods.

use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{RoundMode, ToSpan, Unit, ZonedRound};

use crate::{ConfigError, Credits, Timestamp};

/// Credits that a plan gives, and gives again at every period: the balance is refilled *to* the amount, all at once,
/// and what was left does not pile up.
///
/// # Example
///
/// ```
/// use tollgate::{CalendarUnit, Credits, Grant, GrantPeriod};
///
/// let hourly = Grant::new(Credits::new(100), GrantPeriod::calendar(CalendarUnit::Hour, "UTC")?);
/// assert_eq!(hourly.next_after("2026-04-30T12:20:00Z".parse()?).to_string(), "2026-04-30T13:00:00Z");
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    amount: Credits,
    period: GrantPeriod,
}

/// How often a grant is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantPeriod(Period);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Period {
    Every(i64),
    Calendar(CalendarUnit, TimeZone),
}

/// A unit of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalendarUnit {
    /// On the hour.
    Hour,
    /// At midnight.
    Day,
    /// At midnight on the first.
    Month,
}

impl CalendarUnit {
    /// The unit as a configuration names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

impl FromStr for CalendarUnit {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Hour, Self::Day, Self::Month].into_iter().find(|unit| unit.name() == text).ok_or_else(|| {
            ConfigError::new(text, "the calendar has no such period", "write `hour`, `day` or `month`")
        })
    }
}

impl GrantPeriod {
    /// Every so often, counted from when the balance was opened.
    ///
    /// # Errors
    ///
    /// Less than a millisecond, or more than a hundred years.
    pub fn every(period: Duration) -> Result<Self, ConfigError> {
        match i64::try_from(period.as_millis()) {
            Ok(millis) if (1..=100 * 366 * 86_400_000).contains(&millis) => Ok(Self(Period::Every(millis))),
            _ => {
                let problem = "a grant cannot come at this period";
                let expected = "write a period from a millisecond to a hundred years, as in `1h`";
                Err(ConfigError::new(format!("{period:?}"), problem, expected))
            }
        }
    }

    /// At every turn of the calendar's hour, day or month in a time zone of the IANA database.
    ///
    /// # Errors
    ///
    /// A zone that the database does not know.
    pub fn calendar(unit: CalendarUnit, zone: &str) -> Result<Self, ConfigError> {
        TimeZone::get(zone).map(|zone| Self(Period::Calendar(unit, zone))).map_err(|_| {
            let expected = "write one as in `UTC` or `Europe/Berlin`";
            ConfigError::new(zone, "the time zone database knows no such zone", expected).in_member("zone")
        })
    }
}

impl Grant {
    /// A grant of this amount at this period.
    pub fn new(amount: Credits, period: GrantPeriod) -> Self {
        Self { amount, period }
    }

    /// What the balance is refilled to.
    pub fn amount(&self) -> Credits {
        self.amount
    }

    /// Its period in milliseconds; `None` where the calendar says when.
    #[cfg(feature = "redis")]
    pub(crate) fn every(&self) -> Option<i64> {
        match self.period.0 {
            Period::Every(millis) => Some(millis),
            Period::Calendar(..) => None,
        }
    }

    /// When the grant is given next, where it was last due or first given at `then`.
    pub fn next_after(&self, then: Timestamp) -> Timestamp {
        match &self.period.0 {
            Period::Every(millis) => Timestamp::from_millis(then.as_millis().saturating_add(*millis)),
            Period::Calendar(unit, zone) => turn_after(*unit, zone, then),
        }
    }

    /// When the grant is given next after `now`, where it was due at `due` and `now` is not before that: whole periods
    /// on, however many have passed.
    pub fn next_due(&self, due: Timestamp, now: Timestamp) -> Timestamp {
        match &self.period.0 {
            Period::Every(millis) => {
                let passed = (now.as_millis() - due.as_millis()).max(0) / millis;
                Timestamp::from_millis(due.as_millis().saturating_add((passed + 1).saturating_mul(*millis)))
            }
            Period::Calendar(unit, zone) => turn_after(*unit, zone, now),
        }
    }
}

/// The next turn of the calendar strictly after a moment.
fn turn_after(unit: CalendarUnit, zone: &TimeZone, then: Timestamp) -> Timestamp {
    let local = then.to_jiff().to_zoned(zone.clone());
    let down = |unit| local.round(ZonedRound::new().smallest(unit).mode(RoundMode::Trunc));
    let next = match unit {
        CalendarUnit::Hour => down(Unit::Hour).and_then(|start| start.checked_add(1.hour())),
        CalendarUnit::Day => local.tomorrow().and_then(|day| day.start_of_day()),
        CalendarUnit::Month => local
            .first_of_month()
            .and_then(|first| first.checked_add(1.month()))
            .and_then(|first| first.start_of_day()),
    };
    // Past the calendar's last year nothing is granted any more.
    next.map_or(Timestamp::from_millis(i64::MAX), |next| {
        Timestamp::from_millis(next.timestamp().as_millisecond())
    })
}
