//! The leased credits of one account on this node.
//!
//! Each call runs under the account's lock, and none of them waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::LeaseTerms;
use crate::account::{Account, Allowance};
use crate::amount::{ChargeId, Credits};
use crate::clock::Now;
use crate::credit::Charge;
use crate::credit::open::OpenCharges;

/// The blocks of one account, and the charges that are open in them.
#[derive(Debug)]
pub(crate) struct LeasedBalance {
    /// A copy of the account for calls to the authority, which uses only its id.
    pub(super) account: Account,
    state: Mutex<State>,
    /// Notifies waiters when a round trip is done.
    pub(super) trips: Arc<Notify>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) blocks: Vec<Block>,
    /// Blocks that were requested and whose answer was lost, with the amount that was to be committed of each. They may
    /// have been taken and must be returned.
    pub(super) unanswered: Vec<(ChargeId, u64)>,
    open: OpenCharges<Open>,
    /// The allowance of the account's plan, as of the last charge.
    pub(super) allowance: Allowance,
    /// The balance at the authority, as of its last answer.
    pub(super) balance: u64,
    /// This node's share of that balance.
    share: u64,
    /// The cost of the last request that was sent to the authority.
    pub(super) cost: u64,
    demand: Demand,
    /// True if a request that no block covered has come since the last round trip.
    uncovered: bool,
    /// The number of returned blocks.
    pub(super) returned: u64,
    used_at: Option<Duration>,
    trip_at: Option<Duration>,
    /// True if background work for this account is in progress.
    pub(super) under_maintenance: bool,
    /// The time until which nothing more is leased, because the authority has just failed.
    pub(super) paused_until: Duration,
}

/// The amounts to take at once and to commit ahead, as learned from the demand so far.
///
/// The unit is one request of the last cost.
#[derive(Debug, Clone, Copy)]
struct Demand {
    block: u64,
    ahead: u64,
}

impl Demand {
    const FIRST: Self = Self { block: 64, ahead: 4 };
}

/// The interval below which two round trips count as too close: each brings too little.
const SOON: Duration = Duration::from_millis(20);

/// A block of credits: `used <= committed <= asked <= amount`.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) id: ChargeId,
    pub(super) amount: u64,
    pub(super) committed: u64,
    /// The amount that the authority was asked to commit. It may have been committed even if the answer was lost.
    pub(super) asked: u64,
    /// The sum of the spent credits and of the open charges.
    pub(super) used: u64,
    /// The number of open charges.
    pub(super) open: usize,
    pub(super) ends_at: Duration,
    /// True if the block is being returned: nothing more is spent from it.
    pub(super) ended: bool,
}

/// An open charge, taken from a block or made at the authority.
#[derive(Debug, Clone, Copy)]
struct Open {
    amount: u64,
    block: Option<ChargeId>,
}

/// The outcome of a charge in process.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spent {
    /// The charge was made; `balance` is the remaining amount as far as it is known. If `low` is true, it is time to
    /// commit or to take more.
    Here { balance: Credits, low: bool },
    /// The charge must be made at the authority.
    Elsewhere,
}

/// The outcome of a settlement or a refund in process.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// The charge was closed. If `last` is true, its block may be finished too.
    Here { last: bool },
    /// The charge was closed. The rest of its cost, which its block does not cover, must be charged at the authority.
    Beyond { rest: Credits },
    /// The charge must be closed at the authority.
    Elsewhere,
}

impl Closed {
    fn beyond(rest: u64, last: bool) -> Self {
        // A finished block is also returned by the task that returns old blocks.
        if rest > 0 { Self::Beyond { rest: Credits::new(rest) } } else { Self::Here { last } }
    }
}

impl LeasedBalance {
    pub(super) fn of(account: &Account) -> Self {
        let state = State {
            blocks: Vec::new(),
            unanswered: Vec::new(),
            open: OpenCharges::default(),
            allowance: Allowance::None,
            balance: 0,
            share: 0,
            cost: 1,
            demand: Demand::FIRST,
            uncovered: false,
            returned: 0,
            used_at: None,
            trip_at: None,
            under_maintenance: false,
            paused_until: Duration::ZERO,
        };
        let account = Account::new(account.id.clone(), account.plan.clone());
        Self { account, state: Mutex::new(state), trips: Arc::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a future that resolves at the end of the next round trip, or `None` if no work is in progress.
    pub(super) fn next_trip(&self) -> Option<OwnedNotified> {
        let state = self.lock();
        state.under_maintenance.then(|| Arc::clone(&self.trips).notified_owned())
    }
}

impl Block {
    pub(super) fn unspent(&self) -> u64 {
        if self.ended { 0 } else { self.amount - self.used }
    }

    /// Returns the amount that may be spent without asking the authority.
    fn ready(&self) -> u64 {
        if self.ended { 0 } else { self.committed - self.used }
    }
}

impl State {
    /// Returns the unspent amount of all blocks that are in use.
    pub(super) fn unspent(&self) -> u64 {
        self.blocks.iter().map(Block::unspent).sum()
    }

    /// Returns the unspent amount of all blocks, including those that are being returned.
    pub(super) fn unreturned(&self) -> u64 {
        self.blocks.iter().map(|block| block.amount - block.used).sum()
    }

    /// Returns the amount that would be lost if the node crashed now: the amount that the authority may count as spent
    /// and that is not spent.
    pub(super) fn lost_on_crash(&self) -> u64 {
        let unanswered: u64 = self.unanswered.iter().map(|(_, asked)| asked).sum();
        self.blocks.iter().map(|block| block.asked - block.used).sum::<u64>() + unanswered
    }

    /// Records the balance at the authority, and ends blocks until the rest fits this node's share of it.
    ///
    /// Blocks without open charges are ended first. Returns true if any block was ended.
    pub(super) fn record_balance(&mut self, balance: Credits, terms: &LeaseTerms) -> bool {
        (self.balance, self.share) = (balance.get(), terms.share_of(balance).get());
        let (share, mut rest, mut ended) = (self.share, self.unspent(), false);
        for with_open in [false, true] {
            for block in &mut self.blocks {
                if rest > share && !block.ended && with_open == (block.open > 0) {
                    rest -= block.unspent();
                    block.ended = true;
                    ended = true;
                }
            }
        }
        ended
    }

    /// Charges an amount to a block that covers it.
    pub(super) fn spend(&mut self, id: ChargeId, amount: Credits, now: Now) -> Spent {
        let (amount, elapsed) = (amount.get(), now.elapsed());
        let covers = |block: &&mut Block| block.ready() >= amount && elapsed < block.ends_at;
        if let Some(open) = self.open.get(id) {
            // A charge that is repeated while it is open is made once.
            return if open.block.is_some() { self.spent() } else { Spent::Elsewhere };
        }
        let Some(block) = self.blocks.iter_mut().find(covers) else { return Spent::Elsewhere };
        block.used += amount;
        block.open += 1;
        self.open.add(id, Open { amount, block: Some(block.id) });
        self.used_at = Some(elapsed);
        self.spent()
    }

    fn spent(&self) -> Spent {
        let balance = Credits::new(self.balance.saturating_add(self.unspent()));
        Spent::Here { balance, low: !self.under_maintenance && self.is_low() }
    }

    /// Returns the amount to commit ahead, limited to this node's share.
    pub(super) fn amount_to_commit(&self) -> u64 {
        self.demand.ahead.saturating_mul(self.cost).min(self.share.max(self.cost))
    }

    /// Returns the amount to take at once.
    pub(super) fn amount_to_take(&self) -> u64 {
        self.demand.block.saturating_mul(self.cost)
    }

    /// Returns true if it is time to commit or to take more.
    pub(super) fn is_low(&self) -> bool {
        let ready: u64 = self.blocks.iter().map(Block::ready).sum();
        ready < self.amount_to_commit().div_ceil(2)
    }

    /// Records a charge that goes to the authority.
    ///
    /// Returns true if the account was used shortly before, within the terms' `idle`.
    pub(super) fn record_direct_charge(&mut self, charge: &Charge<'_>, terms: &LeaseTerms) -> bool {
        let Charge { id, amount, allowance, now, .. } = *charge;
        self.open.take(id);
        self.open.add(id, Open { amount: amount.get(), block: None });
        if self.cost != amount.get() {
            self.cost = amount.get().max(1);
            self.limit_demand(terms);
        }
        self.record_allowance(allowance);
        self.uncovered = true;
        let before = self.used_at.replace(now.elapsed());
        before.is_some_and(|before| now.elapsed().saturating_sub(before) < terms.idle)
    }

    /// Records the current allowance of the account's plan.
    pub(super) fn record_allowance(&mut self, allowance: &Allowance) {
        if self.allowance != *allowance {
            self.allowance = allowance.clone();
        }
    }

    /// Increases the demand after a round trip that came too late or too soon after the previous one.
    pub(super) fn raise_demand(&mut self, now: Now, terms: &LeaseTerms) {
        let soon = now.elapsed() < self.trip_at.replace(now.elapsed()).map_or(Duration::ZERO, |at| at + SOON);
        if std::mem::take(&mut self.uncovered) || soon {
            self.demand.ahead = self.demand.ahead.saturating_mul(2);
            self.demand.block = self.demand.block.saturating_mul(2);
            self.limit_demand(terms);
        }
    }

    fn limit_demand(&mut self, terms: &LeaseTerms) {
        // Reserve the cost of one request: the last resort of a request commits that much in addition.
        let most = (terms.headroom.get() / self.cost).saturating_sub(1);
        self.demand.ahead = self.demand.ahead.min(most).max(1);
        self.demand.block = self.demand.block.min(terms.block.get() / self.cost).max(1);
    }

    /// Returns a future for the round trip in progress, if there is one, since it may bring the credits that a request
    /// needs.
    pub(super) fn trip_in_progress(&mut self, leased_balance: &LeasedBalance) -> Option<OwnedNotified> {
        if !self.under_maintenance {
            return None;
        }
        self.uncovered = true;
        Some(Arc::clone(&leased_balance.trips).notified_owned())
    }

    /// Removes a charge that the authority has rejected.
    pub(super) fn remove_charge(&mut self, id: ChargeId) {
        self.open.take(id);
    }

    /// Closes a charge at its cost. The difference is returned to its block, or taken out of it as far as it is committed.
    pub(super) fn close(&mut self, id: ChargeId, cost: Credits) -> Closed {
        let Some(Open { amount, block: Some(block) }) = self.open.take(id) else {
            return Closed::Elsewhere;
        };
        let more = cost.get().saturating_sub(amount);
        let Some(block) = self.blocks.iter_mut().find(|held| held.id == block) else {
            // The authority has closed the block: its committed amount counts as spent.
            return Closed::beyond(more, false);
        };
        let taken = more.min(block.committed.saturating_sub(block.used));
        block.used -= amount - amount.min(cost.get());
        block.used += taken;
        block.open -= 1;
        let is_finished = block.open == 0 && (block.ended || block.used == block.amount);
        Closed::beyond(more - taken, is_finished && !self.under_maintenance)
    }

    /// Removes a block that was returned to the authority.
    pub(super) fn remove_block(&mut self, id: ChargeId) -> Option<Block> {
        self.returned += 1;
        let place = self.blocks.iter().position(|block| block.id == id)?;
        Some(self.blocks.remove(place))
    }

    /// Ends all blocks if the account has been idle.
    pub(super) fn end_idle(&mut self, now: Now, idle: Duration) {
        if self.used_at.is_none_or(|used_at| now.elapsed() >= used_at.saturating_add(idle)) {
            self.end_all();
            self.demand = Demand::FIRST;
        }
    }

    /// Ends all blocks.
    pub(super) fn end_all(&mut self) {
        for block in &mut self.blocks {
            block.ended = true;
        }
    }

    /// Returns true if there is no state to keep.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.unanswered.is_empty() && self.open.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn repeated_authority_charge_is_dropped() {
        let account = Account::new("acme", "pro");
        let (id, now) = (ChargeId::from_bytes([7; 16]), Now::new(Timestamp::from_millis(0), Duration::ZERO));
        let charge = Charge::new(id, &account, Credits::new(3), &Allowance::None, now);
        let leased_balance = LeasedBalance::of(&account);
        let mut state = leased_balance.lock();
        for _ in 0..2 {
            assert_eq!(state.spend(id, charge.amount, now), Spent::Elsewhere);
            state.record_direct_charge(&charge, &LeaseTerms::of_nodes(std::num::NonZeroU32::MIN));
        }
        assert!(!state.is_empty());
        state.remove_charge(id);
        assert!(state.is_empty());
    }
}
