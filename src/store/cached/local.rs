//! A bounded map of what was read.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use moka::sync::Cache;

use crate::account::AccountDetails;
use crate::intern::Interner;
use crate::key::{KeyDetails, KeyHash, KeyRecord};
use crate::store::cached::epochs::{Mark, Slots};
use crate::store::spread::ByHash;

/// The number of reads of a record after which moka, which chooses the records to evict, is informed.
const REPORT_EVERY: u32 = 16;

/// The result of one read, with its times. Times are monotonic, in nanoseconds.
#[derive(Debug, Clone)]
pub(super) struct CacheEntry {
    /// The record; `None` if there is no such key.
    pub(super) found: Option<Arc<KeyRecord>>,
    /// The time at which the read of the authority began.
    pub(super) began: i64,
    /// The time from which the authority is read again.
    pub(super) fresh_until: i64,
    pub(super) mark: Mark,
    pub(super) slots: Slots,
}

struct StampedEntry {
    entry: CacheEntry,
    /// A number that distinguishes this entry from others of the same key.
    stamp: u64,
    reads: AtomicU32,
}

/// Records and, separately, hashes that no key has.
///
/// [`moka`] bounds both and chooses what to evict. Records are read from a separate map, at a fraction of the cost of a
/// read from moka. Hashes of no key are read from moka: the cost affects only clients that send unknown keys.
pub(super) struct LocalCache {
    records: Arc<ByHash<StampedEntry>>,
    bound: Cache<KeyHash, u64>,
    absent: Cache<KeyHash, CacheEntry>,
    stamps: AtomicU64,
    details: Mutex<(Interner<KeyDetails>, Interner<AccountDetails>)>,
}

impl LocalCache {
    pub(super) fn new(records: u64, absent: u64) -> Self {
        let map = Arc::new(ByHash::<StampedEntry>::default());
        let dropping = Arc::clone(&map);
        let bound = Cache::builder()
            .max_capacity(records)
            .eviction_listener(move |hash: Arc<KeyHash>, stamp, _| {
                // A newer entry under the same hash stays.
                let _ = dropping.pin().remove_if(&*hash, |_, kept| kept.stamp == stamp);
            })
            .build();
        Self {
            records: map,
            bound,
            absent: Cache::new(absent),
            stamps: AtomicU64::new(0),
            details: Mutex::default(),
        }
    }

    /// Passes the entry of this hash to `judge`.
    pub(super) fn look<T>(&self, hash: &KeyHash, judge: impl FnOnce(&CacheEntry) -> T) -> Option<T> {
        let records = self.records.pin();
        if let Some(kept) = records.get(hash) {
            // The count may be inexact: an update that is lost between two threads does no harm.
            let reads = kept.reads.load(Ordering::Relaxed);
            kept.reads.store(reads.wrapping_add(1), Ordering::Relaxed);
            if reads.is_multiple_of(REPORT_EVERY) {
                self.bound.get(hash);
            }
            return Some(judge(&kept.entry));
        }
        self.absent.get(hash).map(|entry| judge(&entry))
    }

    /// Stores the result of a read. If the record has not changed, the old object stays, with the state that back ends
    /// attached to it.
    pub(super) fn put(&self, hash: KeyHash, mut entry: CacheEntry) -> CacheEntry {
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
        self.share_details(&mut entry);
        let stamp = self.next();
        // Insert into the map first: moka may evict the entry at once, and must then find it in the map.
        records.insert(hash, StampedEntry { entry: entry.clone(), stamp, reads: AtomicU32::new(0) });
        self.bound.insert(hash, stamp);
        self.absent.invalidate(&hash);
        entry
    }

    /// Replaces the details of a new record and of its account by equal ones that are cached already.
    fn share_details(&self, entry: &mut CacheEntry) {
        let Some(record) = entry.found.as_mut().and_then(Arc::get_mut) else { return };
        let (keys, accounts) = &mut *self.details.lock().unwrap_or_else(PoisonError::into_inner);
        record.share_details(keys);
        if let Some(account) = Arc::get_mut(&mut record.account) {
            account.share_details(accounts);
        }
    }

    /// Returns the number of records, and of hashes of no key.
    pub(super) fn len(&self) -> (usize, usize) {
        self.bound.run_pending_tasks();
        self.absent.run_pending_tasks();
        (self.records.len(), usize::try_from(self.absent.entry_count()).unwrap_or(usize::MAX))
    }

    /// Returns a number that was not returned before.
    pub(super) fn next(&self) -> u64 {
        self.stamps.fetch_add(1, Ordering::Relaxed)
    }
}
