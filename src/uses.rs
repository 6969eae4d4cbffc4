//! When keys were last used: noted in memory, written back from time to time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::key::{KeyId, KeyRecord};
use crate::state::StateOwner;

/// Notes uses, each key's at most once per resolution: a request pays one comparison for it.
#[derive(Debug)]
pub(crate) struct Uses {
    owner: StateOwner,
    /// Milliseconds between two notes of one key; `None` where nothing is noted.
    resolution: Option<i64>,
    noted: Mutex<HashMap<KeyId, Timestamp>>,
}

impl Uses {
    pub(crate) fn every(resolution: Option<Duration>) -> Self {
        let millis = |resolution: Duration| i64::try_from(resolution.as_millis()).unwrap_or(i64::MAX);
        Self { owner: StateOwner::new(), resolution: resolution.map(millis), noted: Mutex::default() }
    }

    /// Notes a use, unless one was noted a short time ago.
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

    /// The use of a key that is noted and not written back.
    #[cfg(feature = "keygen")]
    pub(crate) fn of(&self, key: KeyId) -> Option<Timestamp> {
        self.noted().get(&key).copied()
    }

    /// All that is noted, to be written back.
    #[cfg(feature = "keygen")]
    pub(crate) fn pending(&self) -> Vec<(KeyId, Timestamp)> {
        self.noted().iter().map(|(key, used)| (*key, *used)).collect()
    }

    /// Forgets what has been written back, but for what was used again meanwhile.
    #[cfg(feature = "keygen")]
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
