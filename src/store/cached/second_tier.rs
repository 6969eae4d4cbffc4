//! Access to the second tier: with a time limit, and with a pause after a failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::key::KeyHash;
use crate::store::Change;
use crate::store::cached::bounds::Bounds;
use crate::store::cached::epochs::Mark;
use crate::store::cached::local::CacheEntry;
use crate::store::cached::record_cache::{CacheLookup, CacheVersion, CachedText, RecordCache};
use crate::store::cached::state::{CacheState, PAUSE};
use crate::store::cached::text;

pub(super) struct SecondTier {
    tier: Arc<dyn RecordCache>,
    patience: Duration,
    /// The time until which the tier is not used.
    rests_until: AtomicI64,
}

impl SecondTier {
    pub(super) fn new(tier: Arc<dyn RecordCache>, patience: Duration) -> Self {
        Self { tier, patience, rests_until: AtomicI64::new(i64::MIN) }
    }

    /// Returns what the tier has for a hash; `None` if it fails.
    pub(super) async fn get(&self, hash: &KeyHash, state: &CacheState) -> Option<CacheLookup> {
        if state.now() < self.rests_until.load(Ordering::Relaxed) {
            return None;
        }
        match self.within(self.tier.get(hash)).await {
            Ok(looked) => {
                state.note_second(Ok(()));
                Some(looked)
            }
            Err(error) => {
                // An unreadable entry causes no pause: an answer of the authority overwrites it.
                if !error.is_answer() {
                    self.rest(state, PAUSE, &error);
                }
                None
            }
        }
    }

    /// Stores an answer of the authority for the rest of its life.
    pub(super) async fn put(
        &self,
        hash: &KeyHash,
        version: CacheVersion,
        entry: &CacheEntry,
        state: &CacheState,
    ) {
        let found = entry.found.as_deref();
        let life = Bounds::time(entry.fresh_until.saturating_sub(entry.began));
        let kept = CachedText::new(text::write(hash, found), found.map(text::subject), life);
        if !life.is_zero()
            && let Err(error) = self.within(self.tier.put(hash, version, &kept)).await
        {
            self.rest(state, PAUSE, &error);
        }
    }

    /// Invalidates what the tier has of a subject. Returns true if it succeeded. If not, the tier is not used for as
    /// long as it may have invalid entries.
    pub(super) async fn invalidate(&self, change: &Change, hashes: &[KeyHash], state: &CacheState) -> bool {
        let life = Bounds::time(state.bounds.stale);
        let voided = self.within(self.tier.invalidate(change, hashes, life)).await;
        if let Err(error) = &voided {
            self.rest(state, state.bounds.stale, error);
        }
        voided.is_ok()
    }

    fn rest(&self, state: &CacheState, time: i64, error: &StoreError) {
        state.note_second(Err(error));
        self.rests_until.fetch_max(state.now().saturating_add(time), Ordering::Relaxed);
    }

    async fn within<T>(&self, asked: StoreFuture<T>) -> Result<T, StoreError> {
        timeout(self.patience, asked).await.unwrap_or(Err(StoreError::timed_out()))
    }
}

impl CacheState {
    /// Returns an entry from the second tier, if it may be served. The look began at `asked`, with this mark.
    pub(super) fn entry_of(
        &self,
        hash: &KeyHash,
        looked: &CacheLookup,
        asked: i64,
        mark: Mark,
    ) -> Option<CacheEntry> {
        let (kept, age) = looked.found.as_ref()?;
        let found = text::read(hash, kept)?;
        let most = if found.is_some() { self.bounds.stale } else { self.bounds.absent };
        let began = asked.saturating_sub(Bounds::nanos(*age));
        let fresh_until = began.saturating_add(Bounds::nanos(kept.life).min(most));
        let slots = self.slots_of(hash, found.as_deref());
        let entry = CacheEntry { found, began, fresh_until, mark, slots };
        (self.is_fresh(&entry, self.now()) && !self.knows_newer(hash, &entry)).then_some(entry)
    }
}
