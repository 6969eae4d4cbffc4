//! A credit ledger in the memory of this process.

mod admin;
mod history;
mod lease;
mod state;

use std::fmt;
use std::sync::Arc;

use history::History;
use parking_lot::Mutex;
use state::State;

use crate::account::Account;
use crate::amount::{Credits, Currency};
use crate::clock::Timestamp;
use crate::credit::{Balance, Charge, Charged, CreditAdmin, CreditLedger, Refund, Settlement};
use crate::future::StoreFuture;
use crate::name::AccountId;
use crate::state::StateOwner;

/// The default number of entries kept.
const ENTRIES: usize = 65_536;

/// A ledger that keeps balances in memory: the default ledger, and the ledger for tests.
///
/// Balances end with the process.
///
/// Each account has its own lock, and the lock is found without locking. A charge neither looks the account up twice
/// nor allocates. The last 65,536 entries of the ledger are kept, or the number passed to
/// [`with_entries`](MemoryLedger::with_entries), and the ids of the last 1,024 adjustments of each account. Accounts share
/// this memory: an account that is used much leaves less of it to others.
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
    account_balances: papaya::HashMap<AccountId, Arc<AccountBalance>>,
    history: Arc<History>,
}

/// The state of an account, behind its lock.
pub(crate) type AccountBalance = Mutex<State>;

impl MemoryLedger {
    /// Creates a ledger without balances.
    pub fn new() -> Self {
        Self::with_entries(ENTRIES)
    }

    /// Creates a ledger without balances that keeps about the last `entries` entries of all accounts, and never more.
    ///
    /// An entry takes 80 bytes. They are kept in up to 16 rings, each of at least 1,024 entries, and each account writes
    /// to one of the rings.
    pub fn with_entries(entries: usize) -> Self {
        Self {
            owner: StateOwner::new(),
            account_balances: papaya::HashMap::new(),
            history: Arc::new(History::keeping(entries)),
        }
    }

    /// Sets an account's balance at a given time.
    ///
    /// The balance includes the plan's current grant: the next grant is applied at its next due time. Open charges stay
    /// open. Leased blocks are closed at their committed amounts.
    pub fn set_balance(&self, account: &str, balance: Credits, now: Timestamp) {
        self.work(account, |state| state.open_with(balance, now));
    }

    /// Returns an account's balance as of its last charge.
    ///
    /// Open charges are subtracted, and future grants are not included. Returns `None` for an account that has no
    /// balance or no limit.
    pub fn balance(&self, account: &str) -> Option<Credits> {
        self.look(account, &Currency::CREDITS, State::balance).and_then(Balance::credits)
    }

    /// Returns the number of charges of an account that are neither settled nor refunded.
    pub fn open_charges(&self, account: &str) -> usize {
        self.look(account, &Currency::CREDITS, State::open_charges).unwrap_or(0)
    }

    /// Reads an account's state in a currency, if there is one.
    fn look<R>(&self, account: &str, currency: &Currency, read: impl FnOnce(&State) -> R) -> Option<R> {
        let account_balances = self.account_balances.pin();
        let state = account_balances.get(account)?.lock();
        state.known(currency).map(read)
    }

    /// Runs `work` on an account's state, which is created if there is none.
    fn work<R>(&self, account: &str, work: impl FnOnce(&mut State) -> R) -> R {
        loop {
            let account_balance = self.account_balance(account);
            let mut state = account_balance.lock();
            if !state.is_erased() {
                return work(&mut state);
            }
        }
    }

    fn account_balance(&self, account: &str) -> Arc<AccountBalance> {
        let account_balances = self.account_balances.pin();
        let make = || Arc::new(Mutex::new(State::new(Arc::clone(&self.history))));
        match account_balances.get(account) {
            Some(account_balance) => Arc::clone(account_balance),
            None => Arc::clone(account_balances.get_or_insert_with(account.into(), make)),
        }
    }

    /// Looks an account's state up, and attaches it to the account.
    #[cold]
    fn attach(&self, account: &Account) -> Arc<AccountBalance> {
        let account_balance = self.account_balance(account.id.as_str());
        account.state().attach(self.owner, Arc::clone(&account_balance));
        account_balance
    }

    /// Looks an account's state up, if there is one.
    #[cold]
    fn known(&self, account: &Account) -> Option<Arc<AccountBalance>> {
        self.account_balances.pin().get(&account.id).map(Arc::clone)
    }

    /// Runs `work` on an account's state, through the pointer cached in the account if there is one.
    // `work` is called at one place, so that it becomes a part of this function.
    #[inline]
    fn with<R>(&self, account: &Account, work: impl FnOnce(&mut State) -> R) -> R {
        let mut found;
        let mut account_balance = if let Some(attached) = account.state().get::<AccountBalance>(self.owner) {
            attached
        } else {
            found = self.attach(account);
            &found
        };
        loop {
            let mut state = account_balance.lock();
            if !state.is_erased() {
                return work(&mut state);
            }
            drop(state);
            found = self.account_balance(account.id.as_str());
            account_balance = &found;
        }
    }

    /// Runs `close` on an account's state, if there is one: an unknown account has no charge to close.
    #[inline]
    fn close(&self, account: &Account, close: impl FnOnce(&mut State)) -> StoreFuture<()> {
        let mut found;
        let mut account_balance = account.state().get::<AccountBalance>(self.owner);
        loop {
            if let Some(account_balance) = account_balance {
                let mut state = account_balance.lock();
                if !state.is_erased() {
                    close(&mut state);
                    return StoreFuture::ready(());
                }
            }
            found = self.known(account);
            account_balance = found.as_deref();
            if account_balance.is_none() {
                return StoreFuture::ready(());
            }
        }
    }
}

impl CreditLedger for MemoryLedger {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        StoreFuture::ready(self.with(charge.account, |state| state.of(charge.currency).charge(charge)))
    }

    fn settle(&self, settlement: &Settlement<'_>) -> StoreFuture<()> {
        self.close(settlement.account, |state| state.settle(settlement))
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        self.close(refund.account, |state| state.refund(refund))
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn CreditAdmin>> {
        Some(self)
    }
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLedger").field("accounts", &self.account_balances.len()).finish_non_exhaustive()
    }
}
