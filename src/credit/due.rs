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
    /// The bound for clocks that were set back; `None` until a clock leaps.
    pub(super) floor: Option<Floor>,
}

/// The earliest time of a grant by clocks that were set back. Every grant moves it forward by a period. Clocks that leap
/// back and forth therefore cause no more grants than periods pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Floor {
    pub(super) at: Timestamp,
    /// The number of periods by which grants have moved it. A clock that is set back to a time before all of these grants
    /// withholds no more periods than this.
    pub(super) moved: u32,
}

impl Floor {
    fn new(at: Timestamp) -> Self {
        Self { at, moved: 0 }
    }

    /// Returns the bound after one more grant.
    fn after_grant(self, grant: &Grant) -> Self {
        Self { at: later(self.at, grant.mean()), moved: self.moved.saturating_add(1) }
    }

    /// Returns the bound for a clock whose next but one grant time is `second`.
    fn lowered(self, second: Timestamp, grant: &Grant) -> Self {
        let withheld = grant.mean().saturating_mul(i64::from(self.moved));
        Self { at: self.at.min(later(second, withheld)), ..self }
    }
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
            let floor = self.floor.or_else(|| has_leapt.then(|| Floor::new(self.at)));
            return (
                true,
                Self { floor: floor.map(|floor| floor.after_grant(grant)), ..Self::new(grant, at) },
            );
        }
        let given = now >= self.next() && grant.next_after(now) < self.at;
        if given {
            due.again = Some(grant.next_due(self.next(), now)).filter(|again| *again < self.at);
            due.floor = Some(self.floor.unwrap_or(Floor::new(self.next())).after_grant(grant));
        } else if now >= self.next() {
            // The clock is in the period before `at`: its grant was applied while the clock was ahead.
            due.again = None;
        } else if grant.is_beyond(self.next(), now) {
            // Use the due time after the next one: if two clocks differ by more than a period, only the clock that is
            // ahead may cause grants.
            let second = grant.second_after(now);
            // A calendar's periods differ from their mean length by less than an eighth.
            let is_withheld = |floor: &Timestamp| *floor > later(second, grant.mean() / 8);
            due.floor = self.floor.map(|floor| floor.lowered(second, grant));
            let again = due.floor.map(|floor| floor.at).filter(is_withheld).unwrap_or(second);
            due.again = Some(again).filter(|again| *again < self.at);
        }
        (given, due)
    }
}

fn later(time: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(time.as_millis().saturating_add(millis))
}
