//! The arithmetic of a balance, independent of where it is stored: due grants, the sum of the open charges, and manual
//! changes.

use crate::account::{Allowance, Grant};
use crate::amount::Credits;
use crate::clock::Timestamp;
use crate::credit::due::Due;
use crate::credit::{Adjusted, AdjustmentKind, Balance};

/// One account's balance, without its charges and entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BalanceState {
    /// The remaining amount; zero if there is no limit.
    pub(super) balance: Credits,
    pub(super) unlimited: bool,
    /// The time of the plan's next grant; `None` until a call names the grant.
    pub(super) due: Option<Due>,
    /// The time when the balance was set manually; grant periods count from there.
    pub(super) opened: Option<Timestamp>,
    /// The sum of the open charges, including leased blocks.
    pub(super) held: Credits,
    /// The uncommitted amount of the leased blocks, which may be returned.
    pub(super) lent: Credits,
    /// The time of the last call that carried one.
    pub(super) seen: Timestamp,
}

impl BalanceState {
    /// Creates the balance of an unknown account: zero.
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

    /// Returns the balance at a given time, including a grant that is due.
    pub(super) fn balance_at(&self, allowance: &Allowance, now: Timestamp) -> Balance {
        match (self.balance(), allowance) {
            (_, Allowance::Unlimited) => Balance::Unlimited,
            (Balance::Limited(_), Allowance::Grant(grant)) if self.turn(grant, now).0 => {
                Balance::Limited(self.granted(grant))
            }
            (balance, _) => balance,
        }
    }

    /// Records the time of a call.
    ///
    /// Returns the amount that a due grant raises the balance to, or `None` if the balance does not change.
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

    /// Changes the balance, and returns the difference.
    #[inline]
    pub(super) fn move_to(&mut self, balance: Credits) -> i64 {
        let amount = balance.get().cast_signed() - self.balance.get().cast_signed();
        self.balance = balance;
        amount
    }

    /// Adds the amount of a new charge to the sum of the open charges.
    #[inline]
    pub(super) fn hold(&mut self, amount: Credits) {
        self.held = self.held.checked_add(amount).unwrap_or(Credits::MAX);
    }

    /// Subtracts a charge from the sum of the open charges.
    ///
    /// Returns the balance after the difference between the charge and its cost is returned to it.
    #[inline]
    pub(super) fn release(&mut self, taken: Credits, cost: Credits) -> Credits {
        self.held = self.held.checked_sub(taken).unwrap_or_default();
        let back = taken.checked_sub(cost).unwrap_or_default();
        if self.unlimited { self.balance } else { self.balance.checked_add(back).unwrap_or(Credits::MAX) }
    }

    /// Adds the uncommitted amount of a block.
    pub(super) fn lend(&mut self, uncommitted: Credits) {
        self.lent = self.lent.checked_add(uncommitted).unwrap_or(Credits::MAX);
    }

    /// Subtracts the uncommitted amount of a block.
    pub(super) fn take_in(&mut self, uncommitted: Credits) {
        self.lent = self.lent.checked_sub(uncommitted).unwrap_or_default();
    }

    /// Returns the balance after an adjustment.
    ///
    /// Open charges may be returned, so they need room below the maximum too.
    pub(super) fn decide(&self, kind: &AdjustmentKind) -> Result<Balance, Adjusted> {
        let balance = self.balance;
        let with_room = |sum: Option<Credits>| {
            let fits = sum.filter(|sum| sum.checked_add(self.held).is_some());
            fits.map(Balance::Limited).ok_or(Adjusted::TooMuch { balance })
        };
        match kind {
            AdjustmentKind::MakeUnlimited => Ok(Balance::Unlimited),
            AdjustmentKind::Set(amount) => with_room(Some(*amount)),
            _ if self.unlimited => Err(Adjusted::Unlimited),
            AdjustmentKind::TopUp(amount) => with_room(balance.checked_add(*amount)),
            AdjustmentKind::Deduct(amount) => {
                let rest = balance.checked_sub(*amount).map(Balance::Limited);
                rest.ok_or(Adjusted::Insufficient { balance })
            }
            // The ledger has refused these adjustments: see `one_bucket`.
            AdjustmentKind::TopUpInto { .. } | AdjustmentKind::Expire(_) | AdjustmentKind::Move { .. } => {
                Err(Adjusted::UnknownBucket)
            }
        }
    }

    /// Returns true if a grant is due, and the time of the next grant.
    fn turn(&self, grant: &Grant, now: Timestamp) -> (bool, Due) {
        match (self.due, self.opened) {
            (Some(due), _) => due.turn(grant, now),
            (None, Some(opened)) => Due::new(grant, grant.next_after(opened)).turn(grant, now),
            (None, None) => (true, Due::new(grant, grant.next_after(now))),
        }
    }

    /// Returns the amount that a grant raises the balance to.
    ///
    /// It leaves room for the open charges below the maximum.
    fn granted(&self, grant: &Grant) -> Credits {
        let room = Credits::MAX.checked_sub(self.held).unwrap_or_default();
        // Uncommitted credits may be returned, so they count as part of the grant: the sum must not exceed it.
        let amount = grant.amount().checked_sub(self.lent).unwrap_or_default();
        self.balance.max(amount.min(room))
    }
}
