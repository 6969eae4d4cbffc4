//! When keys were last used: noted in memory, written back from time to time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{KeyId, KeyRecord, SlotOwner, Timestamp};

/// Notes uses, each key's at most once per resolution: a request pays one comparison for it.
#[derive(Debug)]
pub(crate) struct Uses {
    owner: SlotOwner,
    /// Milliseconds between two notes of one key; `None` where nothing is noted.
    resolution: Option<i64>,
    noted: Mutex<HashMap<KeyId, Timestamp>>,
}

impl Uses {
    pub(crate) fn every(resolution: Option<Duration>) -> Self {
        let millis = |resolution: Duration| i64::try_from(resolution.as_millis()).unwrap_or(i64::MAX);
        Self { owner: SlotOwner::new(), resolution: resolution.map(millis), noted: Mutex::default() }
    }

    /// Notes a use, unless one was noted a short time ago.
    pub(crate) fn note(&self, record: &KeyRecord, now: Timestamp) {
        let Some(resolution) = self.resolution else { return };
        let last = record.uses.get::<AtomicI64>(self.owner);
        let before = last.map_or(i64::MIN, |last| last.load(Ordering::Relaxed));
        if now.as_millis().saturating_sub(before) < resolution {
            return;
        }
        match last {
            Some(last) => last.store(now.as_millis(), Ordering::Relaxed),
            None => record.uses.fill(self.owner, Arc::new(AtomicI64::new(now.as_millis()))),
        }
        keep_latest(&mut self.noted(), record.id, now);
    }

    /// The use of a key that is noted and not written back.
    pub(crate) fn of(&self, key: KeyId) -> Option<Timestamp> {
        self.noted().get(&key).copied()
    }

    /// Takes all that is noted, to write it back.
    pub(crate) fn take(&self) -> HashMap<KeyId, Timestamp> {
        std::mem::take(&mut *self.noted())
    }

    /// Puts back what could not be written.
    pub(crate) fn put_back(&self, uses: HashMap<KeyId, Timestamp>) {
        let mut noted = self.noted();
        uses.into_iter().for_each(|(key, used)| keep_latest(&mut noted, key, used));
    }

    fn noted(&self) -> MutexGuard<'_, HashMap<KeyId, Timestamp>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep_latest(noted: &mut HashMap<KeyId, Timestamp>, key: KeyId, used: Timestamp) {
    let latest = noted.entry(key).or_insert(used);
    *latest = used.max(*latest);
}
