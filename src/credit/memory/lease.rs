//! Leased blocks in the memory ledger.
//!
//! An account has few blocks, and they are stored apart from its other charges.

use std::sync::Arc;

use super::state::State;
use super::{MemoryLedger, lock};
use crate::account::Account;
use crate::amount::{ChargeId, Credits};
use crate::clock::Timestamp;
use crate::credit::{Charge, Charged, CreditLeasing, EntryKind};
use crate::future::StoreFuture;
use crate::metrics;

/// A block that is leased to a node.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) id: ChargeId,
    amount: Credits,
    committed: Credits,
    since: Timestamp,
}

impl Block {
    /// Returns the part of the block that may not be spent yet.
    fn uncommitted(&self) -> Credits {
        self.amount.checked_sub(self.committed).unwrap_or_default()
    }
}

impl State {
    fn lease(&mut self, asked: &Charge<'_>, committed: Credits) -> Charged {
        let posted = self.charge(asked);
        let Some(amount) = self.open.take(asked.id) else { return posted };
        let committed = committed.min(amount);
        let block = Block { id: asked.id, amount, committed, since: asked.now.wall() };
        self.amounts.lend(block.uncommitted());
        self.blocks.push(block);
        posted
    }

    fn commit(&mut self, id: ChargeId, committed: Credits) -> bool {
        let Some(block) = self.blocks.iter_mut().find(|block| block.id == id) else { return false };
        self.amounts.take_in(block.uncommitted());
        block.committed = block.committed.max(committed).min(block.amount);
        self.amounts.lend(block.uncommitted());
        true
    }

    /// Removes a block from the leased blocks.
    ///
    /// Returns its amount.
    pub(super) fn take_block(&mut self, id: ChargeId) -> Option<Credits> {
        let place = self.blocks.iter().position(|block| block.id == id)?;
        let block = self.blocks.swap_remove(place);
        self.amounts.take_in(block.uncommitted());
        Some(block.amount)
    }

    /// Closes blocks, each at its committed amount.
    ///
    /// Returns the number of closed blocks.
    fn close_blocks(&mut self, which: impl Fn(&Block) -> bool) -> u64 {
        let closed = self.blocks.iter().filter(|block| which(block));
        let closed: Vec<_> = closed.map(|block| (block.id, block.committed)).collect();
        for (id, committed) in &closed {
            let kind = if committed.is_zero() { EntryKind::Refund } else { EntryKind::Settlement };
            self.close(*id, *committed, kind);
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
            .map(|account_balance| lock(account_balance).close_blocks(|block| block.since < before))
            .sum();
        metrics::swept("memory", closed);
        closed
    }
}

impl CreditLeasing for MemoryLedger {
    fn lease(&self, block: &Charge<'_>, committed: Credits) -> StoreFuture<Charged> {
        StoreFuture::ready(self.with(block.account, |state| state.lease(block, committed)))
    }

    fn commit(&self, account: &Account, id: ChargeId, committed: Credits) -> StoreFuture<bool> {
        let account_balance = self.account_balances.pin().get(&account.id).map(Arc::clone);
        StoreFuture::ready(
            account_balance.is_some_and(|account_balance| lock(&account_balance).commit(id, committed)),
        )
    }
}
