//! The records that this process caches, and the rules for answering with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::StoreError;
use crate::key::{KeyHash, KeyId, KeyRecord};
use crate::metrics::{AnnouncementMetrics, CacheMetrics};
use crate::store::cached::Change;
use crate::store::cached::bounds::Bounds;
use crate::store::cached::epochs::{Epochs, Mark, Slots};
use crate::store::cached::local::{CacheEntry, LocalCache};
use crate::trace::Mode;

/// The time for which a failed optional part is not used, in nanoseconds.
pub(super) const PAUSE: i64 = 1_000_000_000;

/// The cached state of a hash.
pub(super) enum Cached {
    /// A valid answer.
    Fresh(Option<Arc<KeyRecord>>),
    /// An answer that is valid only while the authority fails.
    Stale(Arc<KeyRecord>),
    Nothing,
}

pub(super) struct CacheState {
    pub(super) bounds: Bounds,
    pub(super) epochs: Epochs,
    local: LocalCache,
    clock: Arc<dyn Clock>,
    /// True if changes on other nodes may be missed.
    disconnected: AtomicBool,
    /// The time since which every change on other nodes is received. Older records are read again.
    connected_since: AtomicI64,
    /// The time until which the authority is assumed to fail.
    failing_until: AtomicI64,
    log: CacheLog,
    pub(super) metrics: CacheMetrics,
    pub(super) announcements: AnnouncementMetrics,
}

/// The minimum time between two log events about an intermittent failure.
const APART: Duration = Duration::from_millis(100);

/// The states that are logged.
#[derive(Debug)]
pub(super) struct CacheLog {
    /// Expired records are served while the authority fails.
    pub(super) stale: Mode,
    /// A second tier is not used after a failure.
    pub(super) second: Mode,
    /// Changes on other nodes may be missed.
    pub(super) disconnected: Mode,
}

impl CacheLog {
    pub(super) fn stale<S>() -> Mode {
        let begins = "a key store fails: stale records are served";
        Mode::before::<S>(begins, "a key store has recovered: no stale records are served").apart(APART)
    }

    pub(super) fn second<T: ?Sized>() -> Mode {
        let begins = "the second tier of a key cache fails: it is bypassed";
        Mode::before::<T>(begins, "the second tier of a key cache has recovered").apart(APART)
    }

    pub(super) fn disconnected<T: ?Sized>() -> Mode {
        let begins = "an invalidation channel is disconnected: changes on other nodes may not be received";
        Mode::before::<T>(
            begins,
            "an invalidation channel is reconnected: changes on other nodes are received",
        )
        .apart(APART)
    }
}

impl CacheState {
    pub(super) fn new(bounds: Bounds, local: LocalCache, clock: Arc<dyn Clock>, log: CacheLog) -> Self {
        Self {
            bounds,
            epochs: Epochs::new(),
            local,
            clock,
            disconnected: AtomicBool::new(false),
            connected_since: AtomicI64::new(i64::MIN),
            failing_until: AtomicI64::new(i64::MIN),
            log,
            metrics: CacheMetrics::new(),
            announcements: AnnouncementMetrics::new(),
        }
    }

    /// Returns the monotonic time, in nanoseconds.
    pub(super) fn now(&self) -> i64 {
        i64::try_from(self.clock.now().ticks()).unwrap_or(i64::MAX)
    }

    pub(super) fn look(&self, hash: &KeyHash, now: i64) -> Cached {
        let kept = self.local.look(hash, |entry| {
            if !self.epochs.holds(entry.mark, entry.slots) {
                Cached::Nothing
            } else if self.is_fresh(entry, now) {
                Cached::Fresh(entry.found.clone())
            } else if let Some(record) = entry.found.as_ref().filter(|_| self.bounds.may_serve(entry, now)) {
                Cached::Stale(Arc::clone(record))
            } else {
                Cached::Nothing
            }
        });
        kept.unwrap_or(Cached::Nothing)
    }

    /// Returns true if a read answers a look-up that began at `asked`: the read began later, or is fresh.
    pub(super) fn answers(&self, entry: &CacheEntry, asked: i64) -> bool {
        self.epochs.holds(entry.mark, entry.slots)
            && (entry.began >= asked || self.is_fresh(entry, self.now()))
    }

    pub(super) fn is_fresh(&self, entry: &CacheEntry, now: i64) -> bool {
        // `hear` writes `disconnected` last and this reads it first: a reader that sees `disconnected` cleared also sees the new
        // `connected_since`.
        let disconnected = self.disconnected.load(Ordering::Acquire);
        now < entry.fresh_until
            && entry.began >= self.connected_since.load(Ordering::Acquire)
            && (!disconnected || now - entry.began < self.bounds.unannounced)
    }

    /// Returns true if the cache has a newer version of a record or of its account.
    pub(super) fn knows_newer(&self, hash: &KeyHash, read: &CacheEntry) -> bool {
        let newer = |known: &CacheEntry| {
            let (Some(known), Some(read)) = (&known.found, &read.found) else { return false };
            known.id == read.id
                && (known.version > read.version || known.account.version > read.account.version)
        };
        self.local.look(hash, newer).unwrap_or(false)
    }

    /// Creates an entry from an answer of the authority to a read that began at `began`.
    pub(super) fn entry(
        &self,
        hash: &KeyHash,
        found: Option<Arc<KeyRecord>>,
        began: i64,
        mark: Mark,
    ) -> CacheEntry {
        let slots = self.slots_of(hash, found.as_deref());
        let life = self.bounds.life(found.is_some(), self.local.next());
        CacheEntry { found, began, fresh_until: began.saturating_add(life), mark, slots }
    }

    pub(super) fn slots_of(&self, hash: &KeyHash, found: Option<&KeyRecord>) -> Slots {
        found.map_or([self.epochs.hash_slot(start_of(hash)); 2], |record| self.epochs.slots_of(record))
    }

    pub(super) fn keep(&self, hash: KeyHash, entry: CacheEntry) -> CacheEntry {
        self.local.put(hash, entry)
    }

    /// Returns true if the authority failed within the last second.
    pub(super) fn is_failing(&self, now: i64) -> bool {
        now < self.failing_until.load(Ordering::Relaxed)
    }

    pub(super) fn note_failing(&self, failing: bool) {
        let until = if failing { self.now().saturating_add(PAUSE) } else { i64::MIN };
        self.failing_until.store(until, Ordering::Relaxed);
        if !failing {
            self.log.stale.end();
        }
    }

    /// Logs that an expired record is served, since the authority failed with this error.
    pub(super) fn note_stale(&self, error: &StoreError) {
        self.log.stale.begin(self.ticks(), error);
    }

    /// Logs the same if an earlier read failed.
    pub(super) fn note_stale_again(&self) {
        if !self.log.stale.is_on() {
            self.note_stale(&StoreError::unavailable("the authority failed recently"));
        }
    }

    /// Logs that the second tier answered, or that it failed with this error and is not used for a while.
    pub(super) fn note_second(&self, answer: Result<(), &StoreError>) {
        match answer {
            Ok(()) => self.log.second.end(),
            Err(error) => self.log.second.begin(self.ticks(), error),
        }
    }

    /// Logs that listening to the other nodes ended with this error.
    pub(super) fn note_unheard(&self, error: &StoreError) {
        self.log.disconnected.begin(self.ticks(), error);
    }

    pub(super) fn ticks(&self) -> u64 {
        self.clock.now().ticks()
    }

    /// Invalidates everything that was read of a subject before now, under any hash.
    pub(super) fn invalidate(&self, change: &Change) {
        match change {
            Change::Key(id) => self.epochs.invalidate(self.epochs.key_slot(*id)),
            Change::Account(id) => self.epochs.invalidate(self.epochs.account_slot(id)),
            Change::Hash(start) => self.epochs.invalidate(self.epochs.hash_slot(*start)),
            Change::Everything => self.epochs.invalidate_all(),
        }
    }

    /// Returns true if the cache has this key under this hash.
    pub(super) fn knows(&self, hash: &KeyHash, key: KeyId) -> bool {
        let known = self.local.look(hash, |entry| entry.found.as_ref().is_some_and(|found| found.id == key));
        known.unwrap_or(false)
    }

    /// Records that changes on other nodes may be missed from now on.
    pub(super) fn disconnect(&self) {
        self.disconnected.store(true, Ordering::Release);
    }

    /// Records that every change on other nodes is received from now on. Older records are read again before they are
    /// served.
    pub(super) fn connect(&self) {
        self.connected_since.store(self.now(), Ordering::Release);
        self.disconnected.store(false, Ordering::Release);
        self.log.disconnected.end();
    }

    pub(super) fn is_disconnected(&self) -> bool {
        self.disconnected.load(Ordering::Acquire)
    }

    /// Returns the number of cached records, and of cached hashes of no key.
    pub(super) fn len(&self) -> (usize, usize) {
        self.local.len()
    }
}

/// Returns the first 8 bytes of a hash.
pub(super) fn start_of(hash: &KeyHash) -> [u8; 8] {
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}
