//! What was read, kept within bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use moka::sync::Cache;

use crate::key::{KeyHash, KeyRecord};
use crate::store::cached::fence::{Mark, Slots};
use crate::store::spread::ByHash;

/// Every so many reads of a record, the one that decides what to drop is told.
const TOLD_EVERY: u32 = 16;

/// What one reading found, and when. Times are monotonic, in nanoseconds.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// `None` where there is no such key.
    pub(super) found: Option<Arc<KeyRecord>>,
    /// When the authority was asked.
    pub(super) began: i64,
    /// From when on it is asked again.
    pub(super) fresh_until: i64,
    pub(super) mark: Mark,
    pub(super) slots: Slots,
}

struct Kept {
    entry: Entry,
    /// Tells this entry from others of the same key.
    stamp: u64,
    reads: AtomicU32,
}

/// Records and, apart from them, hashes that no key has.
///
/// [`moka`] bounds both and decides what to drop. Records are read from a map beside it, which costs a fraction of asking
/// moka itself; hashes of no key are asked of moka: those who send them may wait.
pub(super) struct Shelf {
    records: Arc<ByHash<Kept>>,
    bound: Cache<KeyHash, u64>,
    absent: Cache<KeyHash, Entry>,
    stamps: AtomicU64,
}

impl Shelf {
    pub(super) fn new(records: u64, absent: u64) -> Self {
        let map = Arc::new(ByHash::<Kept>::default());
        let dropping = Arc::clone(&map);
        let bound = Cache::builder()
            .max_capacity(records)
            .eviction_listener(move |hash: Arc<KeyHash>, stamp, _| {
                // What came in its place meanwhile stays.
                let _ = dropping.pin().remove_if(&*hash, |_, kept| kept.stamp == stamp);
            })
            .build();
        Self { records: map, bound, absent: Cache::new(absent), stamps: AtomicU64::new(0) }
    }

    /// Shows what is kept of this hash.
    pub(super) fn look<T>(&self, hash: &KeyHash, judge: impl FnOnce(&Entry) -> T) -> Option<T> {
        let records = self.records.pin();
        if let Some(kept) = records.get(hash) {
            // A count that is lost between two threads does no harm.
            let reads = kept.reads.load(Ordering::Relaxed);
            kept.reads.store(reads.wrapping_add(1), Ordering::Relaxed);
            if reads.is_multiple_of(TOLD_EVERY) {
                self.bound.get(hash);
            }
            return Some(judge(&kept.entry));
        }
        self.absent.get(hash).map(|entry| judge(&entry))
    }

    /// Keeps what was read. A record that has not changed stays the same one, with all that back ends keep on it.
    pub(super) fn put(&self, hash: KeyHash, mut entry: Entry) -> Entry {
        let records = self.records.pin();
        let before = records.get(&hash).and_then(|kept| kept.entry.found.clone());
        if before.is_some() && before == entry.found {
            entry.found = before;
        }
        if entry.found.is_none() {
            self.bound.invalidate(&hash);
            self.absent.insert(hash, entry.clone());
            return entry;
        }
        let stamp = self.next();
        // The map comes first: what the bound drops at once is then there to be dropped.
        records.insert(hash, Kept { entry: entry.clone(), stamp, reads: AtomicU32::new(0) });
        self.bound.insert(hash, stamp);
        self.absent.invalidate(&hash);
        entry
    }

    /// How many records, and how many hashes of no key, are kept.
    pub(super) fn len(&self) -> (usize, usize) {
        self.bound.run_pending_tasks();
        self.absent.run_pending_tasks();
        (self.records.len(), usize::try_from(self.absent.entry_count()).unwrap_or(usize::MAX))
    }

    /// A number that was not given before.
    pub(super) fn next(&self) -> u64 {
        self.stamps.fetch_add(1, Ordering::Relaxed)
    }
}
