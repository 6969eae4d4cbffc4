//! The ends of charges: credits that are returned, costs above the charge, and the parts of leased blocks.

use super::draw::{Draws, Spill};
use super::{Change, Held, Model, find};
use crate::account::{ExpiredRefunds, Overage};
use crate::amount::{ChargeId, Credits};
use crate::clock::Timestamp;
use crate::credit::{BucketId, BucketKind, BucketTerms, EntryKind};

/// The end of a charge.
#[derive(Debug, Clone, Copy)]
pub(in crate::credit) struct Closing {
    pub(in crate::credit) id: ChargeId,
    pub(in crate::credit) cost: Credits,
    /// The kind of the entries of credits that are returned.
    pub(in crate::credit) kind: fn(ChargeId) -> EntryKind,
    pub(in crate::credit) overage: Overage,
    pub(in crate::credit) expired_refunds: ExpiredRefunds,
}

impl Closing {
    /// Returns the end of a charge that is refunded.
    pub(in crate::credit) fn refund(id: ChargeId) -> Self {
        let (overage, expired_refunds) = (Overage::default(), ExpiredRefunds::default());
        Self { id, cost: Credits::ZERO, kind: EntryKind::Refund, overage, expired_refunds }
    }
}

impl Model {
    /// Closes a charge at its cost. Credits are returned in the reverse order of drawing, so that the result is as if only
    /// the cost had been charged. A cost above the charge is drawn like a charge.
    pub(in crate::credit) fn close(
        &mut self,
        draws: Draws,
        closing: &Closing,
        write: &mut impl FnMut(Change),
    ) {
        let (amount, cost) = (draws.amount, closing.cost.get());
        let back = amount.saturating_sub(cost);
        if draws.is_spilled() || draws.is_of_nothing() {
            self.return_spills(draws, back, closing, write);
        } else {
            self.give_back(draws.first(), amount, back, closing, write);
        }
        if cost > amount || draws.has_budget() {
            self.correct(draws, back, closing, write);
        }
    }

    /// Closes a charge at its full amount, if it was drawn from the first bucket alone.
    ///
    /// Returns true if the charge is closed.
    #[inline]
    pub(in crate::credit) fn close_in_full(&mut self, draws: Draws) -> bool {
        let Some(held) = self.first_of(draws) else { return false };
        held.open = held.open.saturating_sub(draws.amount);
        let is_empty = held.left == 0;
        if is_empty {
            self.remove_if_empty(draws.first());
        }
        true
    }

    /// Closes a charge below its amount, if it was drawn from the first bucket alone and the rest can be returned there.
    /// `now` is asked only if a bucket starts or expires at some time.
    #[inline]
    pub(in crate::credit) fn return_to_first(
        &mut self,
        draws: Draws,
        cost: Credits,
        now: impl FnOnce() -> Timestamp,
        kind: impl FnOnce() -> EntryKind,
    ) -> Option<Change> {
        let back = draws.amount.checked_sub(cost.get())?;
        if self.unlimited || self.debt() > 0 {
            return None;
        }
        if self.has_deadlines() {
            let now = now();
            if now >= self.deadline() {
                return None;
            }
            self.seen = now;
        }
        let held = self.first_of(draws).filter(|held| !held.expired)?;
        held.open = held.open.saturating_sub(draws.amount);
        held.left += back;
        let (left, label) = (held.left, held.label.clone());
        self.balance += back;
        Some(self.change(kind(), label, back.cast_signed(), left))
    }

    /// Returns the first bucket, if a charge was drawn from it alone.
    #[inline]
    fn first_of(&mut self, draws: Draws) -> Option<&mut Held> {
        self.buckets.first_mut().filter(|held| draws.is_plain() && held.number == draws.first())
    }

    /// Returns the draws of a charge from several buckets.
    fn return_spills(&mut self, draws: Draws, back: u64, closing: &Closing, write: &mut impl FnMut(Change)) {
        if draws.is_of_nothing() {
            return;
        }
        let (mut first, mut back) = (draws.amount, back);
        while let Some(spill) = self.take_last_spill(closing.id) {
            first -= spill.amount;
            let now = back.min(spill.amount);
            back -= now;
            self.give_back(spill.bucket, spill.amount, now, closing, write);
        }
        self.give_back(draws.first(), first, back, closing, write);
    }

    fn take_last_spill(&mut self, id: ChargeId) -> Option<Spill> {
        let spills = &mut self.rest.as_mut()?.spills;
        let place = spills.iter().rposition(|spill| spill.id == id)?;
        Some(spills.remove(place))
    }

    /// Ends the draw of `drawn` credits from a bucket, of which `back` are returned.
    fn give_back(
        &mut self,
        number: u32,
        drawn: u64,
        back: u64,
        closing: &Closing,
        write: &mut impl FnMut(Change),
    ) {
        let Some(held) = find(&mut self.buckets, number) else { return };
        held.open = held.open.saturating_sub(drawn);
        let expired = held.expired;
        if back > 0 && !self.unlimited {
            if expired {
                self.return_to_expired(number, back, closing, write);
            } else {
                self.fill(number, back, (closing.kind)(closing.id), write);
            }
        }
        self.remove_if_empty(number);
    }

    #[cold]
    fn return_to_expired(
        &mut self,
        number: u32,
        back: u64,
        closing: &Closing,
        write: &mut impl FnMut(Change),
    ) {
        let kind = (closing.kind)(closing.id);
        if closing.expired_refunds == ExpiredRefunds::Keep {
            let returned = self.shared_bucket(&BucketId::Returned, BucketTerms::of(BucketKind::Refund), back);
            self.fill(returned, back, kind, write);
            return self.remove_if_empty(returned);
        }
        let Some(held) = find(&mut self.buckets, number) else { return };
        let (label, left) = (held.label.clone(), held.left);
        self.balance += back;
        self.tell(kind, label.clone(), back.cast_signed(), left + back, write);
        self.balance -= back;
        self.tell(EntryKind::Expired, label, -back.cast_signed(), left, write);
    }

    pub(super) fn next_number(&mut self) -> u32 {
        let rest = self.rest();
        let number = rest.next;
        rest.next = number.wrapping_add(1);
        number
    }

    /// Charges a cost above the charge, and corrects the key's budget.
    #[cold]
    fn correct(&mut self, draws: Draws, back: u64, closing: &Closing, write: &mut impl FnMut(Change)) {
        let more = closing.cost.get().saturating_sub(draws.amount);
        let charged =
            if self.unlimited || draws.is_of_nothing() { more } else { self.overdraw(more, closing, write) };
        if draws.has_budget() {
            self.rest().budgets.close(closing.id, back, charged);
        }
    }

    /// Takes a cost above the charge. Returns the amount that was taken or is owed.
    fn overdraw(&mut self, more: u64, closing: &Closing, write: &mut impl FnMut(Change)) -> u64 {
        let kind = EntryKind::Overage(closing.id);
        let taken = self.spend(more, &kind, write);
        let room = Credits::MAX.get().saturating_sub(self.debt());
        let owed = match closing.overage {
            Overage::Debt => (more - taken).min(room),
            Overage::Cap => 0,
        };
        if owed > 0 {
            self.owe(owed.cast_signed(), kind, write);
        }
        taken + owed
    }

    /// Changes the uncommitted part of leased blocks that was drawn from the main bucket.
    pub(in crate::credit) fn lend(&mut self, before: u64, after: u64) {
        let rest = self.rest();
        rest.lent = rest.lent.saturating_sub(before).saturating_add(after);
    }

    /// Returns the part of a block that was drawn from the main bucket and lies beyond its committed amount.
    pub(in crate::credit) fn main_part_beyond(&self, draws: Draws, id: ChargeId, committed: u64) -> u64 {
        let mut beyond = draws.amount.saturating_sub(committed);
        let mut first = draws.amount;
        let mut part = 0;
        let spills = self.rest.iter().flat_map(|rest| rest.spills.iter().rev());
        for spill in spills.filter(|spill| draws.is_spilled() && spill.id == id) {
            let now = beyond.min(spill.amount);
            first -= spill.amount;
            beyond -= now;
            if spill.bucket == super::MAIN {
                part += now;
            }
        }
        if draws.first() == super::MAIN { part + beyond.min(first) } else { part }
    }
}
