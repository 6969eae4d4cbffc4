//! The time of an account's next grant, stored with the period that it was derived from.

use crate::account::Grant;
use crate::clock::Timestamp;

/// The time of an account's next grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// The next start of a period.
    pub(super) at: Timestamp,
    /// The period that `at` belongs to, as returned by [`Grant::code`]; zero if it was never recorded. A due time is
    /// meaningless under another period.
    pub(super) period: i64,
    /// The next due time by clocks that were set back by more than a period since the last grant. It is before `at`.
    pub(super) again: Option<Timestamp>,
    /// The earliest time of a grant by clocks that were set back; `None` until a clock leaps. Every grant moves it
    /// forward by a period. Clocks that leap back and forth therefore cause no more grants than periods pass.
    pub(super) floor: Option<Timestamp>,
}

impl Due {
    /// Creates the due time of a grant.
    pub(super) fn new(grant: &Grant, at: Timestamp) -> Self {
        Self { at, period: grant.code(), again: None, floor: None }
    }

    /// Returns the next due time by the current clocks.
    #[inline]
    pub(super) fn next(&self) -> Timestamp {
        self.again.unwrap_or(self.at)
    }

    /// Returns true if a call at this time changes nothing, which is the case for nearly all calls.
    #[inline]
    pub(super) fn is_to_come(&self, grant: &Grant, now: Timestamp) -> bool {
        self.period == grant.code() && now < self.next() && !grant.is_beyond(self.next(), now)
    }

    /// Returns true if the grant is applied at `now`, and the due time after that.
    ///
    /// A grant of another period than the last one is applied at its own next due time. A change of plans therefore
    /// gives nothing by itself, however often it is made.
    pub(super) fn turn(self, grant: &Grant, now: Timestamp) -> (bool, Self) {
        if self.period != grant.code() && self.period != 0 {
            return (false, Self::new(grant, grant.next_after(now)));
        }
        let mut due = Self { period: grant.code(), ..self };
        if now >= self.at {
            let at = grant.next_due(self.at, now);
            let has_leapt = at.as_millis().saturating_sub(self.at.as_millis()) > grant.mean() / 2 * 3;
            let floor = self.floor.or_else(|| has_leapt.then_some(self.at));
            return (
                true,
                Self { floor: floor.map(|floor| later(floor, grant.mean())), ..Self::new(grant, at) },
            );
        }
        let given = now >= self.next() && grant.next_after(now) < self.at;
        if given {
            due.again = Some(grant.next_due(self.next(), now)).filter(|again| *again < self.at);
            due.floor = Some(later(self.floor.unwrap_or(self.next()), grant.mean()));
        } else if now >= self.next() {
            // The clock is in the period before `at`: its grant was applied while the clock was ahead.
            due.again = None;
        } else if grant.is_beyond(self.next(), now) {
            // Use the due time after the next one: if two clocks differ by more than a period, only the clock that is
            // ahead may cause grants.
            let second = grant.second_after(now);
            // A calendar's periods differ from their mean length by less than an eighth.
            let is_withheld = |floor: &Timestamp| *floor > later(second, grant.mean() / 8);
            due.again =
                Some(self.floor.filter(is_withheld).unwrap_or(second)).filter(|again| *again < self.at);
        }
        (given, due)
    }
}

fn later(time: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(time.as_millis().saturating_add(millis))
}
