//! A batch of calls, decided in the order in which they were submitted.

use std::collections::{BTreeMap, HashMap};

use super::ask::{Answer, Ask, Close, NewCharge};
use crate::account::Allowance;
use crate::amount::{ChargeId, Credits};
use crate::clock::Timestamp;
use crate::credit::model::{Change, Closing, Draws, Model, OverBudget};
use crate::credit::{Adjusted, AdjustmentId, AdjustmentKind, Balance, BudgetDraw, Charged, Entry, EntryKind};
use crate::error::StoreError;
use crate::key::KeyId;
use crate::name::AccountId;

/// The credits of an account in one currency, read from the store and then changed by the batch.
#[derive(Debug)]
pub(in crate::credit) struct AccountState {
    pub(in crate::credit) model: Model,
    /// The version that was read, or `None` for a balance that does not exist.
    pub(in crate::credit) version: Option<i64>,
    /// The number of the last entry.
    pub(in crate::credit) number: u64,
    pub(in crate::credit) changed: bool,
}

/// A charge, read from the store and then changed by the batch.
#[derive(Debug, Clone)]
pub(in crate::credit) struct ChargeRow {
    /// The draws; of nothing for a charge that was closed before it arrived.
    pub(in crate::credit) draws: Draws,
    /// The stored form of the draws.
    pub(in crate::credit) stored_draws: Option<String>,
    /// The key whose budget the charge was drawn from, and the budget's period.
    pub(in crate::credit) budget: Option<(KeyId, u32)>,
    pub(in crate::credit) closed: bool,
    /// The committed amount of a block; `None` for a charge that is not a block.
    pub(in crate::credit) committed: Option<Credits>,
    pub(in crate::credit) changed: bool,
}

/// An adjustment's id within its account.
pub(in crate::credit) type AdjustmentKey = (AccountId, AdjustmentId);

/// An adjustment, and the balance after it.
pub(in crate::credit) type MadeAdjustment = (AdjustmentKind, Balance);

/// The state that a batch works on: the rows that its calls are about, as they were read.
///
/// An [`AccountId`] here is the key of the rows of an account in one currency.
#[derive(Debug, Default)]
pub(in crate::credit) struct Batch {
    pub(in crate::credit) account_states: BTreeMap<AccountId, AccountState>,
    pub(in crate::credit) charges: HashMap<(AccountId, ChargeId), ChargeRow>,
    pub(in crate::credit) adjustments: HashMap<AdjustmentKey, MadeAdjustment>,
    pub(in crate::credit) entries: Vec<(AccountId, Entry)>,
    pub(in crate::credit) adjusted: Vec<AdjustmentKey>,
    /// The accounts with a row that cannot be read: no call about them is decided.
    pub(in crate::credit) unreadable: HashMap<AccountId, StoreError>,
    /// The accounts of which a key's budget was changed.
    pub(in crate::credit) budgets: Vec<AccountId>,
}

impl AccountState {
    /// Creates the balance of an unknown account.
    pub(in crate::credit) fn new() -> Self {
        Self { model: Model::new(), version: None, number: 0, changed: false }
    }
}

impl Batch {
    /// Decides one call.
    pub(in crate::credit) fn decide(&mut self, ask: &Ask) -> Result<Answer, StoreError> {
        if let Some(error) = self.unreadable.get(ask.account()) {
            return Err(error.clone());
        }
        match ask {
            Ask::Charge(charge) => {
                self.call(&charge.account, &charge.allowance, charge.now);
                self.charge(charge).map(Answer::Charged)
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
                        self.adjust(key, kind, allowance)
                    }
                }))
            }
        }
    }

    fn charge(&mut self, charge: &NewCharge) -> Result<Charged, StoreError> {
        let NewCharge { id, account, amount, .. } = charge;
        let model = &self.account_state(account).model;
        let (unlimited, balance) = (model.is_unlimited(), model.credits());
        let posted = |balance| Ok(Charged::Posted { balance: (!unlimited).then_some(balance) });
        if unlimited && charge.budget.is_none() {
            return posted(balance);
        }
        match self.charges.get(&(account.clone(), *id)) {
            Some(ChargeRow { closed: true, .. }) => {
                return Err(StoreError::rejected("the charge was closed before it was opened"));
            }
            Some(_) => return posted(balance),
            None => {}
        }
        let rest = if unlimited { Some(balance) } else { balance.checked_sub(*amount) };
        let Some(rest) = rest else {
            return Ok(Charged::Insufficient { balance });
        };
        if let Some((key, budget)) = &charge.budget {
            let draw = BudgetDraw { key: *key, budget };
            let model = &mut self.account_state(account).model;
            let before = model.budgets().stored_of(*key);
            let drawn = model.draw_budget(*id, &draw, *amount);
            // A charge that is refused may start a period, which later ones then go by.
            if model.budgets().stored_of(*key) != before {
                self.account_state(account).changed = true;
                self.budgets.push(account.clone());
            }
            if let Err(OverBudget { left, resets }) = drawn {
                return Ok(Charged::OverBudget { left: Credits::new(left), resets });
            }
        }
        let (has_budget, mut changes) = (charge.budget.is_some(), Vec::new());
        let model = &mut self.account_state(account).model;
        let draws = if unlimited {
            Model::charge_nothing(*amount)
        } else {
            model.charge(*id, *amount, has_budget, &mut |change| changes.push(change))
        };
        let budget = model.budget_of(*id);
        let stored_draws = model.stored_draws(draws, *id);
        let committed = charge.committed.filter(|_| !unlimited).map(|committed| committed.min(*amount));
        if let Some(committed) = committed {
            let lent = model.main_part_beyond(draws, *id, committed.get());
            model.lend(0, lent);
        }
        let row = ChargeRow { draws, stored_draws, budget, closed: false, committed, changed: true };
        self.charges.insert((account.clone(), *id), row);
        self.account_state(account).changed = true;
        self.write(account, changes);
        posted(rest)
    }

    /// Commits an amount of a block.
    ///
    /// Returns true if the block is open.
    fn commit(&mut self, account: &AccountId, id: ChargeId, committed: Credits) -> bool {
        let Some(taken) = self.charges.get_mut(&(account.clone(), id)) else { return false };
        let ChargeRow { draws, closed: false, committed: Some(before), .. } = *taken else { return false };
        let after = before.max(committed).min(Credits::new(draws.amount));
        (taken.committed, taken.changed) = (Some(after), true);
        let account_state = self.account_state(account);
        account_state.changed = true;
        let model = &mut account_state.model;
        let [lent, rest] =
            [before, after].map(|committed| model.main_part_beyond(draws, id, committed.get()));
        model.lend(lent, rest);
        true
    }

    /// Closes a charge.
    ///
    /// Returns true if it was open.
    fn close(&mut self, close: &Close) -> bool {
        let Close { id, account, .. } = close;
        let key = (account.clone(), *id);
        let taken = match self.charges.get_mut(&key) {
            Some(taken) if !taken.closed => {
                (taken.closed, taken.changed) = (true, true);
                taken.clone()
            }
            Some(_) => return false,
            None => {
                if close.bars {
                    let draws = Model::charge_nothing(Credits::ZERO);
                    let (stored_draws, budget, committed) = (None, None, None);
                    let barred =
                        ChargeRow { draws, stored_draws, budget, closed: true, committed, changed: true };
                    self.charges.insert(key, barred);
                    self.account_state(account).changed = true;
                }
                return false;
            }
        };
        let cost = taken.committed.filter(|_| close.abandoned).unwrap_or(close.cost);
        let kind = if close.abandoned && !cost.is_zero() { EntryKind::Settlement } else { close.kind };
        let (draws, mut changes) = (taken.draws, Vec::new());
        let account_state = self.account_state(account);
        account_state.changed = true;
        let (model, mut write) = (&mut account_state.model, |change| changes.push(change));
        if let Some(committed) = taken.committed {
            let lent = model.main_part_beyond(draws, *id, committed.get());
            model.lend(lent, 0);
        }
        match close.now {
            Some(now) if cost.get() > draws.amount => model.call(&close.allowance, now, &mut write),
            Some(now) if model.has_deadlines() => model.pass(now, &mut write),
            _ => {}
        }
        let (overage, expired_refunds) = (close.overage, close.expired_refunds);
        model.close(draws, &Closing { id: *id, cost, kind, overage, expired_refunds }, &mut write);
        self.write(account, changes);
        if taken.budget.is_some() {
            self.budgets.push(account.clone());
        }
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
            self.close(&Close::abandoned(account.clone(), id, Credits::ZERO, EntryKind::Refund));
        }
    }

    fn adjust(&mut self, key: AdjustmentKey, kind: &AdjustmentKind, allowance: &Allowance) -> Adjusted {
        let mut changes = Vec::new();
        let model = &mut self.account_state(&key.0).model;
        let adjusted = model.adjust(kind, &key.1, allowance, &mut |change| changes.push(change));
        self.write(&key.0, changes);
        if let Adjusted::Done { balance, .. } = &adjusted {
            self.account_state(&key.0).changed = true;
            self.adjusted.push(key.clone());
            self.adjustments.insert(key, (kind.clone(), *balance));
        }
        adjusted
    }

    /// Records the time of a call, and makes the changes that are due.
    fn call(&mut self, account: &AccountId, allowance: &Allowance, now: Timestamp) {
        let (account_state, mut changes) = (self.account_state(account), Vec::new());
        let due = account_state.model.due();
        account_state.model.call(allowance, now, &mut |change| changes.push(change));
        account_state.changed |= account_state.model.due() != due;
        self.write(account, changes);
    }

    /// Adds an entry for each change.
    fn write(&mut self, account: &AccountId, changes: Vec<Change>) {
        for change in changes {
            let account_state = self.account_state(account);
            account_state.number += 1;
            account_state.changed = true;
            let entry = change.into_entry(account_state.number);
            self.entries.push((account.clone(), entry));
        }
    }

    pub(in crate::credit) fn account_state(&mut self, account: &AccountId) -> &mut AccountState {
        self.account_states.entry(account.clone()).or_insert_with(AccountState::new)
    }
}
