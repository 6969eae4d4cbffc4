//! What a balance comes to, wherever it is kept: when grants come due, what is held, and what a change by hand makes of it.

use crate::account::{Allowance, Grant};
use crate::amount::Credits;
use crate::clock::Timestamp;
use crate::credit::due::Due;
use crate::credit::{Adjusted, AdjustmentKind, Balance};

/// One account's balance, without its charges and entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    /// What is left; zero where there is no limit.
    pub(super) balance: Credits,
    pub(super) unlimited: bool,
    /// When the plan's grant is given next; unknown until a call names the grant.
    pub(super) due: Option<Due>,
    /// When the balance was opened by hand; a grant counts from there.
    pub(super) opened: Option<Timestamp>,
    /// The sum of what is open, blocks that nodes hold included.
    pub(super) held: Credits,
    /// What is out in blocks and not committed: it may come back.
    pub(super) lent: Credits,
    /// The time of the last call that named one.
    pub(super) seen: Timestamp,
}

impl Standing {
    /// Nothing, of an account that nothing is known of.
    pub(super) const fn new() -> Self {
        Self {
            balance: Credits::ZERO,
            unlimited: false,
            due: None,
            opened: None,
            held: Credits::ZERO,
            lent: Credits::ZERO,
            seen: Timestamp::from_millis(0),
        }
    }

    pub(super) fn balance(&self) -> Balance {
        if self.unlimited { Balance::Unlimited } else { Balance::Limited(self.balance) }
    }

    /// The balance at a moment, a grant that has come due counted in.
    pub(super) fn balance_at(&self, allowance: &Allowance, now: Timestamp) -> Balance {
        match (self.balance(), allowance) {
            (_, Allowance::Unlimited) => Balance::Unlimited,
            (Balance::Limited(_), Allowance::Grant(grant)) if self.turn(grant, now).0 => {
                Balance::Limited(self.granted(grant))
            }
            (balance, _) => balance,
        }
    }

    /// Notes the time of a call; says what a grant that has come due raises the balance to.
    #[inline]
    pub(super) fn call(&mut self, allowance: &Allowance, now: Timestamp) -> Option<Credits> {
        self.seen = now;
        let Allowance::Grant(grant) = allowance else { return None };
        if self.due.is_some_and(|due| due.is_to_come(grant, now)) {
            return None;
        }
        let (given, due) = self.turn(grant, now);
        self.due = Some(due);
        let granted = self.granted(grant);
        (given && !self.unlimited && granted != self.balance).then_some(granted)
    }

    /// Moves the balance; says by how much.
    #[inline]
    pub(super) fn move_to(&mut self, balance: Credits) -> i64 {
        let amount = balance.get().cast_signed() - self.balance.get().cast_signed();
        self.balance = balance;
        amount
    }

    /// Holds the amount of a charge that was taken.
    #[inline]
    pub(super) fn hold(&mut self, amount: Credits) {
        self.held = self.held.checked_add(amount).unwrap_or(Credits::MAX);
    }

    /// Holds a charge no longer; says what the balance is with what its cost has left.
    #[inline]
    pub(super) fn release(&mut self, taken: Credits, cost: Credits) -> Credits {
        self.held = self.held.checked_sub(taken).unwrap_or_default();
        let back = taken.checked_sub(cost).unwrap_or_default();
        if self.unlimited { self.balance } else { self.balance.checked_add(back).unwrap_or(Credits::MAX) }
    }

    /// Notes what is out in a block and not committed.
    #[cfg(any(feature = "fleet", feature = "sqlite"))]
    pub(super) fn lend(&mut self, uncommitted: Credits) {
        self.lent = self.lent.checked_add(uncommitted).unwrap_or(Credits::MAX);
    }

    /// Notes that so much is no longer out.
    #[cfg(any(feature = "fleet", feature = "sqlite"))]
    pub(super) fn take_in(&mut self, uncommitted: Credits) {
        self.lent = self.lent.checked_sub(uncommitted).unwrap_or_default();
    }

    /// What an adjustment makes of the balance. Open charges may come back: they need room too.
    pub(super) fn decide(&self, kind: AdjustmentKind) -> Result<Balance, Adjusted> {
        let balance = self.balance;
        let with_room = |sum: Option<Credits>| {
            let fits = sum.filter(|sum| sum.checked_add(self.held).is_some());
            fits.map(Balance::Limited).ok_or(Adjusted::TooMuch { balance })
        };
        match kind {
            AdjustmentKind::MakeUnlimited => Ok(Balance::Unlimited),
            AdjustmentKind::Set(amount) => with_room(Some(amount)),
            _ if self.unlimited => Err(Adjusted::Unlimited),
            AdjustmentKind::TopUp(amount) => with_room(balance.checked_add(amount)),
            AdjustmentKind::Deduct(amount) => {
                let rest = balance.checked_sub(amount).map(Balance::Limited);
                rest.ok_or(Adjusted::Insufficient { balance })
            }
        }
    }

    /// Whether a grant has come due, and when it does next.
    fn turn(&self, grant: &Grant, now: Timestamp) -> (bool, Due) {
        match (self.due, self.opened) {
            (Some(due), _) => due.turn(grant, now),
            (None, Some(opened)) => Due::new(grant, grant.next_after(opened)).turn(grant, now),
            (None, None) => (true, Due::new(grant, grant.next_after(now))),
        }
    }

    /// What a grant raises the balance to, with room for what is open.
    fn granted(&self, grant: &Grant) -> Credits {
        let room = Credits::MAX.checked_sub(self.held).unwrap_or_default();
        // What may come back from a node is in the amount: it does not pile up.
        let amount = grant.amount().checked_sub(self.lent).unwrap_or_default();
        self.balance.max(amount.min(room))
    }
}
