//! How the second tier is asked: within its time, and not at all for a while after it has failed.

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
    /// Until when it is left alone.
    rests_until: AtomicI64,
}

impl Behind {
    pub(super) fn new(tier: Arc<dyn RecordCache>, patience: Duration) -> Self {
        Self { tier, patience, rests_until: AtomicI64::new(i64::MIN) }
    }

    /// What it has of a hash; nothing where it fails.
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
                // What cannot be read is overwritten by what the authority says, once its life is over.
                if !error.is_answer() {
                    self.rest(front, PAUSE, &error);
                }
                None
            }
        }
    }

    /// Keeps what the authority has answered, for the rest of its life.
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

    /// Makes void what it has of a subject; says whether it did. If not, it is left alone for as long as something that is
    /// void may lie there.
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
    /// What a second tier has found, if it may be answered with. It was looked for at `asked`, under this mark.
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
