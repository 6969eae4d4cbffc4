//! Usage in the memory of this process.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::future::StoreFuture;
use crate::key::KeyId;
use crate::name::AccountId;
use crate::telemetry::DecisionOutcome;
use crate::usage::record::{outcome_name, outcome_of};
use crate::usage::{
    BATCH_IDS_KEPT, BatchId, TopKey, TopQuery, UsageBatch, UsageCounts, UsagePart, UsageQuery,
    UsageRetention, UsageStep, UsageStore, Written,
};

/// A usage store in memory: for tests, and for one process that may lose its usage when it ends.
///
/// It takes about 100 bytes for each key, rule, outcome and step that is kept. A clock that is set ahead removes counts too
/// early.
///
/// # Example
///
/// ```
/// use tollgate::usage::{BatchId, MemoryUsage, UsageBatch, UsageStore, Written};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tollgate::StoreError> {
/// let (store, id) = (MemoryUsage::new(), BatchId { node: [7; 16], number: 1 });
/// assert_eq!(store.write(&UsageBatch::new(id, Vec::new())).await?, Written::Added);
/// assert_eq!(store.write(&UsageBatch::new(id, Vec::new())).await?, Written::Repeated);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct MemoryUsage(Mutex<State>);

#[derive(Default)]
struct State {
    /// The batches that were written, with the time of the first removal of old counts after that. The rows of a batch may
    /// be older.
    batches: HashMap<BatchId, Option<Timestamp>>,
    series: BTreeMap<Series, [BTreeMap<Timestamp, UsageCounts>; 4]>,
}

/// The key, account, rule and outcome of counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    key: Option<KeyId>,
    account: Option<AccountId>,
    rule: Arc<str>,
    outcome: &'static str,
}

impl MemoryUsage {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, batch: &UsageBatch) -> Written {
        if self.batches.contains_key(&batch.id()) {
            return Written::Repeated;
        }
        self.batches.insert(batch.id(), None);
        for row in batch.rows() {
            let series = Series {
                key: row.key,
                account: row.account.clone(),
                rule: Arc::clone(&row.rule),
                outcome: outcome_name(row.outcome),
            };
            let steps = self.series.entry(series).or_default();
            for (counts, step) in steps.iter_mut().zip(UsageStep::ALL) {
                let start = step.start_of(row.minute);
                counts.entry(start).and_modify(|counts| counts.add(&row.counts)).or_insert(row.counts);
            }
        }
        Written::Added
    }

    fn parts(&self, query: &UsageQuery) -> Vec<UsagePart> {
        let mut parts: BTreeMap<(Timestamp, &str), UsageCounts> = BTreeMap::new();
        let range = query.range;
        for (series, steps) in &self.series {
            if !query.filter.selects(series.key, series.account.as_ref(), &series.rule) {
                continue;
            }
            for (start, counts) in steps[range.step() as usize].range(range.from()..range.to()) {
                let sum = parts.entry((*start, series.outcome));
                sum.and_modify(|sum| sum.add(counts)).or_insert(*counts);
            }
        }
        let part = |((start, outcome), counts)| UsagePart::new(start, outcome_of(outcome), counts);
        parts.into_iter().map(part).collect()
    }

    fn top(&self, query: &TopQuery) -> Vec<TopKey> {
        let mut keys: BTreeMap<KeyId, TopKey> = BTreeMap::new();
        let range = query.range;
        for (series, steps) in &self.series {
            let (Some(key), Some(account)) = (series.key, &series.account) else { continue };
            if !query.filter.selects(series.key, series.account.as_ref(), &series.rule) {
                continue;
            }
            let is_denied = matches!(outcome_of(series.outcome), Some(DecisionOutcome::Denied(_)));
            for counts in
                steps[range.step() as usize].range(range.from()..range.to()).map(|(_, counts)| counts)
            {
                let none = || TopKey::new(key, account.clone(), UsageCounts::none(counts.last_seen), 0);
                let top = keys.entry(key).or_insert_with(none);
                top.counts.add(counts);
                top.refusals += if is_denied { counts.requests } else { 0 };
            }
        }
        let mut keys: Vec<_> = keys.into_values().collect();
        keys.sort_by_key(|top| std::cmp::Reverse(top.rank(query.order)));
        keys.truncate(query.limit);
        keys
    }

    fn prune(&mut self, keep: &UsageRetention, now: Timestamp) -> u64 {
        let mut removed = 0;
        for steps in self.series.values_mut() {
            for (counts, step) in steps.iter_mut().zip(UsageStep::ALL) {
                let Some(before) = keep.before(*step, now) else { continue };
                let kept = counts.split_off(&before);
                removed += counts.len() as u64;
                *counts = kept;
            }
        }
        self.series.retain(|_, steps| steps.iter().any(|counts| !counts.is_empty()));
        let forget = now.saturating_sub(BATCH_IDS_KEPT);
        self.batches.retain(|_, seen| {
            // A clock that was ahead does not keep an id.
            let seen = seen.insert(seen.map_or(now, |seen| seen.min(now)));
            *seen >= forget
        });
        removed
    }
}

impl UsageStore for MemoryUsage {
    fn write(&self, batch: &UsageBatch) -> StoreFuture<Written> {
        StoreFuture::ready(self.state().add(batch))
    }

    fn read(&self, query: &UsageQuery) -> StoreFuture<Vec<UsagePart>> {
        StoreFuture::ready(self.state().parts(query))
    }

    fn top(&self, query: &TopQuery) -> StoreFuture<Vec<TopKey>> {
        StoreFuture::ready(self.state().top(query))
    }

    fn prune(&self, keep: &UsageRetention, now: Timestamp) -> StoreFuture<u64> {
        StoreFuture::ready(self.state().prune(keep, now))
    }

    fn erase_account(&self, account: &AccountId) -> StoreFuture<bool> {
        let mut state = self.state();
        let before = state.series.len();
        state.series.retain(|series, _| series.account.as_ref() != Some(account));
        StoreFuture::ready(state.series.len() < before)
    }
}

impl fmt::Debug for MemoryUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MemoryUsage").field("series", &state.series.len()).finish_non_exhaustive()
    }
}
