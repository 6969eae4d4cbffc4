//! The balance of one account and the operations on it.
//!
//! Each call runs under the account's lock.

use std::sync::Arc;

use super::history::{Adjustments, History, HistoryEntry};
use super::lease::Block;
use crate::account::Allowance;
use crate::amount::{ChargeId, Credits};
use crate::clock::Timestamp;
use crate::credit::AdjustmentKind;
use crate::credit::balance_state::BalanceState;
use crate::credit::open::OpenCharges;
use crate::credit::{Adjusted, Adjustment, Balance, Charge, Charged, Entry, EntryKind};

#[derive(Debug)]
// The fields that every request reads come first, next to each other in memory.
#[repr(C)]
pub(crate) struct State {
    pub(super) amounts: BalanceState,
    /// True if the balance was removed permanently: a caller that still points here must look the account up again.
    pub(super) erased: bool,
    pub(super) open: OpenCharges<Credits>,
    /// The number of the account in its ledger.
    account: u64,
    /// The number of the account's last entry.
    last: u64,
    history: Arc<History>,
    /// The blocks that are leased to nodes.
    pub(super) blocks: Vec<Block>,
    /// Boxed and optional, because few accounts are adjusted manually.
    adjustments: Option<Box<Adjustments>>,
}

impl State {
    pub(super) fn new(account: u64, history: Arc<History>) -> Self {
        Self {
            amounts: BalanceState::new(),
            erased: false,
            open: OpenCharges::default(),
            account,
            last: 0,
            history,
            blocks: Vec::new(),
            adjustments: None,
        }
    }

    /// Removes the balance and the entries permanently.
    pub(super) fn erase(&mut self) {
        self.history.erase(self.account);
        *self = Self { erased: true, ..Self::new(self.account, Arc::clone(&self.history)) };
    }

    /// Returns the account's entries, newest first.
    pub(super) fn newest(&self, before: Option<u64>, limit: usize) -> Vec<Entry> {
        self.history.newest(self.account, before, limit)
    }

    pub(super) fn balance(&self) -> Balance {
        self.amounts.balance()
    }

    pub(super) fn open_charges(&self) -> usize {
        self.open.len()
    }

    /// Returns the balance at a given time, including a grant that is due.
    pub(super) fn balance_at(&self, allowance: &Allowance, now: Timestamp) -> Balance {
        self.amounts.balance_at(allowance, now)
    }

    /// Sets the balance as of a given time.
    pub(super) fn open_with(&mut self, balance: Credits, now: Timestamp) {
        self.recall();
        self.amounts.due = None;
        self.amounts.opened = Some(now);
        self.amounts.seen = now;
        self.amounts.unlimited = false;
        self.move_to(balance, EntryKind::Opening);
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "its answer would be copied, and the copy wait for it")]
    pub(super) fn charge(&mut self, charge: &Charge<'_>) -> Charged {
        self.call(charge.allowance, charge.now.wall());
        if self.amounts.unlimited {
            return Charged::Posted { balance: None };
        }
        let balance = self.amounts.balance;
        if self.blocks.iter().any(|block| block.id == charge.id) {
            return Charged::Posted { balance: Some(balance) };
        }
        if self.open.get(charge.id).is_some() {
            return Charged::Posted { balance: Some(balance) };
        }
        let Some(rest) = balance.checked_sub(charge.amount) else {
            return Charged::Insufficient { balance };
        };
        self.open.add(charge.id, charge.amount);
        self.amounts.hold(charge.amount);
        self.move_to(rest, EntryKind::Charge(charge.id));
        Charged::Posted { balance: Some(rest) }
    }

    /// Closes a charge at its cost; the difference is returned to the balance.
    #[inline]
    pub(super) fn close(&mut self, id: ChargeId, cost: Credits, kind: fn(ChargeId) -> EntryKind) {
        let taken = self.open.take(id);
        let taken = taken.or_else(|| self.take_block(id));
        let Some(taken) = taken else { return };
        let balance = self.amounts.release(taken, cost);
        if balance != self.amounts.balance {
            self.move_to(balance, kind(id));
        }
    }

    pub(super) fn adjust(&mut self, asked: &Adjustment<'_>) -> Adjusted {
        match self.adjustments.as_ref().and_then(|adjustments| adjustments.made(&asked.id)) {
            Some((made, balance)) if made == asked.kind => return Adjusted::Repeated { balance },
            Some((made, _)) => return Adjusted::Conflict { made },
            None => {}
        }
        self.call(asked.allowance, asked.now);
        if matches!(asked.kind, AdjustmentKind::Set(_)) {
            self.recall();
        }
        let before = self.balance();
        let balance = match self.amounts.decide(asked.kind) {
            Err(refused) => return refused,
            Ok(balance) => balance,
        };
        self.amounts.unlimited = balance == Balance::Unlimited;
        self.move_to(balance.credits().unwrap_or_default(), EntryKind::of(asked.kind, asked.id.clone()));
        self.adjustments.get_or_insert_default().remember(&asked.id, asked.kind, balance);
        Adjusted::Done { before, balance }
    }

    /// Records the time of a call, and applies the grant that is due.
    #[inline]
    fn call(&mut self, allowance: &Allowance, now: Timestamp) {
        if let Some(granted) = self.amounts.call(allowance, now) {
            self.move_to(granted, EntryKind::Grant);
        }
    }

    /// Changes the balance, and writes an entry for the change.
    #[inline]
    fn move_to(&mut self, balance: Credits, kind: EntryKind) {
        let amount = self.amounts.move_to(balance);
        self.last += 1;
        let (account, number, at) = (self.account, self.last, self.amounts.seen);
        self.history.write(HistoryEntry { account, number, at, kind, amount, balance });
    }
}
