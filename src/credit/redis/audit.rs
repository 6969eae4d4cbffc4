//! The audit: recomputes balances and buckets from their entries.

use std::collections::HashMap;

use super::call::{credits, read_entry};
use super::{Keys, RedisLedger};
use crate::amount::Currency;
use crate::credit::model::StateText;
use crate::credit::{Balance, BucketId, Disagreement, Entry, EntryKind};
use crate::error::StoreError;

impl RedisLedger {
    /// Recomputes all balances and buckets from the entries, and the sums of the open charges, and returns the accounts
    /// whose stored values differ.
    ///
    /// Of an account of which older entries are not kept, the amounts before the oldest entry are taken as right. It scans
    /// all keys of the server, a few at a time, and reads each account as of one moment. In a cluster, it scans those of
    /// all masters.
    ///
    /// # Errors
    ///
    /// An error of the server, or credits that cannot be read.
    pub async fn audit(&self) -> Result<Vec<Disagreement>, StoreError> {
        let mut found = HashMap::new();
        for master in self.server.masters().await? {
            let mut cursor = None;
            while let Some(names) = self.page(&master, "entries", &mut cursor).await? {
                for name in names {
                    let name = name.strip_suffix(":entries").unwrap_or(&name);
                    let keys = Keys::new(name, name);
                    let kept: Vec<String> = self.server.run(&self.scripts.audit, &keys.0, &[]).await?;
                    let (account, currency) = self.parts(name)?;
                    let sums = Disagreement { account, currency, ..judge(&kept)? };
                    let agrees = sums.balance == sums.entries && sums.held == sums.open;
                    if !agrees || sums.broken != 0 || sums.buckets != 0 {
                        // A scan may return a name twice.
                        found.insert(name.to_owned(), sums);
                    }
                }
            }
        }
        Ok(found.into_values().collect())
    }
}

/// Compares what is stored of an account. The account and the currency are left out.
fn judge(kept: &[String]) -> Result<Disagreement, StoreError> {
    let [text, count, lists @ ..] = kept else {
        return Err(StoreError::corrupt("unknown answer of a script in Redis"));
    };
    let count: usize = count.parse().map_err(StoreError::corrupt)?;
    let (entries, open) = lists.split_at(count.min(lists.len()));
    let StateText { model, last, .. } = StateText::read(text)?;
    let entries: Vec<Entry> =
        entries.iter().rev().map(|entry| read_entry(entry)).collect::<Result<_, _>>()?;
    let balance = |entry: &Entry| match entry.balance {
        Balance::Unlimited => 0,
        Balance::Owed(debt) => -debt.get().cast_signed(),
        Balance::Limited(credits) => credits.get().cast_signed(),
    };
    let left = |entry: &Entry| {
        let left = entry.left.get().cast_signed();
        if entry.bucket == BucketId::Debt { -left } else { left }
    };
    let is_whole = entries.first().is_none_or(|first| first.number == 1 || first.kind == EntryKind::Folded);
    let (mut broken, mut sums, mut before): (i64, HashMap<String, i64>, Option<&Entry>) =
        (0, HashMap::new(), None);
    let mut sum = entries.first().filter(|_| !is_whole).map_or(0, |first| balance(first) - first.amount);
    for entry in &entries {
        let follows = before.is_none_or(|before| before.number + 1 == entry.number);
        let is_folded = entry.kind == EntryKind::Folded;
        let earlier = if is_whole { 0 } else { left(entry) - entry.amount };
        let bucket = sums.entry(entry.bucket.stored()).or_insert(earlier);
        (sum, *bucket) = (sum + entry.amount, *bucket + entry.amount);
        broken += i64::from(sum != balance(entry) || *bucket != left(entry) || !(follows || is_folded));
        before = Some(entry);
    }
    broken += i64::from(before.map_or(0, |entry| entry.number) != last);
    let stored = model.amounts();
    let numbers = model.stored_numbers();
    let known =
        |id: &String| if is_whole { Some(sums.get(id).copied().unwrap_or(0)) } else { sums.get(id).copied() };
    let differs = |(id, amount): (&String, &i64)| known(id).is_some_and(|sum| sum != *amount);
    let missing = sums.iter().filter(|(id, sum)| **sum != 0 && !stored.contains_key(*id)).count();
    let buckets = stored.iter().filter(|bucket| differs(*bucket)).count() + missing;
    let mut charges = 0;
    for charge in open.iter().filter(|charge| !charge.starts_with("void")) {
        let words: Vec<&str> = charge.split(' ').collect();
        if words.get(3) != Some(&"-") {
            charges += credits(words[0])?.get().cast_signed();
        }
    }
    Ok(Disagreement {
        account: "".into(),
        currency: Currency::CREDITS,
        balance: numbers.balance.cast_signed() + numbers.beside,
        entries: sum,
        held: numbers.open.cast_signed(),
        open: charges,
        broken,
        buckets: buckets.try_into().unwrap_or(i64::MAX),
    })
}
