//! Crossings and waiting alerts in memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::alert::{Alert, AlertId, AlertKind, AlertStore, Crossing, Delivery};
use crate::clock::Timestamp;
use crate::future::StoreFuture;

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
    /// The period and the time of the claim of each crossing, by kind, subject and threshold.
    crossings: HashMap<(AlertKind, String, String), (i64, Timestamp)>,
    /// The deliveries in the order of their alerts, each with the time at which it is due.
    waiting: Vec<(Delivery, Timestamp)>,
}

impl MemoryAlertStore {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(crossing: &Crossing) -> (AlertKind, String, String) {
    (crossing.kind, crossing.subject.clone(), crossing.threshold.clone())
}

impl AlertStore for MemoryAlertStore {
    fn claim(&self, crossing: &Crossing, alert: &Alert, sinks: &[String]) -> StoreFuture<bool> {
        let kept = &mut *self.kept();
        let name = name(crossing);
        if kept.crossings.get(&name).is_some_and(|(period, _)| *period >= crossing.period) {
            return StoreFuture::ready(false);
        }
        if kept.crossings.len() >= MOST {
            let oldest = kept.crossings.iter().min_by_key(|(_, (_, claimed))| *claimed);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                kept.crossings.remove(&oldest);
            }
        }
        kept.crossings.insert(name, (crossing.period, alert.time));
        for sink in sinks {
            if kept.waiting.len() >= MOST {
                kept.waiting.remove(0);
            }
            kept.waiting.push((Delivery::new(alert.clone(), sink, 0, alert.time), alert.time));
        }
        StoreFuture::ready(true)
    }

    fn release(&self, crossing: &Crossing) -> StoreFuture<bool> {
        let (kept, name) = (&mut *self.kept(), name(crossing));
        let is_remembered = kept.crossings.get(&name).is_some_and(|(period, _)| *period <= crossing.period);
        if is_remembered {
            kept.crossings.remove(&name);
        }
        StoreFuture::ready(is_remembered)
    }

    fn claimed(&self, since: Timestamp, limit: usize) -> StoreFuture<Vec<(Crossing, Timestamp)>> {
        let kept = self.kept();
        let recent = kept.crossings.iter().filter(|(_, (_, claimed))| *claimed >= since);
        let crossing = |((kind, subject, threshold), (period, claimed)): (
            &(AlertKind, String, String),
            &(i64, Timestamp),
        )| {
            (Crossing::new(*kind, subject.as_str(), threshold.as_str(), *period), *claimed)
        };
        let mut recent: Vec<_> = recent.map(crossing).collect();
        recent.sort_by_key(|(_, claimed)| *claimed);
        recent.truncate(limit);
        StoreFuture::ready(recent)
    }

    fn take_due(
        &self,
        sinks: &[String],
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> StoreFuture<Vec<Delivery>> {
        let mut kept = self.kept();
        let is_due =
            |(delivery, due): &&mut (Delivery, Timestamp)| *due <= now && sinks.contains(&delivery.sink);
        let taken = kept.waiting.iter_mut().filter(is_due).take(limit).map(|(delivery, due)| {
            *due = now.saturating_add(lease);
            delivery.attempt = delivery.attempt.saturating_add(1);
            Delivery { now, ..delivery.clone() }
        });
        StoreFuture::ready(taken.collect())
    }

    fn retry(&self, alert: AlertId, sink: &str, due: Timestamp) -> StoreFuture<()> {
        let mut kept = self.kept();
        let is_it =
            |(delivery, _): &&mut (Delivery, Timestamp)| delivery.alert.id == alert && delivery.sink == sink;
        if let Some((_, at)) = kept.waiting.iter_mut().find(is_it) {
            *at = due;
        }
        StoreFuture::ready(())
    }

    fn finish(&self, alert: AlertId, sink: &str) -> StoreFuture<()> {
        self.kept().waiting.retain(|(delivery, _)| delivery.alert.id != alert || delivery.sink != sink);
        StoreFuture::ready(())
    }

    fn forget(&self, before: Timestamp) -> StoreFuture<u64> {
        let mut kept = self.kept();
        let length = kept.crossings.len();
        kept.crossings.retain(|_, (_, claimed)| *claimed >= before);
        StoreFuture::ready(u64::try_from(length - kept.crossings.len()).unwrap_or(u64::MAX))
    }
}
