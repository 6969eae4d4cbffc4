//! The write side of the Redis ledger: operators read and change balances.

use redis::cmd;

use super::call::{Call, hex, read_entry};
use super::{ENDS, RedisLedger, written};
use crate::account::{Allowance, BudgetStatus};
use crate::amount::Currency;
use crate::clock::Timestamp;
use crate::credit::decide::{Answer, Ask};
use crate::credit::model::{Model, StateText, StoredBudget};
use crate::credit::{
    Adjusted, Adjustment, AdjustmentKind, Balance, Bucket, BudgetDraw, CreditAdmin, Entry, EntryQuery,
};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::name::AccountId;

/// A limit above the number of entries that are kept.
const MOST: usize = 10_000;

impl RedisLedger {
    /// Reads an account's credits, and makes a value of them.
    fn look_at<T: Send + 'static>(
        &self,
        account: &AccountId,
        currency: &Currency,
        look: impl FnOnce(&Model) -> T + Send + 'static,
    ) -> StoreFuture<T> {
        let (server, keys) = (self.server.clone(), self.keys(account.as_str(), currency));
        StoreFuture::boxed(async move {
            let text: Option<String> = server.ask(cmd("GET").arg(&keys.0[0])).await?;
            let model =
                text.map_or_else(|| Ok(Model::new()), |text| StateText::read(&text).map(|read| read.model));
            Ok(look(&model?))
        })
    }
}

impl CreditAdmin for RedisLedger {
    fn balance_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        allowance: &Allowance,
        now: Timestamp,
    ) -> StoreFuture<Balance> {
        let allowance = allowance.clone();
        self.look_at(account, currency, move |model| model.balance_at(&allowance, now))
    }

    fn buckets_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        allowance: &Allowance,
        now: Timestamp,
    ) -> StoreFuture<Vec<Bucket>> {
        let allowance = allowance.clone();
        self.look_at(account, currency, move |model| model.buckets_at(&allowance, now))
    }

    fn budget_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        draw: &BudgetDraw<'_>,
        now: Timestamp,
    ) -> StoreFuture<Option<BudgetStatus>> {
        let (server, keys) = (self.server.clone(), self.keys(account.as_str(), currency));
        let (key, budget) = (draw.key, draw.budget.clone());
        StoreFuture::boxed(async move {
            let text: Option<String> =
                server.ask(cmd("HGET").arg(&keys.0[4]).arg(hex(key.as_bytes()))).await?;
            let mut model = Model::new();
            if let Some(text) = text {
                model.budgets().restore(key, &StoredBudget::from_text(&text)?);
            }
            Ok(Some(model.budget_at(&BudgetDraw { key, budget: &budget }, now)))
        })
    }

    fn entries(&self, query: &EntryQuery) -> StoreFuture<Vec<Entry>> {
        if query.limit == 0 {
            return StoreFuture::ready(Vec::new());
        }
        let (ledger, keys) = (self.clone(), self.keys(query.account.as_str(), &query.currency));
        let before = query.before.map(|before| before.to_string()).unwrap_or_default();
        let arguments = [before, query.limit.min(MOST).to_string()];
        StoreFuture::boxed(async move {
            let names = [keys.0[2].clone()];
            let kept: Vec<String> = ledger.server.run(&ledger.scripts.entries, &names, &arguments).await?;
            kept.iter().map(|entry| read_entry(entry)).collect()
        })
    }

    fn adjust(&self, adjustment: &Adjustment<'_>) -> StoreFuture<Adjusted> {
        let (ledger, currency) = (self.clone(), written(adjustment.currency));
        let keys = self.keys(adjustment.account.as_str(), adjustment.currency);
        let ask = Ask::Adjust {
            id: adjustment.id.clone(),
            account: keys.account(),
            kind: adjustment.kind.clone(),
            allowance: adjustment.allowance.clone(),
            now: adjustment.now,
        };
        let sets = if matches!(adjustment.kind, AdjustmentKind::Set(_)) { "set" } else { "" };
        let arguments = vec![adjustment.id.to_string(), sets.to_owned()];
        StoreFuture::boxed(async move {
            let script = &ledger.scripts.read;
            match ledger.call(Call { keys, script, arguments, ask, currency }).await? {
                Answer::Adjusted(adjusted) => Ok(adjusted),
                _ => Err(StoreError::corrupt("Redis returned a result of another type")),
            }
        })
    }

    fn erase_balance(&self, account: &AccountId) -> StoreFuture<bool> {
        let (ledger, name) = (self.clone(), self.name_of(account.as_str()));
        StoreFuture::boxed(async move {
            let ends = ENDS.map(str::to_owned);
            ledger.server.run::<u64>(&ledger.scripts.erase, &[name], &ends).await.map(|erased| erased > 0)
        })
    }

    fn forget_entries(&self, before: Timestamp) -> StoreFuture<u64> {
        let ledger = self.clone();
        StoreFuture::boxed(async move { ledger.fold(before).await })
    }
}
