//! Times of last use: collected in memory, and written to the store periodically.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::key::{KeyId, KeyRecord};

/// A collector of times of last use. It records each key at most once per resolution, so that a request usually costs
/// one comparison.
#[derive(Debug)]
pub(crate) struct Uses {
    /// The minimum time between two records for one key, in milliseconds; `None` if uses are not recorded.
    resolution: Option<i64>,
    noted: Mutex<HashMap<KeyId, Timestamp>>,
}

impl Uses {
    pub(crate) fn every(resolution: Option<Duration>) -> Self {
        let millis = |resolution: Duration| i64::try_from(resolution.as_millis()).unwrap_or(i64::MAX);
        Self { resolution: resolution.map(millis), noted: Mutex::default() }
    }

    /// Records a use, unless one was recorded within the resolution. `last_used` is the gate's own note of the last
    /// record; without it, the use is compared with the time that the store knows.
    #[inline]
    pub(crate) fn note(&self, record: &KeyRecord, last_used: Option<&AtomicI64>, now: Timestamp) {
        let Some(resolution) = self.resolution else { return };
        let stored = || record.last_used_at.map_or(i64::MIN, Timestamp::as_millis);
        let before = last_used.map_or_else(stored, |last| last.load(Ordering::Relaxed));
        if now.as_millis().saturating_sub(before) >= resolution {
            if let Some(last) = last_used {
                last.store(now.as_millis(), Ordering::Relaxed);
            }
            self.add(record.id, now);
        }
    }

    #[cold]
    fn add(&self, key: KeyId, now: Timestamp) {
        keep_latest(&mut self.noted(), key, now);
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
