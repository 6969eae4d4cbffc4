//! Draws from buckets: charges, deductions, and costs above the charge.

use super::{Change, Held, Model};
use crate::amount::{ChargeId, Credits};
use crate::credit::model::budget::OverBudget;
use crate::credit::{BudgetDraw, EntryKind};

/// The draws of an open charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::credit) struct Draws {
    /// The charged amount.
    pub(in crate::credit) amount: u64,
    /// The number of the first bucket.
    bucket: u32,
    source: Source,
    /// True if the charge was also drawn from a budget, which has a [`BudgetShare`] for it.
    has_budget: bool,
}

/// The origin of a charge's credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// No bucket: the account has no limit.
    Nothing,
    /// One bucket.
    One,
    /// Several buckets: the draws after the first one are [`Spill`]s.
    Several,
}

/// A draw of a charge from a bucket after its first one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spill {
    pub(super) id: ChargeId,
    pub(super) bucket: u32,
    pub(super) amount: u64,
}

impl Draws {
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
    pub(super) fn of_one(amount: u64, bucket: u32, has_budget: bool) -> Self {
        Self { amount, bucket, source: Source::One, has_budget }
    }

    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
    pub(super) fn of_several(amount: u64, bucket: u32, has_budget: bool) -> Self {
        Self { amount, bucket, source: Source::Several, has_budget }
    }

    pub(super) fn is_spilled(&self) -> bool {
        self.source == Source::Several
    }

    /// Returns true if nothing was taken from a bucket, because the account had no limit.
    pub(super) fn is_of_nothing(&self) -> bool {
        self.source == Source::Nothing
    }

    pub(super) fn first(&self) -> u32 {
        self.bucket
    }

    pub(super) fn has_budget(&self) -> bool {
        self.has_budget
    }

    /// Returns true for a charge that was drawn from one bucket and from no budget.
    pub(super) fn is_plain(&self) -> bool {
        self.source == Source::One && !self.has_budget
    }
}

impl Model {
    /// Takes the amount of a charge out of a key's budget.
    pub(in crate::credit) fn draw_budget(
        &mut self,
        id: ChargeId,
        draw: &BudgetDraw<'_>,
        amount: Credits,
    ) -> Result<(), OverBudget> {
        let now = self.seen;
        self.rest().budgets.draw(id, draw, amount.get(), now)
    }

    /// Returns the draws of a charge to an account without limit, which has a budget.
    pub(in crate::credit) fn charge_nothing(amount: Credits) -> Draws {
        Draws { amount: amount.get(), bucket: super::MAIN, source: Source::Nothing, has_budget: true }
    }

    /// Takes a charge from the first bucket alone, if it suffices. Most charges are taken so.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the change would be copied")]
    pub(in crate::credit) fn charge_first(
        &mut self,
        id: ChargeId,
        amount: Credits,
        has_budget: bool,
    ) -> Option<(Draws, Change)> {
        let amount = amount.get();
        let held = self.buckets.first_mut().filter(|held| held.left >= amount)?;
        held.left -= amount;
        held.open += amount;
        self.balance -= amount;
        let draws = Draws { amount, bucket: held.number, source: Source::One, has_budget };
        let (left, label) = (held.left, held.label.clone());
        Some((draws, self.change(EntryKind::Charge(id), label, -amount.cast_signed(), left)))
    }

    /// Takes a charge. The balance must cover it. `has_budget` tells that it was drawn from a budget before.
    pub(in crate::credit) fn charge(
        &mut self,
        id: ChargeId,
        amount: Credits,
        has_budget: bool,
        write: &mut impl FnMut(Change),
    ) -> Draws {
        let amount = amount.get();
        // A charge of nothing is one of the main bucket, so that a cost above it is taken.
        let source = if amount == 0 { Source::One } else { Source::Nothing };
        let mut draws = Draws { amount, bucket: super::MAIN, source, has_budget };
        let mut rest = amount;
        let mut place = 0;
        while rest > 0
            && let Some(held) = self.buckets.get_mut(place)
        {
            place += 1;
            let taken = held.left.min(rest);
            if taken == 0 {
                continue;
            }
            held.left -= taken;
            held.open += taken;
            rest -= taken;
            self.balance -= taken;
            let (left, label, bucket) = (held.left, held.label.clone(), held.number);
            if draws.source == Source::Nothing {
                (draws.bucket, draws.source) = (bucket, Source::One);
            } else {
                draws.source = Source::Several;
                self.rest().spills.push(Spill { id, bucket, amount: taken });
            }
            self.tell(EntryKind::Charge(id), label, -taken.cast_signed(), left, write);
        }
        draws
    }

    /// Takes an amount out of the buckets in the order of drawing, without a charge. Returns the amount that was there.
    pub(super) fn spend(&mut self, amount: u64, kind: &EntryKind, write: &mut impl FnMut(Change)) -> u64 {
        let (mut rest, mut place) = (amount, 0);
        while rest > 0
            && let Some(number) = self.buckets.get(place).map(|held: &Held| held.number)
        {
            rest -= self.withdraw(number, rest, kind.clone(), write);
            let count = self.buckets.len();
            self.remove_if_empty(number);
            // A bucket that was removed leaves its place to the next one.
            place += 1 + self.buckets.len() - count;
        }
        amount - rest
    }
}
