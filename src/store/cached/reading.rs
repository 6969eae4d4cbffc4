//! Reads of the authority, each shared by all callers that look up the same key at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::error::StoreError;
use crate::key::{KeyHash, KeyRecord};
use crate::store::cached::Inner;
use crate::store::cached::hang_detector::HangDetector;
use crate::store::cached::local::CacheEntry;
use crate::store::cached::state::Cached;
use crate::store::{CacheVersion, KeyStore};

/// The maximum number of reads for one look-up. A look-up is repeated if a change came during the read.
const TRIES: usize = 16;

/// The maximum number of reads that are under way or wait for their turn.
const MOST: usize = 10_000;

type Outcome = Result<CacheEntry, StoreError>;

/// The reads under way, and the limits on them.
pub(super) struct ReadsInFlight {
    under_way: Mutex<HashMap<KeyHash, watch::Receiver<Option<Outcome>>>>,
    turns: Semaphore,
    hang_detector: HangDetector,
    patience: Duration,
}

impl ReadsInFlight {
    pub(super) fn new(at_once: usize, patience: Duration) -> Self {
        Self {
            under_way: Mutex::default(),
            turns: Semaphore::new(at_once),
            hang_detector: HangDetector::new(),
            patience,
        }
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<KeyHash, watch::Receiver<Option<Outcome>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cached answer, or a read to wait for.
enum Found {
    Cached(Option<Arc<KeyRecord>>),
    Reading(watch::Receiver<Option<Outcome>>),
}

/// A guard that removes a read from the list when it ends, also by a panic.
struct RemoveOnDrop<'i, S>(&'i Inner<S>, KeyHash);

impl<S> Drop for RemoveOnDrop<'_, S> {
    fn drop(&mut self) {
        self.0.reads.under_way().remove(&self.1);
    }
}

impl<S: KeyStore> Inner<S> {
    /// Answers a look-up that the cache does not answer.
    pub(super) async fn read(
        self: Arc<Self>,
        hash: KeyHash,
        asked: i64,
    ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        for _ in 0..TRIES {
            let reading = match self.join(hash)? {
                Found::Cached(found) => return Ok(found),
                Found::Reading(reading) => reading,
            };
            match self.outcome_of(reading, &hash).await {
                Ok(entry) if self.state.answers(&entry, asked) => return Ok(entry.found),
                // A change came after the read began, or the read began before the look-up: read again.
                Ok(_) => {}
                Err(error) => return self.do_without(&hash, error),
            }
        }
        Err(StoreError::overloaded())
    }

    /// Waits for a read. If a stale record can be served instead, waits for a shorter time while the read continues.
    async fn outcome_of(
        &self,
        mut reading: watch::Receiver<Option<Outcome>>,
        hash: &KeyHash,
    ) -> Result<CacheEntry, StoreError> {
        let outcome =
            async { reading.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone()) };
        if let Ok(outcome) = timeout(self.patience_for(hash), outcome).await {
            let ended = || Err(StoreError::unavailable("the read of the key's record was cancelled"));
            return outcome.unwrap_or_else(ended);
        }
        self.state.note_failing(true);
        Err(StoreError::timed_out())
    }

    /// Returns the time to wait for a read: a quarter of its time limit if a stale record can be served, else longer
    /// than the limit, since the read ends by itself.
    fn patience_for(&self, hash: &KeyHash) -> Duration {
        match self.state.look(hash, self.state.now()) {
            Cached::Stale(_) => self.reads.patience / 4,
            Cached::Fresh(_) | Cached::Nothing => 2 * self.reads.patience + self.side_patience,
        }
    }

    /// Joins the read of this hash, or starts it. A read has its own task, so that it continues for the other callers
    /// if one stops waiting.
    fn join(self: &Arc<Self>, hash: KeyHash) -> Result<Found, StoreError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(StoreError::unavailable)?;
        let mut under_way = self.reads.under_way();
        if let Some(reading) = under_way.get(&hash) {
            return Ok(Found::Reading(reading.clone()));
        }
        // A read that ended since the look-up began has left its answer in the cache.
        if let Cached::Fresh(found) = self.state.look(&hash, self.state.now()) {
            return Ok(Found::Cached(found));
        }
        if under_way.len() >= MOST {
            return self.do_without(&hash, StoreError::overloaded()).map(Found::Cached);
        }
        let (publish, reading) = watch::channel(None);
        under_way.insert(hash, reading.clone());
        runtime.spawn(Arc::clone(self).publish(hash, publish));
        Ok(Found::Reading(reading))
    }

    async fn publish(self: Arc<Self>, hash: KeyHash, publish: watch::Sender<Option<Outcome>>) {
        let remove_on_drop = RemoveOnDrop(&self, hash);
        let (outcome, version) = self.ask(&hash).await;
        let outcome = outcome.map(|entry| self.state.keep(hash, entry));
        drop(remove_on_drop);
        publish.send_replace(Some(outcome.clone()));
        // The answer is sent first, so that no caller waits for the write to the second tier.
        if let (Some(second_tier), Some(version), Ok(entry)) = (&self.second_tier, version, &outcome) {
            second_tier.put(&hash, version, entry, &self.state).await;
        }
    }

    /// Looks in the second tier, then reads the authority. Also returns the version under which to store the answer in
    /// the second tier.
    async fn ask(&self, hash: &KeyHash) -> (Outcome, Option<CacheVersion>) {
        let (mark, asked) = (self.state.epochs.mark(), self.state.now());
        let looked = match &self.second_tier {
            Some(second_tier) => second_tier.get(hash, &self.state).await,
            None => None,
        };
        let entry = looked.as_ref().and_then(|looked| self.state.entry_of(hash, looked, asked, mark));
        match entry {
            Some(entry) => (Ok(entry), None),
            None => (self.ask_authority(hash).await, looked.map(|looked| looked.version)),
        }
    }

    /// Reads the authority, in turn and within the time limit. Fails at once if the authority hangs and another read is
    /// checking it.
    async fn ask_authority(&self, hash: &KeyHash) -> Outcome {
        let admitted = self.reads.hang_detector.admit()?;
        let asking = async {
            let _turn = self.reads.turns.acquire().await.map_err(StoreError::unavailable)?;
            // Take both before the read starts: the answer may not include a change that comes later.
            let (mark, began) = (self.state.epochs.mark(), self.state.now());
            let found = self.authority.find(hash).await?;
            if found.as_ref().is_some_and(|record| !record.has_hash(hash)) {
                return Err(StoreError::corrupt("the authority returned the record of another key"));
            }
            Ok(self.state.entry(hash, found, began, mark))
        };
        let outcome = timeout(self.reads.patience, asking).await.unwrap_or(Err(StoreError::timed_out()));
        self.reads.hang_detector.note(&admitted, outcome.as_ref().is_err_and(StoreError::is_timeout));
        self.state.note_failing(outcome.as_ref().is_err_and(|error| !error.is_answer()));
        outcome
    }

    /// Returns what may be served although the authority failed: a known record, for a limited time.
    fn do_without(&self, hash: &KeyHash, error: StoreError) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        match self.state.look(hash, self.state.now()) {
            Cached::Fresh(found) => Ok(found),
            Cached::Stale(record) if !error.is_answer() => {
                self.state.metrics.stale_answers.add(1);
                self.state.note_stale(&error);
                Ok(Some(record))
            }
            Cached::Stale(_) | Cached::Nothing => Err(error),
        }
    }
}
