//! The write side of the memory ledger: operators read and change balances.

use std::sync::Arc;

use super::MemoryLedger;
use super::state::State;
use crate::account::{Allowance, BudgetStatus};
use crate::amount::Currency;
use crate::clock::Timestamp;
use crate::credit::model::Model;
use crate::credit::{Adjusted, Adjustment, Balance, Bucket, BudgetDraw, CreditAdmin, Entry, EntryQuery};
use crate::future::StoreFuture;
use crate::name::AccountId;

impl CreditAdmin for MemoryLedger {
    fn balance_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        allowance: &Allowance,
        now: Timestamp,
    ) -> StoreFuture<Balance> {
        let known = self.look(account.as_str(), currency, |state| state.balance_at(allowance, now));
        StoreFuture::ready(known.unwrap_or_else(|| Model::new().balance_at(allowance, now)))
    }

    fn buckets_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        allowance: &Allowance,
        now: Timestamp,
    ) -> StoreFuture<Vec<Bucket>> {
        let known = self.look(account.as_str(), currency, |state| state.buckets_at(allowance, now));
        StoreFuture::ready(known.unwrap_or_else(|| Model::new().buckets_at(allowance, now)))
    }

    fn budget_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        draw: &BudgetDraw<'_>,
        now: Timestamp,
    ) -> StoreFuture<Option<BudgetStatus>> {
        let known = self.look(account.as_str(), currency, |state| state.budget_at(draw, now));
        StoreFuture::ready(Some(known.unwrap_or_else(|| Model::new().budget_at(draw, now))))
    }

    fn entries(&self, query: &EntryQuery) -> StoreFuture<Vec<Entry>> {
        let newest = |state: &State| state.newest(query.before, query.limit);
        let entries = self.look(query.account.as_str(), &query.currency, newest);
        StoreFuture::ready(entries.unwrap_or_default())
    }

    fn adjust(&self, adjustment: &Adjustment<'_>) -> StoreFuture<Adjusted> {
        let adjust = |state: &mut State| state.of(adjustment.currency).adjust(adjustment);
        StoreFuture::ready(self.work(adjustment.account.as_str(), adjust))
    }

    fn erase_balance(&self, account: &AccountId) -> StoreFuture<bool> {
        let account_balances = self.account_balances.pin();
        let Some(account_balance) = account_balances.get(account).map(Arc::clone) else {
            return StoreFuture::ready(false);
        };
        // The account's lock is held here: a caller that waits for it finds that they are erased and looks the account up
        // again.
        let mut state = account_balance.lock();
        let was_there = !state.is_erased();
        if was_there {
            state.erase();
            account_balances.remove(account);
        }
        StoreFuture::ready(was_there)
    }

    fn forget_entries(&self, before: Timestamp) -> StoreFuture<u64> {
        StoreFuture::ready(self.history.fold(before))
    }
}
