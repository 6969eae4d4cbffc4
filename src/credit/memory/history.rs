//! The history of accounts: their last entries, and the ids of their last adjustments.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::amount::Credits;
use crate::clock::Timestamp;
use crate::credit::model::Change;
use crate::credit::{AdjustmentId, AdjustmentKind, Balance, BucketId, Entry, EntryKind};

/// A stored entry of an account.
#[derive(Debug)]
pub(super) struct HistoryEntry {
    /// The number of the account and the currency in this ledger.
    pub(super) account: u64,
    /// The number of the entry in its account.
    pub(super) number: u64,
    pub(super) change: Change,
}

/// The balance of a folded entry of an account without limit.
const NO_LIMIT: i64 = i64::MIN;

/// The most rings of a ledger. More rings let more threads write at once, and leave less room to each account.
const RINGS: usize = 16;

/// The fewest entries of a ring, unless the whole history is smaller.
const RING: usize = 1024;

/// The number of new entries that are moved into a ring at once.
const BATCH: usize = 8;

/// The last entries of a ledger, in rings that accounts share. All entries of an account are in one ring.
///
/// Once a ring is full, an entry overwrites the oldest one and allocates nothing. A million accounts that are rarely used
/// thus take no more memory than the bound.
#[derive(Debug)]
pub(super) struct History {
    rings: Box<[Mutex<Ring>]>,
    /// The number of entries of each ring.
    most: usize,
    /// The number of the next account.
    next_account: AtomicU64,
}

/// A ring, and the entries that are newer than all of it.
///
/// A ring is larger than the processor's cache, so that a request would wait for the memory of its entry. The new entries
/// are therefore collected in a small list first. Several are then moved at once, and their waits overlap.
#[derive(Debug, Default)]
struct Ring {
    /// The index of the next entry.
    place: usize,
    entries: Vec<HistoryEntry>,
    new: Vec<HistoryEntry>,
}

impl History {
    /// Creates a history of at most this many entries.
    pub(super) fn keeping(most: usize) -> Self {
        let rings = 1 << (most / RING).clamp(1, RINGS).ilog2();
        Self {
            rings: (0..rings).map(|_| Mutex::default()).collect(),
            most: most / rings,
            next_account: AtomicU64::new(0),
        }
    }

    /// Returns the number of a new account.
    pub(super) fn new_account(&self) -> u64 {
        self.next_account.fetch_add(1, Ordering::Relaxed)
    }

    #[inline]
    fn ring_of(&self, account: u64) -> MutexGuard<'_, Ring> {
        // The number of rings is a power of two.
        #[expect(clippy::cast_possible_truncation, reason = "the lower bits spread accounts as well")]
        let ring = account as usize & (self.rings.len() - 1);
        self.rings[ring].lock()
    }

    /// Returns the ring of an account, with all its entries in place.
    fn whole_ring_of(&self, account: u64) -> MutexGuard<'_, Ring> {
        let mut ring = self.ring_of(account);
        ring.store(self.most);
        ring
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the change would be copied")]
    pub(super) fn write(&self, account: u64, number: u64, change: Change) {
        let mut ring = self.ring_of(account);
        if ring.new.len() == ring.new.capacity() {
            ring.reserve(self.most);
        }
        ring.new.push(HistoryEntry { account, number, change });
        if ring.new.len() >= BATCH {
            ring.store(self.most);
        }
    }

    /// Returns the entries of an account, newest first.
    pub(super) fn newest(&self, account: u64, before: Option<u64>, limit: usize) -> Vec<Entry> {
        let ring = self.whole_ring_of(account);
        let (older, newer) = (&ring.entries[ring.place..], &ring.entries[..ring.place]);
        let own = newer.iter().rev().chain(older.iter().rev()).filter(|entry| entry.account == account);
        let asked = own.filter(|entry| before.is_none_or(|before| entry.number < before));
        asked.take(limit).map(HistoryEntry::to_entry).collect()
    }

    /// Removes the entries of an account.
    pub(super) fn erase(&self, account: u64) {
        let mut ring = self.whole_ring_of(account);
        ring.straighten();
        ring.entries.retain(|entry| entry.account != account);
        ring.place = ring.entries.len();
    }

    /// Folds the oldest entries of each account into one for each bucket.
    ///
    /// It folds all entries of the account before the first one that is not older than `before`. Returns the number of
    /// removed entries.
    pub(super) fn fold(&self, before: Timestamp) -> u64 {
        let rings = 0..self.rings.len() as u64;
        rings.map(|account| self.whole_ring_of(account).fold(before)).sum()
    }
}

impl Ring {
    /// Reserves the memory of all entries at once, because later writes are on the path of a request.
    #[cold]
    fn reserve(&mut self, most: usize) {
        self.new.reserve_exact(BATCH);
        self.entries.reserve_exact(most);
    }

    /// Moves the new entries into the ring.
    fn store(&mut self, most: usize) {
        let end = self.place + self.new.len();
        if let Some(oldest) = self.entries.get_mut(self.place..end) {
            oldest.swap_with_slice(&mut self.new);
            self.new.clear();
            self.place = end;
        } else {
            self.store_each(most);
        }
    }

    /// Moves the new entries into a ring that is not full, or whose end they pass.
    fn store_each(&mut self, most: usize) {
        for entry in self.new.drain(..) {
            if self.place >= most {
                self.place = 0;
            }
            match self.entries.get_mut(self.place) {
                Some(oldest) => *oldest = entry,
                None if most == 0 => continue,
                None => self.entries.push(entry),
            }
            self.place += 1;
        }
    }

    /// Moves the oldest entry to the front.
    fn straighten(&mut self) {
        let oldest = self.place % self.entries.len().max(1);
        self.entries.rotate_left(oldest);
        self.place = self.entries.len();
    }

    fn fold(&mut self, before: Timestamp) -> u64 {
        self.straighten();
        // For each account: the places of its entries to fold, and true while no entry that is not older was found.
        let mut accounts: HashMap<u64, (Vec<usize>, bool)> = HashMap::new();
        for (place, entry) in self.entries.iter().enumerate() {
            let (places, open) = accounts.entry(entry.account).or_insert((Vec::new(), true));
            *open &= entry.change.at < before;
            if *open {
                places.push(place);
            }
        }
        let mut gone = HashSet::new();
        for (places, _) in accounts.values().filter(|(places, _)| places.len() > 1) {
            let kept = self.fold_account(places);
            gone.extend(places.iter().copied().filter(|place| !kept.contains(place)));
        }
        let mut place = 0;
        self.entries.retain(|_| {
            place += 1;
            !gone.contains(&(place - 1))
        });
        self.place = self.entries.len();
        gone.len() as u64
    }

    /// Makes the last entry of each bucket with credits, and the last entry of all, represent the earlier entries at
    /// these places. Returns the places of these entries.
    fn fold_account(&mut self, places: &[usize]) -> Vec<usize> {
        let Some(last) = places.last().copied() else { return Vec::new() };
        let balance = self.entries[last].change.balance_or_no_limit();
        let mut buckets: Vec<(BucketId, usize)> = Vec::new();
        for place in places {
            let id = self.entries[*place].change.bucket.id();
            match buckets.iter_mut().find(|(known, _)| *known == id) {
                Some((_, latest)) => *latest = *place,
                None => buckets.push((id, *place)),
            }
        }
        let has_credits = |place: &usize| balance != NO_LIMIT && self.entries[*place].change.left > 0;
        let mut kept: Vec<usize> = buckets.iter().map(|(_, place)| *place).filter(has_credits).collect();
        kept.push(last);
        kept.sort_unstable();
        kept.dedup();
        let mut sum = 0;
        for place in &kept {
            let change = &mut self.entries[*place].change;
            let left = change.left.cast_signed();
            change.kind = EntryKind::Folded;
            // The last entry has the whole rest, also if older entries have been overwritten.
            change.amount = match change.bucket.id() {
                _ if *place == last && balance == NO_LIMIT => 0,
                _ if *place == last => balance - sum,
                BucketId::Debt => -left,
                _ => left,
            };
            sum += change.amount;
            change.balance = if balance == NO_LIMIT { NO_LIMIT } else { sum };
        }
        kept
    }
}

impl HistoryEntry {
    fn to_entry(&self) -> Entry {
        let change = &self.change;
        let balance = match change.balance_or_no_limit() {
            NO_LIMIT => Balance::Unlimited,
            owed @ ..0 => Balance::Owed(Credits::new(owed.unsigned_abs())),
            there => Balance::Limited(Credits::new(there.cast_unsigned())),
        };
        let entry = Entry::new(self.number, change.at, change.kind.clone(), change.amount, balance);
        entry.in_bucket(change.bucket.id(), Credits::new(change.left))
    }
}

impl Change {
    /// Returns the balance, or [`NO_LIMIT`]. The last entry of a change that removes the limit has no balance left.
    fn balance_or_no_limit(&self) -> i64 {
        match self.kind {
            EntryKind::Unlimited(_) if self.balance == 0 => NO_LIMIT,
            _ => self.balance,
        }
    }
}

/// The number of adjustments of an account whose ids are kept.
const REMEMBERED: usize = 1024;

/// The last adjustments of an account, each with the balance after it.
#[derive(Debug, Default)]
pub(super) struct Adjustments {
    made: HashMap<AdjustmentId, (AdjustmentKind, Balance)>,
    order: VecDeque<AdjustmentId>,
}

impl Adjustments {
    pub(super) fn made(&self, id: &AdjustmentId) -> Option<(&AdjustmentKind, Balance)> {
        self.made.get(id).map(|(kind, balance)| (kind, *balance))
    }

    pub(super) fn remember(&mut self, id: &AdjustmentId, kind: &AdjustmentKind, balance: Balance) {
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.made.remove(&oldest);
        }
        self.made.insert(id.clone(), (kind.clone(), balance));
        self.order.push_back(id.clone());
    }
}
