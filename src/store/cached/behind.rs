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
use crate::store::cached::fence::Mark;
use crate::store::cached::front::{Front, PAUSE};
use crate::store::cached::second::{KeptText, Looked, RecordCache, Ticket};
use crate::store::cached::shelf::Entry;
use crate::store::cached::text;

pub(super) struct Behind {
    tier: Arc<dyn RecordCache>,
    patience: Duration,
    /// The time until which the tier is not used.
    rests_until: AtomicI64,
}

impl Behind {
    pub(super) fn new(tier: Arc<dyn RecordCache>, patience: Duration) -> Self {
        Self { tier, patience, rests_until: AtomicI64::new(i64::MIN) }
    }

    /// Returns what the tier has for a hash; `None` if it fails.
    pub(super) async fn look(&self, hash: &KeyHash, front: &Front) -> Option<Looked> {
        if front.now() < self.rests_until.load(Ordering::Relaxed) {
            return None;
        }
        match self.within(self.tier.look(hash)).await {
            Ok(looked) => {
                front.note_second(Ok(()));
                Some(looked)
            }
            Err(error) => {
                // An unreadable entry causes no pause: an answer of the authority overwrites it.
                if !error.is_answer() {
                    self.rest(front, PAUSE, &error);
                }
                None
            }
        }
    }

    /// Stores an answer of the authority for the rest of its life.
    pub(super) async fn keep(&self, hash: &KeyHash, ticket: Ticket, entry: &Entry, front: &Front) {
        let found = entry.found.as_deref();
        let life = Bounds::time(entry.fresh_until.saturating_sub(entry.began));
        let kept = KeptText::new(text::write(hash, found), found.map(text::filing), life);
        if !life.is_zero()
            && let Err(error) = self.within(self.tier.keep(hash, ticket, &kept)).await
        {
            self.rest(front, PAUSE, &error);
        }
    }

    /// Invalidates what the tier has of a subject. Returns true if it succeeded. If not, the tier is not used for as
    /// long as it may have invalid entries.
    pub(super) async fn void(&self, change: &Change, hashes: &[KeyHash], front: &Front) -> bool {
        let life = Bounds::time(front.bounds.stale);
        let voided = self.within(self.tier.void(change, hashes, life)).await;
        if let Err(error) = &voided {
            self.rest(front, front.bounds.stale, error);
        }
        voided.is_ok()
    }

    fn rest(&self, front: &Front, time: i64, error: &StoreError) {
        front.note_second(Err(error));
        self.rests_until.fetch_max(front.now().saturating_add(time), Ordering::Relaxed);
    }

    async fn within<T>(&self, asked: StoreFuture<T>) -> Result<T, StoreError> {
        timeout(self.patience, asked).await.unwrap_or(Err(StoreError::timed_out()))
    }
}

impl Front {
    /// Returns an entry from the second tier, if it may be served. The look began at `asked`, with this mark.
    pub(super) fn entry_of(&self, hash: &KeyHash, looked: &Looked, asked: i64, mark: Mark) -> Option<Entry> {
        let (kept, age) = looked.found.as_ref()?;
        let found = text::read(hash, kept)?;
        let most = if found.is_some() { self.bounds.stale } else { self.bounds.absent };
        let began = asked.saturating_sub(Bounds::nanos(*age));
        let fresh_until = began.saturating_add(Bounds::nanos(kept.life).min(most));
        let slots = self.slots_of(hash, found.as_deref());
        let entry = Entry { found, began, fresh_until, mark, slots };
        (self.is_fresh(&entry, self.now()) && !self.knows_newer(hash, &entry)).then_some(entry)
    }
}
