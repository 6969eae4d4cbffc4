//! The write side of the Redis ledger: operators read and change balances.

use std::sync::Arc;

use redis::cmd;

use super::{BESIDE, RedisLedger, credits, read_id, terms};
use crate::account::Allowance;
use crate::amount::{Credits, Currency};
use crate::clock::Timestamp;
use crate::credit::due::{Due, Floor};
use crate::credit::{
    Adjusted, Adjustment, AdjustmentId, AdjustmentKind, Balance, Bucket, CreditAdmin, Entry, EntryKind,
    EntryQuery, one_bucket,
};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::name::AccountId;

/// The text for an account without limit, in place of an amount.
const UNLIMITED: &str = "unlimited";

/// A limit above the number of entries that are kept.
const MOST: usize = 10_000;

impl CreditAdmin for RedisLedger {
    fn balance_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        allowance: &Allowance,
        now: Timestamp,
    ) -> StoreFuture<Balance> {
        if let Err(error) = one_bucket::accept_currency(currency) {
            return StoreFuture::failed(error);
        }
        let (server, balance_key, allowance) =
            (self.server.clone(), self.balance_key(account.as_str()), allowance.clone());
        StoreFuture::boxed(async move {
            let kept: Option<String> = server.ask(cmd("GET").arg(balance_key)).await?;
            let unknown = "0 0 0 0 none 0 0 0 none".to_owned();
            balance_at(&kept.unwrap_or(unknown), &allowance, now)
                .ok_or_else(|| StoreError::corrupt("invalid balance in Redis"))
        })
    }

    fn buckets_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        allowance: &Allowance,
        now: Timestamp,
    ) -> StoreFuture<Vec<Bucket>> {
        let (balance, allowance) = (self.balance_of(account, currency, allowance, now), allowance.clone());
        StoreFuture::boxed(async move { Ok(one_bucket::buckets(balance.await?, &allowance)) })
    }

    fn entries(&self, query: &EntryQuery) -> StoreFuture<Vec<Entry>> {
        if let Err(error) = one_bucket::accept_currency(&query.currency) {
            return StoreFuture::failed(error);
        }
        if query.limit == 0 {
            return StoreFuture::ready(Vec::new());
        }
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let names = [format!("{}:entries", self.balance_key(query.account.as_str()))];
        let before = query.before.map(|before| before.to_string()).unwrap_or_default();
        let arguments = [before, query.limit.min(MOST).to_string()];
        StoreFuture::boxed(async move {
            let kept: Vec<String> = server.run(&scripts.entries, &names, &arguments).await?;
            let entries = kept.iter().map(|entry| read_entry(entry));
            entries.collect::<Option<_>>().ok_or_else(|| StoreError::corrupt("invalid entry in Redis"))
        })
    }

    fn adjust(&self, adjustment: &Adjustment<'_>) -> StoreFuture<Adjusted> {
        if let Err(error) = one_bucket::accept_adjustment(&adjustment.kind, adjustment.currency) {
            return StoreFuture::failed(error);
        }
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let balance_key = self.balance_key(adjustment.account.as_str());
        let keys = ["", ":entries", ":made", ":made:order", ":open", ":closed"]
            .map(|rest| format!("{balance_key}{rest}"));
        let (kind, amount) = written(&adjustment.kind);
        let mut arguments = vec![adjustment.id.to_string(), kind.to_owned(), amount.to_string()];
        arguments.extend(terms(adjustment.allowance, adjustment.now));
        StoreFuture::boxed(async move {
            let (became, before, after): (String, String, String) =
                server.run(&scripts.adjust, &keys, &arguments).await?;
            adjusted(&became, &before, &after)
        })
    }

    fn erase_balance(&self, account: &AccountId) -> StoreFuture<bool> {
        let (server, balance_key) = (self.server.clone(), self.balance_key(account.as_str()));
        let mut erase = cmd("DEL");
        for rest in ["", ":made", ":made:order"].into_iter().chain(BESIDE) {
            erase.arg(format!("{balance_key}{rest}"));
        }
        StoreFuture::boxed(async move { server.ask::<u64>(&erase).await.map(|erased| erased > 0) })
    }

    fn forget_entries(&self, before: Timestamp) -> StoreFuture<u64> {
        let ledger = self.clone();
        StoreFuture::boxed(async move { ledger.fold(before).await })
    }
}

/// Returns the balance at a given time, including a grant that is due.
fn balance_at(balance_key: &str, allowance: &Allowance, now: Timestamp) -> Option<Balance> {
    let words: Vec<&str> = balance_key.split(' ').collect();
    let [balance, held, _, _, due, unlimited, lent, rest @ ..] = words.as_slice() else { return None };
    let (period, again, floor) = match *rest {
        [period, again, floor] => (period, again, floor),
        // A balance before any clock leapt.
        [period, again] => (period, again, "none"),
        // A balance that was written before periods were recorded.
        [] => ("0", "none", "none"),
        _ => return None,
    };
    let [balance, held, lent] = [balance, held, lent].map(|amount| credits(amount).ok());
    let (balance, held, lent, period) = (balance?, held?, lent?, period.parse().ok()?);
    let time = |text: &str| match text {
        "none" => Some(None),
        _ => text.parse().ok().map(|millis| Some(Timestamp::from_millis(millis))),
    };
    let (floor, moved) = floor.split_once('/').unwrap_or((floor, ""));
    let moved = if moved.is_empty() { u32::MAX } else { moved.parse().ok()? };
    let (again, floor) = (time(again)?, time(floor)?.map(|at| Floor { at, moved }));
    let due = time(due)?.map(|at| Due { at, period, again, floor });
    Some(match allowance {
        Allowance::Unlimited => Balance::Unlimited,
        _ if *unlimited == "1" => Balance::Unlimited,
        Allowance::Grant(grant) if due.is_none_or(|due| due.turn(grant, now).0) => {
            let room = Credits::MAX.checked_sub(held).unwrap_or_default();
            let granted = grant.amount().checked_sub(lent).unwrap_or_default();
            Balance::Limited(balance.max(granted.min(room)))
        }
        _ => Balance::Limited(balance),
    })
}

/// Returns an adjustment's kind and amount in their stored form.
///
/// The ledger has refused the kinds that need buckets.
fn written(kind: &AdjustmentKind) -> (&'static str, Credits) {
    match kind {
        AdjustmentKind::TopUp(amount) | AdjustmentKind::TopUpInto { amount, .. } => ("top-up", *amount),
        AdjustmentKind::Deduct(amount) => ("deduction", *amount),
        AdjustmentKind::Expire(_) | AdjustmentKind::Move { .. } => ("deduction", Credits::ZERO),
        AdjustmentKind::Set(amount) => ("set", *amount),
        AdjustmentKind::MakeUnlimited => (UNLIMITED, Credits::ZERO),
    }
}

fn read_kind(kind: &str, amount: &str) -> Result<AdjustmentKind, StoreError> {
    let amount = credits(amount)?;
    match kind {
        "top-up" => Ok(AdjustmentKind::TopUp(amount)),
        "deduction" => Ok(AdjustmentKind::Deduct(amount)),
        "set" => Ok(AdjustmentKind::Set(amount)),
        UNLIMITED => Ok(AdjustmentKind::MakeUnlimited),
        _ => Err(StoreError::corrupt("unknown kind of adjustment in Redis")),
    }
}

fn adjusted(became: &str, before: &str, after: &str) -> Result<Adjusted, StoreError> {
    match became {
        "done" => Ok(Adjusted::Done { before: balance(before)?, balance: balance(after)? }),
        "repeated" => Ok(Adjusted::Repeated { balance: balance(after)? }),
        "conflict" => read_kind(before, after).map(|made| Adjusted::Conflict { made }),
        "insufficient" => credits(after).map(|balance| Adjusted::Insufficient { balance }),
        // An account without limit may be set to an amount that is too large. It has no balance to report, so the value
        // is zero.
        "too much" => {
            balance(after).map(|there| Adjusted::TooMuch { balance: there.credits().unwrap_or_default() })
        }
        UNLIMITED => Ok(Adjusted::Unlimited),
        _ => Err(StoreError::corrupt("unknown result of an adjustment in Redis")),
    }
}

fn balance(text: &str) -> Result<Balance, StoreError> {
    if text == UNLIMITED { Ok(Balance::Unlimited) } else { credits(text).map(Balance::Limited) }
}

/// Parses an entry from its words: the number, the kind, the id, the amount, the balance and the time.
fn read_entry(entry: &str) -> Option<Entry> {
    let words: Vec<&str> = entry.split(' ').collect();
    let &[number, kind, id, amount, left, at] = words.as_slice() else { return None };
    let charge = || read_id(id);
    let adjustment = || id.parse::<AdjustmentId>().ok();
    let kind = match kind {
        "charge" => EntryKind::Charge(charge()?),
        "settlement" => EntryKind::Settlement(charge()?),
        "refund" => EntryKind::Refund(charge()?),
        "grant" => EntryKind::Grant,
        "top-up" => EntryKind::TopUp(adjustment()?),
        "deduction" => EntryKind::Deduction(adjustment()?),
        "set" => EntryKind::Set(adjustment()?),
        "folded" => EntryKind::Folded,
        UNLIMITED => EntryKind::Unlimited(adjustment()?),
        _ => return None,
    };
    let at = Timestamp::from_millis(at.parse().ok()?);
    Some(Entry::new(number.parse().ok()?, at, kind, amount.parse().ok()?, balance(left).ok()?))
}
