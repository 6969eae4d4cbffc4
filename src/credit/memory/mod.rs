//! Balances in this process's memory.

mod admin;
mod history;
#[cfg(feature = "fleet")]
mod lease;
mod state;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use state::State;

use crate::account::Account;
use crate::amount::{ChargeId, Credits};
use crate::clock::Timestamp;
use crate::credit::{Balance, Charge, Charged, CreditLedger, EntryKind};
use crate::future::StoreFuture;
use crate::name::AccountId;
use crate::state::StateOwner;

/// How many entries of an account are kept, if nothing is said.
const ENTRIES: usize = 32;

/// Balances in memory: the default ledger, and the one for tests. Balances end with the process.
///
/// Each account has a lock of its own, found without one; a charge neither looks the account up twice nor allocates, once
/// the account has its entries. Of each account the last 32 entries are kept, or as many as
/// [`with_entries`](MemoryLedger::with_entries) says, and the ids of its last 1,024 adjustments.
///
/// # Example
///
/// ```
/// use tollgate::clock::SystemClock;
/// use tollgate::{Clock, Credits, MemoryLedger};
///
/// let ledger = MemoryLedger::new();
/// ledger.set_balance("acme", Credits::new(50), SystemClock::new().now().wall());
/// assert_eq!(ledger.balance("acme"), Some(Credits::new(50)));
/// assert_eq!(ledger.balance("nobody"), None);
/// ```
pub struct MemoryLedger {
    owner: StateOwner,
    purses: papaya::HashMap<AccountId, Arc<Purse>>,
    entries: usize,
}

/// An account's state, behind its lock.
pub(crate) type Purse = Mutex<State>;

impl MemoryLedger {
    /// A ledger without balances.
    pub fn new() -> Self {
        Self::with_entries(ENTRIES)
    }

    /// A ledger without balances that keeps the last so many entries of each account: 48 bytes each.
    pub fn with_entries(entries: usize) -> Self {
        Self { owner: StateOwner::new(), purses: papaya::HashMap::new(), entries }
    }

    /// Sets an account's balance at a moment, the plan's current grant counted in: the next one comes at its next turn.
    /// Open charges stay open; blocks that nodes hold are closed at what is committed of them.
    pub fn set_balance(&self, account: &str, balance: Credits, now: Timestamp) {
        self.work(account, |state| state.open_with(balance, now));
    }

    /// An account's balance as of its last charge: what is open is taken, what a grant will give is not there yet. `None`
    /// for an account that has none, or no limit.
    pub fn balance(&self, account: &str) -> Option<Credits> {
        self.look(account, State::balance).and_then(Balance::credits)
    }

    /// How many charges of an account are neither settled nor refunded.
    pub fn open_charges(&self, account: &str) -> usize {
        self.look(account, State::open_charges).unwrap_or(0)
    }

    /// Reads an account's state, if there is one.
    fn look<R>(&self, account: &str, read: impl FnOnce(&State) -> R) -> Option<R> {
        self.purses.pin().get(account).map(|purse| read(&lock(purse)))
    }

    /// Works on an account's state, which is made if there is none; says where it is.
    fn work<R>(&self, account: &str, work: impl FnOnce(&mut State) -> R) -> (R, Arc<Purse>) {
        loop {
            let purse = self.purse(account);
            let mut state = lock(&purse);
            if !state.erased {
                let done = work(&mut state);
                drop(state);
                return (done, purse);
            }
        }
    }

    fn purse(&self, account: &str) -> Arc<Purse> {
        let purses = self.purses.pin();
        let make = || Arc::new(Mutex::new(State::keeping(self.entries)));
        match purses.get(account) {
            Some(purse) => Arc::clone(purse),
            None => Arc::clone(purses.get_or_insert_with(account.into(), make)),
        }
    }

    /// Works on an account's state, by the pointer that the account keeps where it can.
    #[inline]
    fn with<R>(&self, account: &Account, work: impl FnOnce(&mut State) -> R) -> R {
        if let Some(purse) = account.state().get::<Purse>(self.owner) {
            let mut state = lock(purse);
            if !state.erased {
                return work(&mut state);
            }
        }
        let (done, purse) = self.work(account.id.as_str(), work);
        account.state().attach(self.owner, purse);
        done
    }

    /// Closes a charge, where there is one: an account that is not known has none.
    #[inline]
    fn close(
        &self,
        account: &Account,
        id: ChargeId,
        cost: Credits,
        kind: fn(ChargeId) -> EntryKind,
    ) -> StoreFuture<()> {
        if let Some(purse) = account.state().get::<Purse>(self.owner) {
            let mut state = lock(purse);
            if !state.erased {
                state.close(id, cost, kind);
                return StoreFuture::ready(());
            }
        }
        if let Some(purse) = self.purses.pin().get(account.id.as_str()) {
            lock(purse).close(id, cost, kind);
        }
        StoreFuture::ready(())
    }
}

#[inline]
fn lock(purse: &Purse) -> MutexGuard<'_, State> {
    purse.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CreditLedger for MemoryLedger {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        StoreFuture::ready(self.with(charge.account, |state| state.charge(charge)))
    }

    fn settle(&self, account: &Account, id: ChargeId, cost: Credits) -> StoreFuture<()> {
        self.close(account, id, cost, EntryKind::Settlement)
    }

    fn refund(&self, account: &Account, id: ChargeId) -> StoreFuture<()> {
        self.close(account, id, Credits::ZERO, EntryKind::Refund)
    }
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLedger").field("accounts", &self.purses.len()).finish_non_exhaustive()
    }
}
