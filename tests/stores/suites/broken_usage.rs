//! A usage store that breaks one rule of its contract.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tollgate::clock::Timestamp;
use tollgate::name::AccountId;
use tollgate::telemetry::DecisionOutcome;
use tollgate::usage::{
    BatchId, MemoryUsage, TopKey, TopQuery, UsageBatch, UsageFilter, UsagePart, UsageQuery, UsageRange,
    UsageRetention, UsageStep, UsageStore, Written,
};
use tollgate::{DenialKind, StoreFuture};

use super::broken_store::ready;

rules! {
    ForgetsIds,
    ForgetsNodes,
    SaysAdded,
    LosesRowsOfLargeBatches,
    LosesEveryOtherBatch,
    KeepsOneRowOfAPlace,
    CountsMonthsTwice,
    LosesMinutes,
    MixesDenials,
    TakesTheMinuteForTheLastTime,
    LosesRequestsWithoutKey,
    IncludesTheEnd,
    BeginsLate,
    TellsTheLatestFirst,
    TellsOfUnknownKeys,
    IgnoresAccounts,
    IgnoresRules,
    IgnoresKeys,
    TellsTheLeastFirst,
    IgnoresLimits,
    IgnoresTheRangeOfTop,
    CountsOneRequestOfTop,
    PrunesNothing,
    PrunesAllStepsAlike,
    PrunesMonths,
    ForgetsRecentBatches,
    ErasesNothing,
    SaysErased,
    BarsErasedAccounts,
}

#[derive(Debug)]
pub(crate) struct Broken {
    inner: MemoryUsage,
    rule: Rule,
    writes: AtomicU64,
    prunes: AtomicU64,
    erased: Mutex<HashSet<AccountId>>,
}

impl Broken {
    pub(crate) fn new(rule: Rule) -> Self {
        let (writes, prunes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { inner: MemoryUsage::new(), rule, writes, prunes, erased: Mutex::default() }
    }

    fn id(&self, mut id: BatchId, write: u64) -> BatchId {
        match self.rule {
            Rule::ForgetsIds => id.number = write,
            Rule::ForgetsNodes => id.node = [0; 16],
            Rule::ForgetsRecentBatches => id.number ^= self.prunes.load(Ordering::Relaxed) << 32,
            _ => {}
        }
        id
    }

    fn filter(&self, filter: &UsageFilter) -> UsageFilter {
        let mut filter = filter.clone();
        match self.rule {
            Rule::IgnoresAccounts => filter.account = None,
            Rule::IgnoresRules if filter.key.is_some() => filter.rule = None,
            Rule::IgnoresKeys if filter.rule.is_some() => filter.key = None,
            _ => {}
        }
        filter
    }

    fn range(&self, range: UsageRange) -> UsageRange {
        let (mut from, mut to) = (range.from(), range.to());
        match self.rule {
            Rule::IncludesTheEnd => to = range.step().after(to),
            Rule::BeginsLate => from = range.step().after(from),
            _ => {}
        }
        UsageRange::new(range.step(), from, to).unwrap_or(range)
    }
}

impl UsageStore for Broken {
    fn write(&self, batch: &UsageBatch) -> StoreFuture<Written> {
        let (write, mut rows) = (self.writes.fetch_add(1, Ordering::Relaxed), batch.rows().to_vec());
        match self.rule {
            Rule::LosesRowsOfLargeBatches => rows.truncate(512),
            Rule::LosesEveryOtherBatch if write % 2 == 1 => rows.clear(),
            Rule::KeepsOneRowOfAPlace => {
                rows.dedup_by_key(|row| (row.key, row.rule.clone(), row.outcome, row.minute));
            }
            Rule::LosesRequestsWithoutKey => rows.retain(|row| row.key.is_some()),
            Rule::BarsErasedAccounts => {
                let erased = self.erased.lock().unwrap();
                rows.retain(|row| row.account.as_ref().is_none_or(|account| !erased.contains(account)));
            }
            _ => {}
        }
        for row in &mut rows {
            match self.rule {
                Rule::MixesDenials if row.outcome != DecisionOutcome::Admitted => {
                    row.outcome = DecisionOutcome::Denied(DenialKind::Unknown);
                }
                Rule::TakesTheMinuteForTheLastTime => row.counts.last_seen = row.minute,
                _ => {}
            }
        }
        let written = ready(self.inner.write(&UsageBatch::new(self.id(batch.id(), write), rows)));
        StoreFuture::ready(if self.rule == Rule::SaysAdded { Written::Added } else { written })
    }

    fn read(&self, query: &UsageQuery) -> StoreFuture<Vec<UsagePart>> {
        let (range, step) = (self.range(query.range), query.range.step());
        let mut parts = ready(self.inner.read(&UsageQuery::new(self.filter(&query.filter), range)));
        match self.rule {
            Rule::LosesMinutes if step == UsageStep::Minute => parts.clear(),
            Rule::CountsMonthsTwice if step == UsageStep::Month => {
                for part in &mut parts {
                    part.counts.requests *= 2;
                }
            }
            Rule::TellsTheLatestFirst => parts.reverse(),
            Rule::TellsOfUnknownKeys if parts.is_empty() && query.filter.key.is_some() => {
                let all = UsageQuery::new(UsageFilter::all(), range);
                parts = ready(self.inner.read(&all));
            }
            Rule::PrunesMonths if step == UsageStep::Month && self.prunes.load(Ordering::Relaxed) > 0 => {
                parts.retain(|part| part.start > Timestamp::from_millis(1_700_000_000_000));
            }
            _ => {}
        }
        StoreFuture::ready(parts)
    }

    fn top(&self, query: &TopQuery) -> StoreFuture<Vec<TopKey>> {
        let mut query = query.clone();
        query.filter = self.filter(&query.filter);
        match self.rule {
            Rule::IgnoresLimits => query.limit = usize::MAX,
            Rule::IgnoresTheRangeOfTop => {
                let to = query.range.to().saturating_add(Duration::from_hours(48));
                query.range = UsageRange::new(query.range.step(), query.range.from(), to).unwrap();
            }
            _ => {}
        }
        let mut top = ready(self.inner.top(&query));
        match self.rule {
            Rule::TellsTheLeastFirst => top.reverse(),
            Rule::CountsOneRequestOfTop => top.iter_mut().for_each(|top| top.counts.requests = 1),
            _ => {}
        }
        StoreFuture::ready(top)
    }

    fn prune(&self, keep: &UsageRetention, now: Timestamp) -> StoreFuture<u64> {
        self.prunes.fetch_add(1, Ordering::Relaxed);
        match self.rule {
            Rule::PrunesNothing => StoreFuture::ready(0),
            Rule::PrunesAllStepsAlike => {
                let alike = UsageRetention { minutes: keep.minutes, hours: keep.minutes, days: keep.minutes };
                self.inner.prune(&alike, now)
            }
            _ => self.inner.prune(keep, now),
        }
    }

    fn erase_account(&self, account: &AccountId) -> StoreFuture<bool> {
        self.erased.lock().unwrap().insert(account.clone());
        match self.rule {
            Rule::ErasesNothing => StoreFuture::ready(true),
            Rule::SaysErased => {
                let _ = ready(self.inner.erase_account(account));
                StoreFuture::ready(true)
            }
            _ => self.inner.erase_account(account),
        }
    }
}
