//! Leased blocks in the memory ledger.
//!
//! An account has few blocks, and they are stored apart from its other charges.

use std::sync::Arc;

use super::MemoryLedger;
use super::state::State;
use crate::amount::{ChargeId, Credits};
use crate::clock::Timestamp;
use crate::credit::model::{Closing, Draws};
use crate::credit::{Charge, Charged, Commitment, CreditLeasing, EntryKind};
use crate::future::StoreFuture;
use crate::metrics;

/// A block that is leased to a node.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) id: ChargeId,
    draws: Draws,
    committed: Credits,
    /// The uncommitted part that was drawn from the main bucket.
    lent: u64,
    since: Timestamp,
}

impl State {
    fn lease(&mut self, asked: &Charge<'_>, committed: Credits) -> Charged {
        let posted = self.charge(asked);
        // A charge without limit takes nothing, so it leaves no block.
        let Some(draws) = self.open.take(asked.id) else { return posted };
        let committed = committed.min(Credits::new(draws.amount));
        let since = asked.now.wall();
        self.blocks_mut().push(Block { id: asked.id, draws, committed, lent: 0, since });
        self.commit(asked.id, committed);
        posted
    }

    fn commit(&mut self, id: ChargeId, committed: Credits) -> bool {
        let Some(place) = self.blocks().iter().position(|block| block.id == id) else { return false };
        let Block { draws, lent: before, committed: known, .. } = self.blocks()[place];
        let committed = known.max(committed).min(Credits::new(draws.amount));
        let lent = self.model.main_part_beyond(draws, id, committed.get());
        self.model.lend(before, lent);
        let block = &mut self.blocks_mut()[place];
        (block.committed, block.lent) = (committed, lent);
        true
    }

    #[cold]
    pub(super) fn has_block(&self, id: ChargeId) -> bool {
        self.blocks().iter().any(|block| block.id == id)
    }

    /// Removes a block from the leased blocks.
    pub(super) fn take_block(&mut self, id: ChargeId) -> Option<Draws> {
        let place = self.blocks().iter().position(|block| block.id == id)?;
        let block = self.blocks_mut().swap_remove(place);
        self.model.lend(block.lent, 0);
        Some(block.draws)
    }

    /// Closes blocks, each at its committed amount.
    ///
    /// Returns the number of closed blocks.
    fn close_blocks(&mut self, which: impl Fn(&Block) -> bool) -> u64 {
        let closed = self.blocks().iter().filter(|block| which(block));
        let closed: Vec<_> = closed.map(|block| (block.id, block.committed)).collect();
        for (id, cost) in &closed {
            let Some(draws) = self.take_block(*id) else { continue };
            let kind = if cost.is_zero() { EntryKind::Refund } else { EntryKind::Settlement };
            self.close(draws, &Closing { cost: *cost, kind, ..Closing::refund(*id) });
        }
        closed.len() as u64
    }

    /// Reclaims the uncommitted credits of all nodes, because the balance is about to be set.
    pub(super) fn recall(&mut self) {
        self.close_blocks(|_| true);
    }
}

impl MemoryLedger {
    /// Closes the blocks that were taken before a given time and are still open, each at its committed amount.
    ///
    /// Returns the number of closed blocks. An authority that leases blocks calls it: the nodes of such old blocks have
    /// crashed, or can no longer reach the authority.
    pub fn close_abandoned(&self, before: Timestamp) -> u64 {
        let balances = self.account_balances.pin();
        let closed = balances
            .values()
            .map(|account_balance| {
                account_balance.lock().sum_over_all(|state| state.close_blocks(|block| block.since < before))
            })
            .sum();
        metrics::swept("memory", closed);
        closed
    }
}

impl CreditLeasing for MemoryLedger {
    fn lease(&self, block: &Charge<'_>, committed: Credits) -> StoreFuture<Charged> {
        StoreFuture::ready(self.with(block.account, |state| state.of(block.currency).lease(block, committed)))
    }

    fn commit(&self, commitment: &Commitment<'_>) -> StoreFuture<bool> {
        let Commitment { account, currency, id, committed } = *commitment;
        let account_balance = self.account_balances.pin().get(&account.id).map(Arc::clone);
        StoreFuture::ready(account_balance.is_some_and(|account_balance| {
            let mut state = account_balance.lock();
            state.known_mut(currency).is_some_and(|state| state.commit(id, committed))
        }))
    }
}
