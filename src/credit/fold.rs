//! The entries that represent older ones after these were folded.

use std::collections::HashMap;

use crate::credit::BucketId;

/// An entry to be folded.
pub(super) struct OldEntry {
    pub(super) number: i64,
    /// The stored id; `None` for the main bucket.
    pub(super) bucket: Option<String>,
    pub(super) left: i64,
    /// `None` if there is no limit.
    pub(super) balance: Option<i64>,
}

/// An entry that represents the entries of its bucket up to it.
pub(super) struct Kept {
    pub(super) number: i64,
    pub(super) amount: i64,
    pub(super) balance: Option<i64>,
}

/// Returns the entries that represent all: the last one of each bucket with credits, and the last one of all.
pub(super) fn kept(old: &[OldEntry]) -> Vec<Kept> {
    let Some(last) = old.last() else { return Vec::new() };
    let Some(balance) = last.balance else {
        return vec![Kept { number: last.number, amount: 0, balance: None }];
    };
    let mut latest: HashMap<Option<&str>, &OldEntry> = HashMap::new();
    for entry in old {
        latest.insert(entry.bucket.as_deref(), entry);
    }
    let mut entries: Vec<&OldEntry> =
        latest.into_values().filter(|entry| entry.left > 0 && entry.number != last.number).collect();
    entries.sort_unstable_by_key(|entry| entry.number);
    let mut sum = 0;
    let mut kept: Vec<Kept> = Vec::new();
    for OldEntry { number, bucket, left, .. } in entries {
        let amount = if *bucket == Some(BucketId::Debt.stored()) { -left } else { *left };
        sum += amount;
        kept.push(Kept { number: *number, amount, balance: Some(sum) });
    }
    // The last entry has the whole rest.
    kept.push(Kept { number: last.number, amount: balance - sum, balance: Some(balance) });
    kept
}
