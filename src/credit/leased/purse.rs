//! What this node holds of one account's credits: each call under the purse's lock, none of them waits.

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
pub(crate) struct Purse {
    /// For the authority: it goes by the id.
    pub(super) account: Account,
    state: Mutex<State>,
    /// Tells those who wait of a round trip that is done.
    pub(super) trips: Arc<Notify>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) blocks: Vec<Block>,
    /// Blocks that were asked for and never heard of, and what was to be committed of each: they may have been taken, and are
    /// to be given back.
    pub(super) unheard: Vec<(ChargeId, u64)>,
    open: OpenCharges<Open>,
    /// What the plan gives, as of the last charge.
    pub(super) allowance: Allowance,
    /// What there was at the authority when it was last heard of.
    pub(super) balance: u64,
    /// This node's share of it.
    share: u64,
    /// What the last request cost that the authority was asked for.
    pub(super) cost: u64,
    demand: Demand,
    /// Whether requests have come since the last round trip that no block covered.
    dry: bool,
    /// How many blocks have gone back.
    pub(super) returned: u64,
    used_at: Option<Duration>,
    trip_at: Option<Duration>,
    /// Whether work for this purse is under way.
    pub(super) tended: bool,
    /// Until when nothing more is leased, as the authority has just failed.
    pub(super) rests_until: Duration,
}

/// How much to take at once and to commit ahead, as the demand has shown so far: in requests of the last cost.
#[derive(Debug, Clone, Copy)]
struct Demand {
    block: u64,
    ahead: u64,
}

impl Demand {
    const FIRST: Self = Self { block: 64, ahead: 4 };
}

/// Two round trips that are closer than this bring too little each.
const SOON: Duration = Duration::from_millis(20);

/// A block of credits: `used <= committed <= asked <= amount`.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) id: ChargeId,
    pub(super) amount: u64,
    pub(super) committed: u64,
    /// What the authority was asked to commit: it may have, although it was not heard of.
    pub(super) asked: u64,
    /// What is spent and what is open.
    pub(super) used: u64,
    /// How many charges are open.
    pub(super) open: usize,
    pub(super) ends_at: Duration,
    /// Whether it is on its way back: nothing more is spent of it.
    pub(super) ended: bool,
}

/// An open charge: out of a block, or at the authority.
#[derive(Debug, Clone, Copy)]
struct Open {
    amount: u64,
    block: Option<ChargeId>,
}

/// What became of a charge in process.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spent {
    /// It was made; so much is left, as far as is known. It may be time to commit or to take more.
    Here { balance: Credits, low: bool },
    /// It is for the authority.
    Elsewhere,
}

/// What became of a closing in process.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// It was done; its block may be done with too.
    Here { last: bool },
    /// It is for the authority.
    Elsewhere,
}

impl Purse {
    pub(super) fn of(account: &Account) -> Self {
        let state = State {
            blocks: Vec::new(),
            unheard: Vec::new(),
            open: OpenCharges::default(),
            allowance: Allowance::None,
            balance: 0,
            share: 0,
            cost: 1,
            demand: Demand::FIRST,
            dry: false,
            returned: 0,
            used_at: None,
            trip_at: None,
            tended: false,
            rests_until: Duration::ZERO,
        };
        let account = Account::new(account.id.clone(), account.plan.clone());
        Self { account, state: Mutex::new(state), trips: Arc::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of the next round trip, while work is under way.
    pub(super) fn next_trip(&self) -> Option<OwnedNotified> {
        let state = self.lock();
        state.tended.then(|| Arc::clone(&self.trips).notified_owned())
    }
}

impl Block {
    pub(super) fn rest(&self) -> u64 {
        if self.ended { 0 } else { self.amount - self.used }
    }

    /// What may be spent without asking.
    fn ready(&self) -> u64 {
        if self.ended { 0 } else { self.committed - self.used }
    }
}

impl State {
    /// What is held and not spent.
    pub(super) fn rest(&self) -> u64 {
        self.blocks.iter().map(Block::rest).sum()
    }

    /// What is here and not spent, also of blocks that are on their way back.
    pub(super) fn held(&self) -> u64 {
        self.blocks.iter().map(|block| block.amount - block.used).sum()
    }

    /// What would be lost if the node died now: what the authority may count as spent, and is not.
    pub(super) fn at_stake(&self) -> u64 {
        let unheard: u64 = self.unheard.iter().map(|(_, asked)| asked).sum();
        self.blocks.iter().map(|block| block.asked - block.used).sum::<u64>() + unheard
    }

    /// Notes what there is at the authority. Where more is held than this node's share of it, blocks are ended until that
    /// holds, those first in which nothing is open; says whether any are.
    pub(super) fn learn(&mut self, balance: Credits, terms: &LeaseTerms) -> bool {
        (self.balance, self.share) = (balance.get(), terms.share_of(balance).get());
        let (share, mut rest, mut ended) = (self.share, self.rest(), false);
        for with_open in [false, true] {
            for block in &mut self.blocks {
                if rest > share && !block.ended && with_open == (block.open > 0) {
                    rest -= block.rest();
                    block.ended = true;
                    ended = true;
                }
            }
        }
        ended
    }

    /// Charges out of a block, where one covers the amount.
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
        let balance = Credits::new(self.balance.saturating_add(self.rest()));
        Spent::Here { balance, low: !self.tended && self.is_low() }
    }

    /// How much is to be committed ahead: no more than there may be here.
    pub(super) fn ahead(&self) -> u64 {
        self.demand.ahead.saturating_mul(self.cost).min(self.share.max(self.cost))
    }

    /// How much is to be taken at once.
    pub(super) fn wanted(&self) -> u64 {
        self.demand.block.saturating_mul(self.cost)
    }

    /// Whether it is time to commit or to take more.
    pub(super) fn is_low(&self) -> bool {
        let ready: u64 = self.blocks.iter().map(Block::ready).sum();
        ready < self.ahead().div_ceil(2)
    }

    /// Notes a charge that goes to the authority; says whether one came a short time before.
    pub(super) fn pass(&mut self, charge: &Charge<'_>, terms: &LeaseTerms) -> bool {
        let Charge { id, amount, allowance, now, .. } = *charge;
        self.open.take(id);
        self.open.add(id, Open { amount: amount.get(), block: None });
        if self.cost != amount.get() {
            self.cost = amount.get().max(1);
            self.limit(terms);
        }
        self.follow(allowance);
        self.dry = true;
        let before = self.used_at.replace(now.elapsed());
        before.is_some_and(|before| now.elapsed().saturating_sub(before) < terms.idle)
    }

    /// Notes what the account's plan gives now.
    pub(super) fn follow(&mut self, allowance: &Allowance) {
        if self.allowance != *allowance {
            self.allowance = allowance.clone();
        }
    }

    /// After a round trip: where it came too late, or soon after the one before, the next is to bring more.
    pub(super) fn grow(&mut self, now: Now, terms: &LeaseTerms) {
        let soon = now.elapsed() < self.trip_at.replace(now.elapsed()).map_or(Duration::ZERO, |at| at + SOON);
        if std::mem::take(&mut self.dry) || soon {
            self.demand.ahead = self.demand.ahead.saturating_mul(2);
            self.demand.block = self.demand.block.saturating_mul(2);
            self.limit(terms);
        }
    }

    fn limit(&mut self, terms: &LeaseTerms) {
        // One request's cost stays free: the last resort of a request commits as much besides.
        let most = (terms.headroom.get() / self.cost).saturating_sub(1);
        self.demand.ahead = self.demand.ahead.min(most).max(1);
        self.demand.block = self.demand.block.min(terms.block.get() / self.cost).max(1);
    }

    /// The round trip in hand, where there is one that may bring what a request needs.
    pub(super) fn trip_under_way(&mut self, purse: &Purse) -> Option<OwnedNotified> {
        if !self.tended {
            return None;
        }
        self.dry = true;
        Some(Arc::clone(&purse.trips).notified_owned())
    }

    /// The authority has refused it.
    pub(super) fn forget(&mut self, id: ChargeId) {
        self.open.take(id);
    }

    /// Closes a charge at its cost; what the cost leaves goes back into its block.
    pub(super) fn close(&mut self, id: ChargeId, cost: Credits) -> Closed {
        let Some(Open { amount, block: Some(block) }) = self.open.take(id) else {
            return Closed::Elsewhere;
        };
        let Some(block) = self.blocks.iter_mut().find(|held| held.id == block) else {
            // The authority has closed the block: what was committed of it is spent.
            return Closed::Here { last: false };
        };
        block.used -= amount - amount.min(cost.get());
        block.open -= 1;
        Closed::Here { last: block.open == 0 && (block.ended || block.used == block.amount) && !self.tended }
    }

    /// A block is at the authority again.
    pub(super) fn let_go(&mut self, id: ChargeId) {
        self.blocks.retain(|block| block.id != id);
        self.returned += 1;
    }

    /// Ends what is held, where the account has been idle.
    pub(super) fn end_idle(&mut self, now: Now, idle: Duration) {
        if self.used_at.is_none_or(|used_at| now.elapsed() >= used_at.saturating_add(idle)) {
            self.end_all();
            self.demand = Demand::FIRST;
        }
    }

    /// Ends what is held.
    pub(super) fn end_all(&mut self) {
        for block in &mut self.blocks {
            block.ended = true;
        }
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.unheard.is_empty() && self.open.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn a_charge_that_is_repeated_at_the_authority_is_forgotten_with_its_first() {
        let account = Account::new("acme", "pro");
        let (id, now) = (ChargeId::from_bytes([7; 16]), Now::new(Timestamp::from_millis(0), Duration::ZERO));
        let charge = Charge::new(id, &account, Credits::new(3), &Allowance::None, now);
        let purse = Purse::of(&account);
        let mut state = purse.lock();
        for _ in 0..2 {
            assert_eq!(state.spend(id, charge.amount, now), Spent::Elsewhere);
            state.pass(&charge, &LeaseTerms::of_nodes(std::num::NonZeroU32::MIN));
        }
        assert!(!state.is_empty());
        state.forget(id);
        assert!(state.is_empty());
    }
}
