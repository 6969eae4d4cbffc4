//! Credits that come back: a grant refills a balance to its amount, at whole periods.

use std::str::FromStr;
use std::time::Duration;

use jiff::Span;
use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::amount::Credits;
use crate::clock::Timestamp;
use crate::error::ConfigError;

/// Credits that a plan gives, and gives again at every period: the balance is refilled *to* the amount, all at once,
/// and what was left does not pile up.
///
/// # Credits that are bought
///
/// An account has one balance. Credits that were bought (a [top-up](crate::credit::AdjustmentKind::TopUp)) are spent together with
/// those that were granted, and a grant counts them in. With a grant of 100, a balance of 540 is still 540 after the next
/// turn, and one of 30 is 100. Who sells credits beside a grant therefore gives no grant until the bought ones are spent.
///
/// # Plans that change
///
/// A change of plan moves no credits. An account that goes to another grant keeps its balance until that grant's next turn;
/// a larger amount takes effect then. Where the period changes too, the next turn is the first one of the new period after
/// the first charge on the new plan. A balance that no grant was ever given to gets its first one with that charge. On a plan
/// without a grant the account spends what is left.
///
/// # Clocks that are wrong
///
/// A clock that is set back gives no grant twice. After one that was ahead by more than a period is set right, the next turn
/// is left out, and grants go on at the one after it. Where the clocks of two nodes differ by more than a period, the one
/// that is ahead gives the grants.
///
/// # Example
///
/// ```
/// use tollgate::account::{CalendarUnit, Grant, GrantPeriod};
/// use tollgate::Credits;
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
    /// The unit, the zone, and [`GrantPeriod::code`].
    Calendar(CalendarUnit, TimeZone, i64),
}

/// A unit of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalendarUnit {
    /// On the hour. Where clocks change by other than whole hours, as on Lord Howe Island, the change is a turn too: no two
    /// turns are more than an hour apart.
    Hour,
    /// At midnight, or at the first moment of a day that has no midnight. A day that is begun twice turns once.
    Day,
    /// At midnight on the first, or at the first moment of that day.
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
    /// Every so often, counted from when the balance was opened or came to this period.
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
        let Ok(found) = TimeZone::get(zone) else {
            let (problem, expected) =
                ("the time zone database knows no such zone", "write one as in `UTC` or `Europe/Berlin`");
            return Err(ConfigError::new(zone, problem, expected).in_member("zone"));
        };
        let name = found.iana_name().unwrap_or(zone);
        let code = code_of(&format!("{} {name}", unit.name()));
        Ok(Self(Period::Calendar(unit, found, code)))
    }

    /// A number that tells periods apart, the same on every machine and in every build: the milliseconds of a plain one,
    /// negative for the calendar, never zero.
    #[cfg(any(feature = "memory", feature = "redis", feature = "sqlite", feature = "postgres"))]
    #[inline]
    pub(crate) fn code(&self) -> i64 {
        match self.0 {
            Period::Every(millis) => millis,
            Period::Calendar(.., code) => code,
        }
    }

    /// The longest time between two turns, in milliseconds.
    #[cfg(any(feature = "memory", feature = "redis", feature = "sqlite", feature = "postgres"))]
    #[inline]
    fn longest(&self) -> i64 {
        const HOUR: i64 = 3_600_000;
        match self.0 {
            Period::Every(millis) => millis,
            Period::Calendar(CalendarUnit::Hour, ..) => HOUR,
            Period::Calendar(CalendarUnit::Day, ..) => 25 * HOUR,
            Period::Calendar(CalendarUnit::Month, ..) => (31 * 24 + 1) * HOUR,
        }
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

    /// See [`GrantPeriod::code`].
    #[cfg(any(feature = "memory", feature = "redis", feature = "sqlite", feature = "postgres"))]
    #[inline]
    pub(crate) fn code(&self) -> i64 {
        self.period.code()
    }

    /// Whether a grant that is due at `due` lies further ahead than the turn after the next: the clock was ahead when the
    /// last one was given.
    #[cfg(any(feature = "memory", feature = "redis", feature = "sqlite", feature = "postgres"))]
    #[inline]
    pub(crate) fn is_beyond(&self, due: Timestamp, now: Timestamp) -> bool {
        // Cheap, and false of nearly all: the calendar is asked of the others.
        due.as_millis().saturating_sub(now.as_millis()) > self.period.longest()
            && due > self.second_after(now)
    }

    /// The turn after the next one.
    #[cfg(any(feature = "memory", feature = "redis", feature = "sqlite", feature = "postgres"))]
    pub(crate) fn second_after(&self, now: Timestamp) -> Timestamp {
        self.next_after(self.next_after(now))
    }

    /// The time of the next grant, where it was last due or first given at `then`: strictly later.
    pub fn next_after(&self, then: Timestamp) -> Timestamp {
        match &self.period.0 {
            Period::Every(millis) => Timestamp::from_millis(then.as_millis().saturating_add(*millis)),
            Period::Calendar(unit, zone, _) => turn_after(*unit, zone, then),
        }
    }

    /// The time of the next grant after `now`, where it was due at `due` and `now` is not before that: whole periods on,
    /// however many have passed. Strictly later than `now`.
    pub fn next_due(&self, due: Timestamp, now: Timestamp) -> Timestamp {
        match &self.period.0 {
            Period::Every(millis) => {
                let passed = now.as_millis().saturating_sub(due.as_millis()).max(0) / millis;
                Timestamp::from_millis(due.as_millis().saturating_add((passed + 1).saturating_mul(*millis)))
            }
            Period::Calendar(unit, zone, _) => turn_after(*unit, zone, now),
        }
    }
}

/// FNV-1a over 63 bits, negative.
fn code_of(text: &str) -> i64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash | 1 << 63).cast_signed()
}

/// The next turn of the calendar strictly after a moment.
fn turn_after(unit: CalendarUnit, zone: &TimeZone, then: Timestamp) -> Timestamp {
    let moment = then.to_jiff();
    let next = match unit {
        CalendarUnit::Hour => hour_after(zone, moment),
        CalendarUnit::Day => first_moment_after(zone, moment, Date::tomorrow),
        CalendarUnit::Month => {
            first_moment_after(zone, moment, |date| date.first_of_month().checked_add(Span::new().months(1)))
        }
    };
    // Past the calendar's last year nothing is granted any more.
    let next = next.map(|next| Timestamp::from_millis(next.as_millisecond()));
    next.ok().filter(|next| *next > then).unwrap_or(Timestamp::from_millis(i64::MAX))
}

/// The next full hour of a zone's clocks, or the change of them that leaves an hour unfinished.
fn hour_after(zone: &TimeZone, then: jiff::Timestamp) -> Result<jiff::Timestamp, jiff::Error> {
    const HOUR: i64 = 3_600;
    let offset = i64::from(zone.to_offset(then).seconds());
    let second = then.as_millisecond().div_euclid(1_000);
    let full = jiff::Timestamp::from_second(second + HOUR - (second + offset).rem_euclid(HOUR))?;
    let mut changes = zone.following(then).take_while(|change| change.timestamp() < full);
    let uneven = changes.find(|change| (i64::from(change.offset().seconds()) - offset) % HOUR != 0);
    Ok(uneven.map_or(full, |change| change.timestamp()))
}

/// The first moment of the next of the dates that `next` leads to that begins after `then`: one may have begun before,
/// where clocks went back over midnight.
fn first_moment_after(
    zone: &TimeZone,
    then: jiff::Timestamp,
    next: impl Fn(Date) -> Result<Date, jiff::Error>,
) -> Result<jiff::Timestamp, jiff::Error> {
    let mut date = zone.to_datetime(then).date();
    loop {
        date = next(date)?;
        let start = first_moment(zone, date)?;
        if start > then {
            return Ok(start);
        }
    }
}

/// The first moment of a date: its first midnight, or the change of clocks that skips it.
fn first_moment(zone: &TimeZone, date: Date) -> Result<jiff::Timestamp, jiff::Error> {
    let midnight = date.to_datetime(jiff::civil::Time::midnight());
    match zone.to_ambiguous_timestamp(midnight).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(midnight),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(midnight),
        AmbiguousOffset::Gap { before, after } => {
            let earlier = after.to_timestamp(midnight)?;
            let change = zone.following(earlier).next();
            change.map_or_else(|| before.to_timestamp(midnight), |change| Ok(change.timestamp()))
        }
    }
}
