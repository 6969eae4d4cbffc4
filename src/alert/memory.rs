//! Crossings and waiting alerts in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::alert::{Alert, AlertId, AlertKind, AlertStore, Crossing, Delivery, WRONG_BY};
use crate::clock::Timestamp;
use crate::future::StoreFuture;
use crate::name::AccountId;

/// The maximum number of remembered crossings, and of waiting deliveries.
const MOST: usize = 100_000;

/// A store of crossings and waiting alerts in memory, for one node. It is the store of a gate that has no other.
///
/// Nothing of it survives the process: after a restart, a crossing is told again, and waiting alerts are lost. It has
/// room for 100,000 crossings and as many deliveries. Beyond that the oldest ones are dropped.
#[derive(Debug, Default)]
pub struct MemoryAlertStore(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    crossings: HashMap<CrossingName, Claimed>,
    /// The deliveries by alert and sink, each with the time at which it is due. Ids of alerts sort by time.
    waiting: BTreeMap<(AlertId, String), (Delivery, Timestamp)>,
}

/// A crossing that was claimed.
#[derive(Debug)]
struct Claimed {
    period: i64,
    at: Timestamp,
    account: Option<AccountId>,
}

/// The kind, the subject and the threshold of a crossing.
type CrossingName = (AlertKind, String, String);

impl MemoryAlertStore {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Adds the deliveries of an alert to these sinks.
    fn add(&mut self, alert: &Alert, sinks: &[String], due: Timestamp) {
        for sink in sinks {
            if self.waiting.len() >= MOST {
                self.waiting.pop_first();
            }
            let delivery = Delivery::new(alert.clone(), sink, 0, due);
            self.waiting.insert((alert.id, sink.clone()), (delivery, due));
        }
    }

    /// Drops the oldest tenth of the crossings.
    fn drop_oldest(&mut self) {
        let mut times: Vec<_> = self.crossings.values().map(|claimed| claimed.at).collect();
        let (_, bound, _) = times.select_nth_unstable(MOST / 10);
        let bound = *bound;
        self.crossings.retain(|_, claimed| claimed.at > bound);
    }
}

fn name(crossing: &Crossing) -> CrossingName {
    (crossing.kind, crossing.subject.clone(), crossing.threshold.clone())
}

/// Returns true if a delivery is due, also because its time was set by a clock that was ahead.
fn is_due(due: Timestamp, now: Timestamp) -> bool {
    due <= now || due > now.saturating_add(WRONG_BY)
}

impl AlertStore for MemoryAlertStore {
    fn claim(&self, crossing: &Crossing, alert: &Alert, sinks: &[String]) -> StoreFuture<bool> {
        let kept = &mut *self.kept();
        let name = name(crossing);
        let latest = alert.time.saturating_add(WRONG_BY);
        let holds = |claimed: &Claimed| claimed.period >= crossing.period && claimed.at <= latest;
        if kept.crossings.get(&name).is_some_and(holds) {
            return StoreFuture::ready(false);
        }
        if kept.crossings.len() >= MOST {
            kept.drop_oldest();
        }
        kept.crossings.insert(
            name,
            Claimed { period: crossing.period, at: alert.time, account: alert.account.clone() },
        );
        kept.add(alert, sinks, alert.time);
        StoreFuture::ready(true)
    }

    fn release(&self, crossing: &Crossing) -> StoreFuture<bool> {
        let (kept, name) = (&mut *self.kept(), name(crossing));
        let is_remembered =
            kept.crossings.get(&name).is_some_and(|claimed| claimed.period <= crossing.period);
        if is_remembered {
            kept.crossings.remove(&name);
        }
        StoreFuture::ready(is_remembered)
    }

    fn claimed(
        &self,
        kind: AlertKind,
        since: Timestamp,
        limit: usize,
    ) -> StoreFuture<Vec<(Crossing, Timestamp)>> {
        let kept = self.kept();
        let recent = kept.crossings.iter().filter(|((of, ..), claimed)| *of == kind && claimed.at >= since);
        let mut recent: Vec<_> = recent
            .map(|((_, subject, threshold), claimed)| {
                (Crossing::new(kind, subject.as_str(), threshold.as_str(), claimed.period), claimed.at)
            })
            .collect();
        recent.sort_by_key(|(_, claimed)| *claimed);
        recent.truncate(limit);
        StoreFuture::ready(recent)
    }

    fn forward(&self, from: &str, sinks: &[String], now: Timestamp) -> StoreFuture<u64> {
        if sinks.is_empty() {
            return StoreFuture::ready(0);
        }
        let mut kept = self.kept();
        let is_replaced = |delivery: &Delivery, due: Timestamp| delivery.sink == from && is_due(due, now);
        let replaced: Vec<_> =
            kept.waiting.extract_if(.., |_, (delivery, due)| is_replaced(delivery, *due)).collect();
        for (_, (delivery, _)) in &replaced {
            kept.add(&delivery.alert, sinks, now);
        }
        StoreFuture::ready(u64::try_from(replaced.len()).unwrap_or(u64::MAX))
    }

    fn take_due(
        &self,
        sinks: &[String],
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> StoreFuture<Vec<Delivery>> {
        let mut kept = self.kept();
        let is_taken = |(delivery, due): &&mut (Delivery, Timestamp)| {
            is_due(*due, now) && sinks.contains(&delivery.sink)
        };
        let taken = kept.waiting.values_mut().filter(is_taken).take(limit).map(|(delivery, due)| {
            *due = now.saturating_add(lease);
            delivery.attempt = delivery.attempt.saturating_add(1);
            Delivery { now, ..delivery.clone() }
        });
        StoreFuture::ready(taken.collect())
    }

    fn retry(&self, alert: AlertId, sink: &str, due: Timestamp) -> StoreFuture<()> {
        if let Some((_, at)) = self.kept().waiting.get_mut(&(alert, sink.to_owned())) {
            *at = due;
        }
        StoreFuture::ready(())
    }

    fn finish(&self, alert: AlertId, sink: &str) -> StoreFuture<()> {
        self.kept().waiting.remove(&(alert, sink.to_owned()));
        StoreFuture::ready(())
    }

    fn forget(&self, before: Timestamp, sinks: &[String]) -> StoreFuture<u64> {
        let mut kept = self.kept();
        let length = kept.crossings.len();
        kept.crossings.retain(|_, claimed| claimed.at >= before);
        kept.waiting.retain(|_, (delivery, due)| *due >= before || sinks.contains(&delivery.sink));
        StoreFuture::ready(u64::try_from(length - kept.crossings.len()).unwrap_or(u64::MAX))
    }

    fn erase(&self, account: &AccountId) -> StoreFuture<bool> {
        let mut kept = self.kept();
        let number = kept.crossings.len() + kept.waiting.len();
        kept.crossings.retain(|_, claimed| claimed.account.as_ref() != Some(account));
        kept.waiting.retain(|_, (delivery, _)| delivery.alert.account.as_ref() != Some(account));
        StoreFuture::ready(kept.crossings.len() + kept.waiting.len() < number)
    }
}
