//! A batch of calls, decided in the order in which they were submitted.

use std::collections::{BTreeMap, HashMap};

use super::ask::{Answer, Ask, Close};
use crate::account::Allowance;
use crate::amount::{ChargeId, Credits};
use crate::clock::Timestamp;
use crate::credit::balance_state::BalanceState;
use crate::credit::{Adjusted, AdjustmentId, AdjustmentKind, Balance, Charged, Entry, EntryKind};
use crate::error::StoreError;
use crate::name::AccountId;

/// The balance of an account, read from the database and then changed by the batch.
#[derive(Debug)]
pub(super) struct AccountState {
    pub(super) balance_state: BalanceState,
    /// The version that was read, or `None` for a balance that does not exist.
    pub(super) version: Option<i64>,
    /// The number of the last entry.
    pub(super) number: u64,
    pub(super) changed: bool,
}

/// A charge, read from the database and then changed by the batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChargeRow {
    /// The charged amount; zero for a charge that was closed before it arrived.
    pub(super) amount: Credits,
    pub(super) closed: bool,
    /// The committed amount of a block; `None` for a charge that is not a block.
    pub(super) committed: Option<Credits>,
    pub(super) changed: bool,
}

/// An adjustment's id within its account.
pub(super) type AdjustmentKey = (AccountId, AdjustmentId);

/// An adjustment, and the balance after it.
pub(super) type MadeAdjustment = (AdjustmentKind, Balance);

/// The state that a batch works on: the rows that its calls are about, as read from the database.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) account_states: BTreeMap<AccountId, AccountState>,
    pub(super) charges: HashMap<(AccountId, ChargeId), ChargeRow>,
    pub(super) adjustments: HashMap<AdjustmentKey, MadeAdjustment>,
    pub(super) entries: Vec<(AccountId, Entry)>,
    pub(super) adjusted: Vec<AdjustmentKey>,
    /// The accounts with a row that cannot be read: no call about them is decided.
    pub(super) unreadable: HashMap<AccountId, StoreError>,
}

impl AccountState {
    /// Creates the balance of an unknown account.
    pub(super) fn new() -> Self {
        Self { balance_state: BalanceState::new(), version: None, number: 0, changed: false }
    }
}

impl ChargeRow {
    /// Returns the part of a block that may not be spent yet.
    fn uncommitted(&self) -> Credits {
        let open = self.committed.and_then(|committed| self.amount.checked_sub(committed));
        open.unwrap_or_default()
    }
}

impl Batch {
    /// Decides one call.
    pub(super) fn decide(&mut self, ask: &Ask) -> Result<Answer, StoreError> {
        if let Some(error) = self.unreadable.get(ask.account()) {
            return Err(error.clone());
        }
        match ask {
            Ask::Charge { id, account, amount, allowance, now, committed } => {
                self.call(account, allowance, *now);
                self.charge(account, *id, *amount, *committed).map(Answer::Charged)
            }
            Ask::Commit { id, account, committed } => {
                Ok(Answer::Committed(self.commit(account, *id, *committed)))
            }
            Ask::Close(close) => Ok(Answer::Closed(self.close(close))),
            Ask::Adjust { id, account, kind, allowance, now } => {
                let key = (account.clone(), id.clone());
                Ok(Answer::Adjusted(match self.adjustments.get(&key) {
                    Some((made, balance)) if made == kind => Adjusted::Repeated { balance: *balance },
                    Some((made, _)) => Adjusted::Conflict { made: made.clone() },
                    None => {
                        self.call(account, allowance, *now);
                        if ask.recalls() {
                            self.recall(account);
                        }
                        self.adjust(key, kind)
                    }
                }))
            }
        }
    }

    fn charge(
        &mut self,
        account: &AccountId,
        id: ChargeId,
        amount: Credits,
        committed: Option<Credits>,
    ) -> Result<Charged, StoreError> {
        let balance_state = &mut self.account_state(account).balance_state;
        if balance_state.unlimited {
            return Ok(Charged::Posted { balance: None });
        }
        let balance = balance_state.balance;
        match self.charges.get(&(account.clone(), id)) {
            Some(ChargeRow { closed: true, .. }) => {
                return Err(StoreError::rejected("the charge was closed before it was opened"));
            }
            Some(_) => return Ok(Charged::Posted { balance: Some(balance) }),
            None => {}
        }
        let Some(rest) = balance.checked_sub(amount) else {
            return Ok(Charged::Insufficient { balance });
        };
        let committed = committed.map(|committed| committed.min(amount));
        let taken = ChargeRow { amount, closed: false, committed, changed: true };
        self.charges.insert((account.clone(), id), taken);
        let balance_state = &mut self.account_state(account).balance_state;
        balance_state.hold(amount);
        balance_state.lend(taken.uncommitted());
        self.move_to(account, Balance::Limited(rest), EntryKind::Charge(id));
        Ok(Charged::Posted { balance: Some(rest) })
    }

    /// Commits an amount of a block.
    ///
    /// Returns true if the block is open.
    fn commit(&mut self, account: &AccountId, id: ChargeId, committed: Credits) -> bool {
        let Some(taken) = self.charges.get_mut(&(account.clone(), id)) else { return false };
        let ChargeRow { amount, closed: false, committed: Some(before), .. } = *taken else { return false };
        let out = taken.uncommitted();
        taken.committed = Some(before.max(committed).min(amount));
        taken.changed = true;
        let rest = taken.uncommitted();
        let account_state = self.account_state(account);
        account_state.balance_state.take_in(out);
        account_state.balance_state.lend(rest);
        account_state.changed = true;
        true
    }

    /// Closes a charge.
    ///
    /// Returns true if it was open.
    fn close(&mut self, close: &Close) -> bool {
        let key = (close.account.clone(), close.id);
        let taken = match self.charges.get_mut(&key) {
            Some(taken) if !taken.closed => {
                taken.closed = true;
                taken.changed = true;
                *taken
            }
            Some(_) => return false,
            None => {
                if close.bars {
                    let amount = Credits::ZERO;
                    let barred = ChargeRow { amount, closed: true, committed: None, changed: true };
                    self.charges.insert(key, barred);
                    self.account_state(&close.account).changed = true;
                }
                return false;
            }
        };
        let balance_state = &mut self.account_state(&close.account).balance_state;
        let cost = taken.committed.filter(|_| close.abandoned).unwrap_or(close.cost);
        let balance = balance_state.release(taken.amount, cost);
        balance_state.take_in(taken.uncommitted());
        let after = if balance_state.unlimited { Balance::Unlimited } else { Balance::Limited(balance) };
        let kind = if close.abandoned && !cost.is_zero() { EntryKind::Settlement } else { close.kind };
        self.move_to(&close.account, after, kind(close.id));
        true
    }

    /// Closes the account's leased blocks, each at its committed amount, because the balance is about to be set.
    fn recall(&mut self, account: &AccountId) {
        let out = self
            .charges
            .iter()
            .filter(|((owner, _), taken)| owner == account && !taken.closed && taken.committed.is_some());
        let mut out: Vec<ChargeId> = out.map(|((_, id), _)| *id).collect();
        out.sort_unstable_by_key(|id| id.to_bytes());
        for id in out {
            let (account, cost, kind) = (account.clone(), Credits::ZERO, EntryKind::Refund);
            self.close(&Close { id, account, cost, kind, bars: false, abandoned: true });
        }
    }

    fn adjust(&mut self, key: AdjustmentKey, kind: &AdjustmentKind) -> Adjusted {
        let balance_state = &mut self.account_state(&key.0).balance_state;
        let before = balance_state.balance();
        let balance = match balance_state.decide(kind) {
            Err(refused) => return refused,
            Ok(balance) => balance,
        };
        balance_state.unlimited = balance == Balance::Unlimited;
        self.move_to(&key.0, balance, EntryKind::of(kind, key.1.clone()));
        self.adjusted.push(key.clone());
        self.adjustments.insert(key, (kind.clone(), balance));
        Adjusted::Done { before, balance }
    }

    /// Records the time of a call, and applies the grant that is due.
    fn call(&mut self, account: &AccountId, allowance: &Allowance, now: Timestamp) {
        let account_state = self.account_state(account);
        let due = account_state.balance_state.due;
        let granted = account_state.balance_state.call(allowance, now);
        account_state.changed |= account_state.balance_state.due != due;
        if let Some(granted) = granted {
            self.move_to(account, Balance::Limited(granted), EntryKind::Grant);
        }
    }

    /// Changes a balance, and adds an entry for the change.
    fn move_to(&mut self, account: &AccountId, balance: Balance, kind: EntryKind) {
        let account_state = self.account_state(account);
        let amount = account_state.balance_state.move_to(balance.credits().unwrap_or_default());
        account_state.number += 1;
        account_state.changed = true;
        let entry = Entry::new(account_state.number, account_state.balance_state.seen, kind, amount, balance);
        self.entries.push((account.clone(), entry));
    }

    fn account_state(&mut self, account: &AccountId) -> &mut AccountState {
        self.account_states.entry(account.clone()).or_insert_with(AccountState::new)
    }
}
