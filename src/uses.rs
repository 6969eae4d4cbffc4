//! Times of last use: collected in memory, and written to the store periodically.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::key::{KeyId, KeyRecord};
use crate::state::StateOwner;

/// A collector of times of last use. It records each key at most once per resolution, so that a request usually costs
/// one comparison.
#[derive(Debug)]
pub(crate) struct Uses {
    owner: StateOwner,
    /// The minimum time between two records for one key, in milliseconds; `None` if uses are not recorded.
    resolution: Option<i64>,
    noted: Mutex<HashMap<KeyId, Timestamp>>,
}

impl Uses {
    pub(crate) fn every(resolution: Option<Duration>) -> Self {
        let millis = |resolution: Duration| i64::try_from(resolution.as_millis()).unwrap_or(i64::MAX);
        Self { owner: StateOwner::new(), resolution: resolution.map(millis), noted: Mutex::default() }
    }

    /// Records a use, unless one was recorded within the resolution.
    #[inline]
    pub(crate) fn note(&self, record: &KeyRecord, now: Timestamp) {
        if let Some(resolution) = self.resolution {
            self.note_each(record, now, resolution);
        }
    }

    fn note_each(&self, record: &KeyRecord, now: Timestamp, resolution: i64) {
        let last = record.state().get::<AtomicI64>(self.owner);
        let written = || record.last_used_at.map_or(i64::MIN, Timestamp::as_millis);
        let before = last.map_or_else(written, |last| last.load(Ordering::Relaxed));
        if now.as_millis().saturating_sub(before) < resolution {
            return;
        }
        match last {
            Some(last) => last.store(now.as_millis(), Ordering::Relaxed),
            None => record.state().attach(self.owner, Arc::new(AtomicI64::new(now.as_millis()))),
        }
        keep_latest(&mut self.noted(), record.id, now);
    }

    /// Returns the last use of a key that has not been written to the store.
    pub(crate) fn of(&self, key: KeyId) -> Option<Timestamp> {
        self.noted().get(&key).copied()
    }

    /// Returns all uses that have not been written to the store.
    pub(crate) fn pending(&self) -> Vec<(KeyId, Timestamp)> {
        self.noted().iter().map(|(key, used)| (*key, *used)).collect()
    }

    /// Removes uses that were written to the store, except those of keys that were used again since.
    pub(crate) fn written(&self, uses: &[(KeyId, Timestamp)]) {
        let mut noted = self.noted();
        for (key, used) in uses {
            if noted.get(key).is_some_and(|noted| noted <= used) {
                noted.remove(key);
            }
        }
    }

    fn noted(&self) -> MutexGuard<'_, HashMap<KeyId, Timestamp>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep_latest(noted: &mut HashMap<KeyId, Timestamp>, key: KeyId, used: Timestamp) {
    let latest = noted.entry(key).or_insert(used);
    *latest = used.max(*latest);
}
