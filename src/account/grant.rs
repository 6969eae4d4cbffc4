//! Periodic credit grants: a grant refills a balance up to its amount once per period.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Span;
use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::account::plan::{as_written, time_as_written};
use crate::amount::Credits;
use crate::clock::Timestamp;
use crate::error::ConfigError;

/// An hour in milliseconds.
const HOUR: i64 = 3_600_000;

/// A periodic credit grant of a plan. Each period, the account's main bucket is refilled *up to* the amount in one step.
/// Unspent credits do not accumulate, unless the grant has a [`Rollover`].
///
/// # Credits that are bought
///
/// Bought credits (a [top-up](crate::credit::AdjustmentKind::TopUp)) are in buckets of their own, if the ledger has
/// buckets. A grant neither counts nor changes them. With a grant of 100 and 500 bought credits, an account that has
/// spent 70 of the grant has 600 credits after the next grant. By default, granted credits are spent before bought
/// credits that do not expire.
///
/// A ledger without buckets has one balance. A grant then counts bought credits as a part of the balance that it refills.
///
/// # Plan changes
///
/// A change of plan moves no credits. An account that changes to another grant keeps its balance until that grant is
/// next due. A larger amount takes effect then. If the period changes too, the next grant is the first one of the new
/// period after the first charge on the new plan. A balance that never received a grant receives its first one with
/// that charge. On a plan without a grant, the account spends its remaining balance.
///
/// # Wrong clocks
///
/// A clock that is set back by up to a period gives no grant twice. After a clock that was ahead by more than a period is
/// corrected, the next grant is skipped, and grants continue with the one after it. If the clocks of two nodes differ by
/// more than a period, the node that is ahead gives the grants.
///
/// If clocks leap back and forth several times, each grant that was given too early is withheld once later, and no others,
/// however far a clock is set back. However often the clocks leap, they give at most 2*n* + 1 grants while the times that
/// they show lie within *n* periods.
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
    priority: u16,
    rollover: Rollover,
}

/// The priority of credits that have no other priority. Credits of a lower number are spent first.
pub(crate) const PRIORITY: u16 = 100;

/// The unspent credits of a period that a [`Grant`] leaves to the next period, in addition to its amount.
///
/// The credits that are left are raised to `least` and lowered to `most`. The default is zero for both.
///
/// # Example
///
/// ```
/// use tollgate::Credits;
/// use tollgate::account::Rollover;
///
/// let rollover = Rollover::new(Credits::ZERO, Credits::new(20_000))?;
/// assert_eq!(rollover.most(), Credits::new(20_000));
/// assert!(Rollover::new(Credits::new(2), Credits::new(1)).is_err());
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rollover {
    least: Credits,
    most: Credits,
}

impl Rollover {
    /// Creates a rollover of at least and at most these amounts.
    ///
    /// # Errors
    ///
    /// Returns an error if `least` is above `most`.
    pub fn new(least: Credits, most: Credits) -> Result<Self, ConfigError> {
        if least > most {
            let problem = format!("the least rollover is above `most`, which is `{most}`");
            let expected = "write amounts with `least` ≤ `most`";
            return Err(ConfigError::new(least.to_string(), problem, expected).in_member("least"));
        }
        Ok(Self { least, most })
    }

    /// Returns the least amount that is left to the next period.
    pub fn least(&self) -> Credits {
        self.least
    }

    /// Returns the greatest amount that is left to the next period.
    pub fn most(&self) -> Credits {
        self.most
    }
}

/// The period at which a grant is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantPeriod(Period);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Period {
    Every(i64),
    /// The unit, the time zone and the [`GrantPeriod::code`].
    Calendar(CalendarUnit, TimeZone, i64),
}

/// A calendar unit that determines when a grant is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalendarUnit {
    /// On the hour. If clocks change by other than whole hours, as on Lord Howe Island, a grant is also due at the
    /// change: two grants are never more than an hour apart.
    Hour,
    /// At midnight, or at the first moment of a day that has no midnight. A day that begins twice has one grant.
    Day,
    /// At midnight on the first day of the month, or at the first moment of that day.
    Month,
}

impl CalendarUnit {
    /// Returns the name of the unit in a configuration.
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
            ConfigError::new(text, "unknown calendar period", "write `hour`, `day` or `month`")
        })
    }
}

/// The names of the machine's own settings in its time zone database.
const OF_THE_MACHINE: [&str; 2] = ["localtime", "posixrules"];

impl GrantPeriod {
    /// Creates a period of a fixed length. It is counted from the time at which the balance was opened or changed to
    /// this period.
    ///
    /// # Errors
    ///
    /// Returns an error if the period is shorter than a millisecond or longer than a hundred years.
    pub fn every(period: Duration) -> Result<Self, ConfigError> {
        match i64::try_from(period.as_millis()) {
            Ok(millis) if (1..=100 * 366 * 86_400_000).contains(&millis) => Ok(Self(Period::Every(millis))),
            _ => {
                let problem = "the grant period is out of range";
                let expected = "write a period from a millisecond to a hundred years, as in `1h`";
                Err(ConfigError::new(format!("{period:?}"), problem, expected))
            }
        }
    }

    /// Creates a period that ends at the start of each calendar hour, day or month in a time zone of the IANA database.
    ///
    /// # Errors
    ///
    /// Returns an error if the database does not contain the zone, or if the zone is that of the machine (`localtime`).
    pub fn calendar(unit: CalendarUnit, zone: &str) -> Result<Self, ConfigError> {
        let Ok(found) = TimeZone::get(zone) else {
            let (problem, expected) = ("unknown time zone", "write one as in `UTC` or `Europe/Berlin`");
            return Err(ConfigError::new(zone, problem, expected).in_member("zone"));
        };
        let name = found.iana_name().unwrap_or(zone);
        if OF_THE_MACHINE.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            // Two nodes would grant at different times.
            let problem = "this zone depends on the machine's settings, which can differ between nodes";
            let expected = "write one as in `UTC` or `Europe/Berlin`";
            return Err(ConfigError::new(zone, problem, expected).in_member("zone"));
        }
        let code = code_of(&format!("{} {name}", unit.name()));
        Ok(Self(Period::Calendar(unit, found, code)))
    }

    /// Returns a number that identifies the period. It is the same on every machine and in every build. It is the
    /// length in milliseconds for a fixed period, negative for a calendar period, and never zero.
    #[inline]
    pub(crate) fn code(&self) -> i64 {
        match self.0 {
            Period::Every(millis) => millis,
            Period::Calendar(.., code) => code,
        }
    }

    /// Returns the mean length of the period, in milliseconds.
    fn mean(&self) -> i64 {
        match self.0 {
            Period::Every(millis) => millis,
            Period::Calendar(CalendarUnit::Hour, ..) => HOUR,
            Period::Calendar(CalendarUnit::Day, ..) => 24 * HOUR,
            // A twelfth of the mean year of the calendar.
            Period::Calendar(CalendarUnit::Month, ..) => 2_629_746_000,
        }
    }

    /// Returns the longest time between two grants, in milliseconds.
    #[inline]
    fn longest(&self) -> i64 {
        match self.0 {
            Period::Every(millis) => millis,
            Period::Calendar(CalendarUnit::Hour, ..) => HOUR,
            Period::Calendar(CalendarUnit::Day, ..) => 25 * HOUR,
            Period::Calendar(CalendarUnit::Month, ..) => (31 * 24 + 1) * HOUR,
        }
    }
}

impl fmt::Display for GrantPeriod {
    /// Writes the period as in `every 1day` or `calendar month Europe/Berlin`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Period::Every(millis) => {
                write!(f, "every {}", as_written(Duration::from_millis(millis.unsigned_abs())))
            }
            Period::Calendar(unit, zone, _) => {
                write!(f, "calendar {} {}", unit.name(), zone.iana_name().unwrap_or("UTC"))
            }
        }
    }
}

impl FromStr for GrantPeriod {
    type Err = ConfigError;

    /// Parses a period as [`Display`](fmt::Display) writes it. A length is a number of `ms`, `s`, `m`, `h` or `days`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || {
            let expected = "write one as in `every 1day` or `calendar month UTC`";
            ConfigError::new(text, "invalid period", expected)
        };
        let mut words = text.split(' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("every"), Some(length), None, None) => {
                Self::every(time_as_written(length).ok_or_else(refuse)?)
            }
            (Some("calendar"), Some(unit), Some(zone), None) => Self::calendar(unit.parse()?, zone),
            _ => Err(refuse()),
        }
    }
}

impl Grant {
    /// Creates a grant of this amount at this period.
    pub fn new(amount: Credits, period: GrantPeriod) -> Self {
        Self { amount, period, priority: PRIORITY, rollover: Rollover::default() }
    }

    /// Sets the priority of the granted credits: credits of a lower number are spent first. Defaults to 100.
    #[must_use]
    pub fn with_priority(mut self, priority: u16) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the unspent credits that are left to the next period.
    #[must_use]
    pub fn with_rollover(mut self, rollover: Rollover) -> Self {
        self.rollover = rollover;
        self
    }

    /// Returns the priority of the granted credits.
    pub fn priority(&self) -> u16 {
        self.priority
    }

    /// Returns the unspent credits that are left to the next period.
    pub fn rollover(&self) -> Rollover {
        self.rollover
    }

    /// Returns the credits after this grant was due `periods` times in succession, of `left` credits before it.
    ///
    /// A grant once per period is `left = max(left, amount + left clamped to the rollover)`. `amount` is the amount of
    /// the grant, or less if a part of it counts as present. The number of steps does not grow with the periods.
    pub(crate) fn refilled(&self, left: Credits, amount: Credits, periods: u64) -> Credits {
        let (least, most) = (self.rollover.least.get(), self.rollover.most.get());
        let once = |left: u64| left.max(amount.get().saturating_add(left.clamp(least, most)));
        let first = if periods == 0 { left.get() } else { once(left.get()) };
        // Between the bounds of the rollover, each period adds the whole amount.
        let steps = most.saturating_sub(first).div_ceil(amount.get().max(1)).min(periods.saturating_sub(1));
        let raised = first.saturating_add(steps.saturating_mul(amount.get()));
        Credits::new(if periods.saturating_sub(1) > steps { once(raised) } else { raised })
    }

    /// Returns the number of periods from one time at which the grant is due to a later one.
    pub(crate) fn periods_between(&self, due: Timestamp, next: Timestamp) -> u64 {
        let (passed, mean) = (next.as_millis().saturating_sub(due.as_millis()), self.mean().max(1));
        // A calendar's periods differ from their mean length, but never by half of it in sum.
        u64::try_from(passed.saturating_add(mean / 2) / mean).unwrap_or(0).max(1)
    }

    /// Returns the earliest time at which `due` is not beyond the grant time after the next one, whatever the calendar.
    pub(crate) fn calm_from(&self, due: Timestamp) -> Timestamp {
        Timestamp::from_millis(due.as_millis().saturating_sub(self.period.longest()))
    }

    /// Returns the period.
    pub(crate) fn period(&self) -> &GrantPeriod {
        &self.period
    }

    /// Returns the amount up to which the main bucket is refilled.
    pub fn amount(&self) -> Credits {
        self.amount
    }

    /// Returns the fixed period in milliseconds, or `None` for a calendar period.
    pub(crate) fn every(&self) -> Option<i64> {
        match self.period.0 {
            Period::Every(millis) => Some(millis),
            Period::Calendar(..) => None,
        }
    }

    /// Returns the [`GrantPeriod::code`] of the period.
    #[inline]
    pub(crate) fn code(&self) -> i64 {
        self.period.code()
    }

    /// Returns the mean length of the period, in milliseconds. Scripts in Redis have no calendar.
    pub(crate) fn mean(&self) -> i64 {
        self.period.mean()
    }

    /// Returns true if `due` is later than the grant time after the next one. This means that the clock was ahead when
    /// the last grant was given.
    #[inline]
    pub(crate) fn is_beyond(&self, due: Timestamp, now: Timestamp) -> bool {
        // This cheap comparison is false for almost all grants. Only the others need a calendar computation.
        due.as_millis().saturating_sub(now.as_millis()) > self.period.longest()
            && due > self.second_after(now)
    }

    /// Returns the grant time after the next one.
    pub(crate) fn second_after(&self, now: Timestamp) -> Timestamp {
        self.next_after(self.next_after(now))
    }

    /// Returns the next grant time, strictly after `then`. The last grant was due, or the first one was given, at
    /// `then`.
    pub fn next_after(&self, then: Timestamp) -> Timestamp {
        match &self.period.0 {
            Period::Every(millis) => Timestamp::from_millis(then.as_millis().saturating_add(*millis)),
            Period::Calendar(unit, zone, _) => turn_after(*unit, zone, then),
        }
    }

    /// Returns the next grant time, strictly after `now`. The last grant was due at `due`, and `now` is not before
    /// `due`. The result is a whole number of periods after `due`, however many have passed.
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

/// Returns the FNV-1a hash of a text: 63 bits, with the sign bit set to make it negative.
fn code_of(text: &str) -> i64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash | 1 << 63).cast_signed()
}

/// Returns the calendar's next grant time strictly after `then`.
fn turn_after(unit: CalendarUnit, zone: &TimeZone, then: Timestamp) -> Timestamp {
    let moment = then.to_jiff();
    let next = match unit {
        CalendarUnit::Hour => hour_after(zone, moment),
        CalendarUnit::Day => first_moment_after(zone, moment, Date::tomorrow),
        CalendarUnit::Month => {
            first_moment_after(zone, moment, |date| date.first_of_month().checked_add(Span::new().months(1)))
        }
    };
    // No grant is due after the calendar's last year.
    let next = next.map(|next| Timestamp::from_millis(next.as_millisecond()));
    next.ok().filter(|next| *next > then).unwrap_or(Timestamp::from_millis(i64::MAX))
}

/// Returns the next full hour of a zone's clocks, or an earlier clock change that interrupts an hour.
fn hour_after(zone: &TimeZone, then: jiff::Timestamp) -> Result<jiff::Timestamp, jiff::Error> {
    const HOUR: i64 = 3_600;
    let offset = i64::from(zone.to_offset(then).seconds());
    let second = then.as_millisecond().div_euclid(1_000);
    let full = jiff::Timestamp::from_second(second + HOUR - (second + offset).rem_euclid(HOUR))?;
    let mut changes = zone.following(then).take_while(|change| change.timestamp() < full);
    let uneven = changes.find(|change| (i64::from(change.offset().seconds()) - offset) % HOUR != 0);
    Ok(uneven.map_or(full, |change| change.timestamp()))
}

/// Returns the first moment of the first date in the sequence produced by `next` that begins after `then`. A date may
/// have begun before `then` if clocks went back over midnight.
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

/// Returns the first moment of a date: its first midnight, or the clock change that skips midnight.
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
