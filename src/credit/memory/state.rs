//! The credits of one account in one currency, and the operations on them.
//!
//! Each call runs under the account's lock.

use std::sync::Arc;

use super::history::{Adjustments, History};
use super::lease::Block;
use crate::account::{Allowance, BudgetStatus};
use crate::amount::{ChargeId, Credits, Currency};
use crate::clock::{Clock, Timestamp};
use crate::credit::model::{Change, Closing, Draws, Model, OverBudget};
use crate::credit::open::OpenCharges;
use crate::credit::{
    Adjusted, Adjustment, AdjustmentKind, Balance, Bucket, BudgetDraw, Charge, Charged, Entry, EntryKind,
    Refund, Settlement,
};

#[derive(Debug)]
// The fields that every request reads come first, next to each other in memory.
#[repr(C)]
pub(crate) struct State {
    journal: Journal,
    /// The parts that few accounts have.
    more: Option<Box<More>>,
    pub(super) open: OpenCharges<Draws>,
    pub(super) model: Model,
}

/// The parts of the credits that few accounts have.
#[derive(Debug, Default)]
struct More {
    /// The blocks that are leased to nodes.
    blocks: Vec<Block>,
    adjustments: Adjustments,
    /// The credits in other currencies than the default one.
    others: Vec<(Currency, State)>,
}

/// The writer of an account's entries.
#[derive(Debug)]
struct Journal {
    /// The number of the account in its ledger, or [`ERASED`].
    account: u64,
    /// The number of the account's last entry.
    last: u64,
    history: Arc<History>,
}

/// The number of an account whose credits were removed permanently.
const ERASED: u64 = u64::MAX;

impl Journal {
    fn new(history: Arc<History>) -> Self {
        Self { account: history.new_account(), last: 0, history }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the change would be copied")]
    fn append(&mut self, change: Change) {
        self.last += 1;
        self.history.write(self.account, self.last, change);
    }

    /// Appends an entry where few calls do.
    #[inline(never)]
    fn write(&mut self, change: Change) {
        self.append(change);
    }
}

impl State {
    pub(super) fn new(history: Arc<History>) -> Self {
        Self::of_journal(Journal::new(history))
    }

    fn of_journal(journal: Journal) -> Self {
        Self { journal, more: None, open: OpenCharges::default(), model: Model::new() }
    }

    /// Returns the credits in a currency, which are created if there are none.
    #[inline]
    pub(super) fn of(&mut self, currency: &Currency) -> &mut Self {
        if currency.is_default() { self } else { self.of_other(currency) }
    }

    #[cold]
    fn of_other(&mut self, currency: &Currency) -> &mut Self {
        let others = &mut self.more.get_or_insert_default().others;
        let found = others.iter().position(|(other, _)| other == currency);
        let place = found.unwrap_or_else(|| {
            others.push((currency.clone(), Self::new(Arc::clone(&self.journal.history))));
            others.len() - 1
        });
        &mut others[place].1
    }

    /// Returns the credits in a currency, if there are any.
    pub(super) fn known(&self, currency: &Currency) -> Option<&Self> {
        if currency.is_default() {
            return Some(self);
        }
        let mut others = self.more.iter().flat_map(|more| &more.others);
        others.find(|(other, _)| other == currency).map(|(_, state)| state)
    }

    /// Returns the credits in a currency to close a charge, if there are any.
    #[inline]
    pub(super) fn known_mut(&mut self, currency: &Currency) -> Option<&mut Self> {
        if currency.is_default() { Some(self) } else { self.known_other(currency) }
    }

    #[cold]
    fn known_other(&mut self, currency: &Currency) -> Option<&mut Self> {
        let mut others = self.more.iter_mut().flat_map(|more| &mut more.others);
        others.find(|(other, _)| other == currency).map(|(_, state)| state)
    }

    /// Runs `work` on the credits in every currency, and returns the sum.
    pub(super) fn sum_over_all(&mut self, work: impl Fn(&mut Self) -> u64) -> u64 {
        let others = self.more.iter_mut().flat_map(|more| &mut more.others);
        let sum: u64 = others.map(|(_, other)| work(other)).sum();
        work(self) + sum
    }

    /// Returns the blocks that are leased to nodes.
    pub(super) fn blocks(&self) -> &[Block] {
        self.more.as_ref().map_or(&[], |more| &more.blocks)
    }

    /// Returns the blocks that are leased to nodes, to change them.
    pub(super) fn blocks_mut(&mut self) -> &mut Vec<Block> {
        &mut self.more.get_or_insert_default().blocks
    }

    /// Returns true if the credits were removed permanently: a caller that still points here must look the account up
    /// again.
    #[inline]
    pub(super) fn is_erased(&self) -> bool {
        self.journal.account == ERASED
    }

    /// Removes the credits and the entries permanently.
    pub(super) fn erase(&mut self) {
        let history = Arc::clone(&self.journal.history);
        history.erase(self.journal.account);
        for (_, other) in self.more.iter().flat_map(|more| &more.others) {
            history.erase(other.journal.account);
        }
        *self = Self::of_journal(Journal { account: ERASED, last: 0, history });
    }

    /// Returns the account's entries, newest first.
    pub(super) fn newest(&self, before: Option<u64>, limit: usize) -> Vec<Entry> {
        self.journal.history.newest(self.journal.account, before, limit)
    }

    pub(super) fn balance(&self) -> Balance {
        self.model.balance()
    }

    pub(super) fn open_charges(&self) -> usize {
        self.open.len()
    }

    /// Returns the balance at a given time, including all that is due.
    pub(super) fn balance_at(&self, allowance: &Allowance, now: Timestamp) -> Balance {
        self.model.balance_at(allowance, now)
    }

    /// Returns the buckets at a given time, including all that is due.
    pub(super) fn budget_at(&self, draw: &BudgetDraw<'_>, now: Timestamp) -> BudgetStatus {
        self.model.budget_at(draw, now)
    }

    pub(super) fn buckets_at(&self, allowance: &Allowance, now: Timestamp) -> Vec<Bucket> {
        self.model.buckets_at(allowance, now)
    }

    /// Sets the balance as of a given time.
    pub(super) fn open_with(&mut self, balance: Credits, now: Timestamp) {
        self.recall();
        self.model.open_with(balance, now, &mut |change| self.journal.write(change));
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "its answer would be copied, and the copy wait for it")]
    pub(super) fn charge(&mut self, charge: &Charge<'_>) -> Charged {
        self.model.call(charge.allowance, charge.now.wall(), &mut |change| self.journal.write(change));
        if self.model.is_unlimited() {
            return self.charge_nothing(charge);
        }
        let balance = self.model.credits();
        if self.more.is_some() && self.has_block(charge.id) {
            return Charged::Posted { balance: Some(balance) };
        }
        if self.open.contains(charge.id) {
            return Charged::Posted { balance: Some(balance) };
        }
        let Some(rest) = balance.checked_sub(charge.amount) else {
            return Charged::Insufficient { balance };
        };
        if let Some(draw) = &charge.budget
            && let Err(refused) = self.model.draw_budget(charge.id, draw, charge.amount)
        {
            return over(refused);
        }
        let has_budget = charge.budget.is_some();
        let draws = match self.model.charge_first(charge.id, charge.amount, has_budget) {
            Some((draws, taken)) => {
                self.journal.append(taken);
                draws
            }
            None => self.charge_several(charge),
        };
        self.open.add(charge.id, draws);
        Charged::Posted { balance: Some(rest) }
    }

    #[inline(never)]
    fn charge_several(&mut self, charge: &Charge<'_>) -> Draws {
        let (journal, has_budget) = (&mut self.journal, charge.budget.is_some());
        self.model.charge(charge.id, charge.amount, has_budget, &mut |change| journal.write(change))
    }

    /// Charges an account without limit: only a budget is drawn from.
    #[cold]
    fn charge_nothing(&mut self, charge: &Charge<'_>) -> Charged {
        let posted = Charged::Posted { balance: None };
        let Some(draw) = &charge.budget else { return posted };
        if self.open.contains(charge.id) {
            return posted;
        }
        if let Err(refused) = self.model.draw_budget(charge.id, draw, charge.amount) {
            return over(refused);
        }
        self.open.add(charge.id, Model::charge_nothing(charge.amount));
        posted
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "nearly every charge is settled")]
    pub(super) fn settle(&mut self, settlement: &Settlement<'_>) {
        let Some(state) = self.known_mut(settlement.currency) else { return };
        let Some(draws) = state.open.take_first(settlement.id) else { return state.settle_other(settlement) };
        let (cost, clock) = (settlement.cost, settlement.clock);
        if !state.close_first(draws, settlement.id, cost, clock, EntryKind::Settlement) {
            state.settle_draws(draws, settlement);
        }
    }

    /// Settles a charge while others are open.
    #[inline(never)]
    fn settle_other(&mut self, settlement: &Settlement<'_>) {
        let Some(draws) = self.take(settlement.id) else { return };
        let (cost, clock) = (settlement.cost, settlement.clock);
        if !self.close_first(draws, settlement.id, cost, clock, EntryKind::Settlement) {
            self.settle_draws(draws, settlement);
        }
    }

    /// Closes a charge at most at its amount, if it was drawn from the first bucket alone and the time does not matter.
    /// Most charges are closed so.
    ///
    /// Returns true if the charge is closed.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the change would be copied")]
    fn close_first(
        &mut self,
        draws: Draws,
        id: ChargeId,
        cost: Credits,
        clock: &dyn Clock,
        kind: fn(ChargeId) -> EntryKind,
    ) -> bool {
        if cost.get() == draws.amount {
            return self.model.close_in_full(draws);
        }
        let change = self.model.return_to_first(draws, cost, || clock.now().wall(), || kind(id));
        let is_closed = change.is_some();
        if let Some(change) = change {
            self.journal.append(change);
        }
        is_closed
    }

    fn settle_draws(&mut self, draws: Draws, settlement: &Settlement<'_>) {
        if settlement.cost.get() > draws.amount {
            self.call(settlement.allowance, settlement.clock.now().wall());
        } else if self.model.has_deadlines() {
            self.pass(settlement.clock.now().wall());
        }
        let closing = Closing {
            id: settlement.id,
            cost: settlement.cost,
            kind: EntryKind::Settlement,
            overage: settlement.overage,
            expired_refunds: settlement.expired_refunds,
        };
        self.close(draws, &closing);
    }

    #[inline]
    pub(super) fn refund(&mut self, refund: &Refund<'_>) {
        let Some(state) = self.known_mut(refund.currency) else { return };
        let Some(draws) = state.take(refund.id) else { return };
        if !state.close_first(draws, refund.id, Credits::ZERO, refund.clock, EntryKind::Refund) {
            state.refund_draws(draws, refund);
        }
    }

    fn refund_draws(&mut self, draws: Draws, refund: &Refund<'_>) {
        if self.model.has_deadlines() {
            self.pass(refund.clock.now().wall());
        }
        let closing = Closing { expired_refunds: refund.expired_refunds, ..Closing::refund(refund.id) };
        self.close(draws, &closing);
    }

    /// Removes an open charge or a block.
    #[inline]
    fn take(&mut self, id: ChargeId) -> Option<Draws> {
        self.open.take(id).or_else(|| self.take_block(id))
    }

    pub(super) fn close(&mut self, draws: Draws, closing: &Closing) {
        self.model.close(draws, closing, &mut |change| self.journal.write(change));
    }

    pub(super) fn adjust(&mut self, asked: &Adjustment<'_>) -> Adjusted {
        match self.more.as_ref().and_then(|more| more.adjustments.made(&asked.id)) {
            Some((made, balance)) if *made == asked.kind => return Adjusted::Repeated { balance },
            Some((made, _)) => return Adjusted::Conflict { made: made.clone() },
            None => {}
        }
        self.call(asked.allowance, asked.now);
        if matches!(asked.kind, AdjustmentKind::Set(_)) {
            self.recall();
        }
        let journal = &mut self.journal;
        let write = &mut |change| journal.write(change);
        let adjusted = self.model.adjust(&asked.kind, &asked.id, asked.allowance, write);
        if let Adjusted::Done { balance, .. } = &adjusted {
            let adjustments = &mut self.more.get_or_insert_default().adjustments;
            adjustments.remember(&asked.id, &asked.kind, *balance);
        }
        adjusted
    }

    /// Records the time of a call, and makes the changes that are due.
    pub(super) fn call(&mut self, allowance: &Allowance, now: Timestamp) {
        self.model.call(allowance, now, &mut |change| self.journal.write(change));
    }

    #[cold]
    fn pass(&mut self, now: Timestamp) {
        self.model.pass(now, &mut |change| self.journal.write(change));
    }
}

fn over(refused: OverBudget) -> Charged {
    Charged::OverBudget { left: Credits::new(refused.left), resets: refused.resets }
}
