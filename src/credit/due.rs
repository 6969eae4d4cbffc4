//! The time of an account's next grant, kept with the period that it was derived from.

use crate::account::Grant;
use crate::clock::Timestamp;

/// The time of an account's next grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// The next turn of the period.
    pub(super) at: Timestamp,
    /// The period that `at` is a turn of, as [`Grant::code`] tells it; zero where that was never noted. A turn means nothing
    /// under another period.
    pub(super) period: i64,
    /// The next turn by clocks that were set back by more than a period since the last grant; before `at`.
    pub(super) again: Option<Timestamp>,
}

impl Due {
    /// A turn of this grant's period.
    pub(super) fn new(grant: &Grant, at: Timestamp) -> Self {
        Self { at, period: grant.code(), again: None }
    }

    /// The next turn by the clocks as they are.
    #[inline]
    fn next(&self) -> Timestamp {
        self.again.unwrap_or(self.at)
    }

    /// Whether a call at this time changes nothing: true of nearly all.
    #[cfg(any(feature = "memory", feature = "sqlite", feature = "postgres"))]
    #[inline]
    pub(super) fn is_to_come(&self, grant: &Grant, now: Timestamp) -> bool {
        self.period == grant.code() && now < self.next() && !grant.is_beyond(self.next(), now)
    }

    /// Whether the grant is given at a moment, and when it is given next.
    ///
    /// A grant of another period than the last is given at its own next turn: a change of plans gives nothing by itself,
    /// however often it is made.
    pub(super) fn turn(self, grant: &Grant, now: Timestamp) -> (bool, Self) {
        if self.period != grant.code() && self.period != 0 {
            return (false, Self::new(grant, grant.next_after(now)));
        }
        let mut due = Self { period: grant.code(), ..self };
        if now >= self.at {
            return (true, Self::new(grant, grant.next_due(self.at, now)));
        }
        let given = now >= self.next() && grant.next_after(now) < self.at;
        if given {
            due.again = Some(grant.next_due(self.next(), now)).filter(|again| *again < self.at);
        } else if now >= self.next() {
            // The clock is in the period before `at`: its grant was given when the clock was ahead.
            due.again = None;
        } else if grant.is_beyond(self.next(), now) {
            // Not the next turn but the one after: where two clocks differ by more than a period, only the one that is ahead
            // gives grants.
            due.again = Some(grant.second_after(now));
        }
        (given, due)
    }
}
