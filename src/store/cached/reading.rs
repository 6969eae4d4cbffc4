//! One reading of the authority for all who ask at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::error::StoreError;
use crate::key::{KeyHash, KeyRecord};
use crate::store::cached::Inner;
use crate::store::cached::front::Kept;
use crate::store::cached::hang::Hang;
use crate::store::cached::shelf::Entry;
use crate::store::{KeyStore, Ticket};

/// How often a question is asked again because a change came in between.
const TRIES: usize = 16;

/// How many readings may be under way or wait for their turn.
const MOST: usize = 10_000;

type Outcome = Result<Entry, StoreError>;

/// Readings under way, and the bound on them.
pub(super) struct Readings {
    under_way: Mutex<HashMap<KeyHash, watch::Receiver<Option<Outcome>>>>,
    turns: Semaphore,
    hang: Hang,
    patience: Duration,
}

impl Readings {
    pub(super) fn new(at_once: usize, patience: Duration) -> Self {
        Self { under_way: Mutex::default(), turns: Semaphore::new(at_once), hang: Hang::new(), patience }
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<KeyHash, watch::Receiver<Option<Outcome>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What there is for who asks.
enum Found {
    Kept(Option<Arc<KeyRecord>>),
    Reading(watch::Receiver<Option<Outcome>>),
}

/// Takes a reading off the list when it ends, however it ends.
struct Landing<'i, S>(&'i Inner<S>, KeyHash);

impl<S> Drop for Landing<'_, S> {
    fn drop(&mut self) {
        self.0.readings.under_way().remove(&self.1);
    }
}

impl<S: KeyStore> Inner<S> {
    /// Answers a question that what is kept does not answer.
    pub(super) async fn read(
        self: Arc<Self>,
        hash: KeyHash,
        asked: i64,
    ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        for _ in 0..TRIES {
            let reading = match self.join(hash)? {
                Found::Kept(found) => return Ok(found),
                Found::Reading(reading) => reading,
            };
            match self.outcome_of(reading, &hash).await {
                Ok(entry) if self.front.answers(&entry, asked) => return Ok(entry.found),
                // It was overtaken by a change, or began before the question did: it is read again.
                Ok(_) => {}
                Err(error) => return self.do_without(&hash, error),
            }
        }
        Err(StoreError::overloaded())
    }

    /// Waits for a reading; who has something to do without, for a part of the time, while the reading goes on.
    async fn outcome_of(
        &self,
        mut reading: watch::Receiver<Option<Outcome>>,
        hash: &KeyHash,
    ) -> Result<Entry, StoreError> {
        let told = async { reading.wait_for(Option::is_some).await.ok().and_then(|told| told.clone()) };
        if let Ok(told) = timeout(self.patience_for(hash), told).await {
            let ended = || Err(StoreError::unavailable("the reading of the key's record ended early"));
            return told.unwrap_or_else(ended);
        }
        self.front.note_failing(true);
        Err(StoreError::timed_out())
    }

    /// How long to wait for a reading that gives up by itself: longer than that, or a quarter of it.
    fn patience_for(&self, hash: &KeyHash) -> Duration {
        match self.front.look(hash, self.front.now()) {
            Kept::Stale(_) => self.readings.patience / 4,
            Kept::Fresh(_) | Kept::Nothing => 2 * self.readings.patience + self.side_patience,
        }
    }

    /// Joins the reading of this hash, or begins it: in a task of its own, so that whoever gives up waiting leaves the others
    /// their answer.
    fn join(self: &Arc<Self>, hash: KeyHash) -> Result<Found, StoreError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(StoreError::unavailable)?;
        let mut under_way = self.readings.under_way();
        if let Some(reading) = under_way.get(&hash) {
            return Ok(Found::Reading(reading.clone()));
        }
        // One that has ended since the question was asked has left its answer.
        if let Kept::Fresh(found) = self.front.look(&hash, self.front.now()) {
            return Ok(Found::Kept(found));
        }
        if under_way.len() >= MOST {
            return self.do_without(&hash, StoreError::overloaded()).map(Found::Kept);
        }
        let (tell, reading) = watch::channel(None);
        under_way.insert(hash, reading.clone());
        runtime.spawn(Arc::clone(self).tell(hash, tell));
        Ok(Found::Reading(reading))
    }

    async fn tell(self: Arc<Self>, hash: KeyHash, tell: watch::Sender<Option<Outcome>>) {
        let landing = Landing(&self, hash);
        let (outcome, ticket) = self.ask(&hash).await;
        let outcome = outcome.map(|entry| self.front.keep(hash, entry));
        drop(landing);
        tell.send_replace(Some(outcome.clone()));
        // Nobody waits for the second tier to have it.
        if let (Some(behind), Some(ticket), Ok(entry)) = (&self.behind, ticket, &outcome) {
            behind.keep(&hash, ticket, entry, &self.front).await;
        }
    }

    /// Asks the second tier, then the authority; says under which ticket the second tier is to keep the answer.
    async fn ask(&self, hash: &KeyHash) -> (Outcome, Option<Ticket>) {
        let (mark, asked) = (self.front.fence.mark(), self.front.now());
        let looked = match &self.behind {
            Some(behind) => behind.look(hash, &self.front).await,
            None => None,
        };
        let entry = looked.as_ref().and_then(|looked| self.front.entry_of(hash, looked, asked, mark));
        match entry {
            Some(entry) => (Ok(entry), None),
            None => (self.ask_authority(hash).await, looked.map(|looked| looked.ticket)),
        }
    }

    /// Asks the authority, in turn and within the time there is; or not at all, where it hangs and another finds out.
    async fn ask_authority(&self, hash: &KeyHash) -> Outcome {
        let admitted = self.readings.hang.admit()?;
        let asking = async {
            let _turn = self.readings.turns.acquire().await.map_err(StoreError::unavailable)?;
            // Both are taken before the question is put: what changes from then on may not be in the answer.
            let (mark, began) = (self.front.fence.mark(), self.front.now());
            let found = self.authority.find(hash).await?;
            if found.as_ref().is_some_and(|record| !record.has_hash(hash)) {
                return Err(StoreError::corrupt("the authority answered with another key's record"));
            }
            Ok(self.front.entry(hash, found, began, mark))
        };
        let outcome = timeout(self.readings.patience, asking).await.unwrap_or(Err(StoreError::timed_out()));
        self.readings.hang.note(&admitted, outcome.as_ref().is_err_and(StoreError::is_timeout));
        self.front.note_failing(outcome.as_ref().is_err_and(|error| !error.is_answer()));
        outcome
    }

    /// What may be answered with although the authority failed: a record that is known, for a time.
    fn do_without(&self, hash: &KeyHash, error: StoreError) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        match self.front.look(hash, self.front.now()) {
            Kept::Fresh(found) => Ok(found),
            Kept::Stale(record) if !error.is_answer() => {
                self.front.note_stale(&error);
                Ok(Some(record))
            }
            Kept::Stale(_) | Kept::Nothing => Err(error),
        }
    }
}
