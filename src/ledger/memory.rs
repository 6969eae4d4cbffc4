//! Balances in this process's memory.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    Account, AccountId, Allowance, Charge, ChargeId, Charged, CreditLedger, Credits, Grant, SlotOwner,
    StoreFuture, Timestamp,
};

/// Balances in memory: the default ledger, and the one for tests. Balances end with the process.
///
/// Each account has a lock of its own, found without one; a charge neither looks the account up twice nor allocates.
///
/// # Example
///
/// ```
/// use tollgate::{Clock, Credits, MemoryLedger, SystemClock};
///
/// let ledger = MemoryLedger::new();
/// ledger.set_balance("acme", Credits::new(50), SystemClock::new().now().wall());
/// assert_eq!(ledger.balance("acme"), Some(Credits::new(50)));
/// assert_eq!(ledger.balance("nobody"), None);
/// ```
pub struct MemoryLedger {
    owner: SlotOwner,
    purses: papaya::HashMap<AccountId, Arc<Purse>>,
}

type Purse = Mutex<State>;

#[derive(Debug, Default)]
struct State {
    balance: Credits,
    /// When the plan's grant is given next; unknown until a charge names the grant.
    due: Option<Timestamp>,
    /// When the balance was opened by hand; a grant counts from there.
    opened: Option<Timestamp>,
    open: Open,
}

/// The open charges of an account. Mostly there is one, which needs no map.
#[derive(Debug, Default)]
struct Open {
    one: Option<(ChargeId, Credits)>,
    others: HashMap<ChargeId, Credits, BuildHasherDefault<ByNumber>>,
}

impl Open {
    fn holds(&self, id: ChargeId) -> bool {
        self.one.is_some_and(|(one, _)| one == id)
            || (!self.others.is_empty() && self.others.contains_key(&id))
    }

    fn insert(&mut self, id: ChargeId, amount: Credits) {
        if self.one.is_none() {
            self.one = Some((id, amount));
        } else {
            self.others.insert(id, amount);
        }
    }

    fn remove(&mut self, id: ChargeId) -> Option<Credits> {
        match self.one.take_if(|(one, _)| *one == id) {
            Some((_, amount)) => Some(amount),
            None if self.others.is_empty() => None,
            None => self.others.remove(&id),
        }
    }

    fn len(&self) -> usize {
        usize::from(self.one.is_some()) + self.others.len()
    }
}

/// Hashes a charge id by its number alone: ids of one process differ in nothing else.
#[derive(Debug, Default, Clone, Copy)]
struct ByNumber(u64);

impl Hasher for ByNumber {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // An odd multiplier spreads consecutive numbers over the upper bits, which the map goes by.
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl MemoryLedger {
    /// A ledger without balances.
    pub fn new() -> Self {
        Self { owner: SlotOwner::new(), purses: papaya::HashMap::new() }
    }

    /// Sets an account's balance at a moment, the plan's current grant counted in: the next one comes at its next turn.
    /// Open charges stay open.
    pub fn set_balance(&self, account: &str, balance: Credits, now: Timestamp) {
        let purse = self.purse(account);
        let mut state = lock(&purse);
        state.balance = balance;
        state.due = None;
        state.opened = Some(now);
    }

    /// An account's balance as of its last charge: what is open is taken, what a grant will give is not there yet.
    pub fn balance(&self, account: &str) -> Option<Credits> {
        self.purses.pin().get(account).map(|purse| lock(purse).balance)
    }

    /// How many charges of an account are neither settled nor refunded.
    pub fn open_charges(&self, account: &str) -> usize {
        self.purses.pin().get(account).map_or(0, |purse| lock(purse).open.len())
    }

    fn purse(&self, account: &str) -> Arc<Purse> {
        let purses = self.purses.pin();
        match purses.get(account) {
            Some(purse) => Arc::clone(purse),
            None => Arc::clone(purses.get_or_insert_with(account.into(), Arc::default)),
        }
    }

    /// Works on an account's state, by the pointer that the account keeps where it can.
    fn with<R>(&self, account: &Account, work: impl FnOnce(&mut State) -> R) -> R {
        if let Some(purse) = account.credits.get::<Purse>(self.owner) {
            return work(&mut lock(purse));
        }
        let purse = self.purse(account.id.as_str());
        account.credits.fill(self.owner, Arc::clone(&purse));
        work(&mut lock(&purse))
    }
}

fn lock(purse: &Purse) -> MutexGuard<'_, State> {
    purse.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Raises the balance to the grant's amount, if it has come due.
    fn grant(&mut self, grant: &Grant, now: Timestamp) {
        match (self.due, self.opened) {
            (Some(due), _) if now < due => {}
            (Some(due), _) => {
                self.balance = self.balance.max(grant.amount());
                self.due = Some(grant.next_due(due, now));
            }
            (None, Some(opened)) => {
                self.due = Some(grant.next_after(opened));
                self.grant(grant, now);
            }
            (None, None) => {
                self.balance = self.balance.max(grant.amount());
                self.due = Some(grant.next_after(now));
            }
        }
    }

    fn charge(&mut self, charge: &Charge<'_>) -> Charged {
        if let Allowance::Grant(grant) = charge.allowance {
            self.grant(grant, charge.now.wall());
        }
        if self.open.holds(charge.id) {
            return Charged::Posted { balance: Some(self.balance) };
        }
        match self.balance.checked_sub(charge.amount) {
            None => Charged::Insufficient { balance: self.balance },
            Some(rest) => {
                self.balance = rest;
                self.open.insert(charge.id, charge.amount);
                Charged::Posted { balance: Some(rest) }
            }
        }
    }

    fn close(&mut self, id: ChargeId, cost: Credits) {
        if let Some(taken) = self.open.remove(id) {
            let back = taken.checked_sub(cost).unwrap_or_default();
            self.balance = self.balance.checked_add(back).unwrap_or(Credits::MAX);
        }
    }
}

impl CreditLedger for MemoryLedger {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        StoreFuture::ready(self.with(charge.account, |state| state.charge(charge)))
    }

    fn settle(&self, account: &Account, id: ChargeId, cost: Credits) -> StoreFuture<()> {
        self.with(account, |state| state.close(id, cost));
        StoreFuture::ready(())
    }

    fn refund(&self, account: &Account, id: ChargeId) -> StoreFuture<()> {
        self.with(account, |state| state.close(id, Credits::ZERO));
        StoreFuture::ready(())
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
