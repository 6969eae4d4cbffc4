//! The history of accounts: their last entries, and the ids of their last adjustments.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::amount::Credits;
use crate::clock::Timestamp;
use crate::credit::{AdjustmentId, AdjustmentKind, Balance, Entry, EntryKind};

/// A stored entry of an account.
///
/// While an account has no limit, its only entries are those that removed the limit, so `balance` needs no value for "no
/// limit".
#[derive(Debug)]
pub(super) struct HistoryEntry {
    /// The number of the account in this ledger.
    pub(super) account: u64,
    /// The number of the entry in its account.
    pub(super) number: u64,
    pub(super) at: Timestamp,
    pub(super) kind: EntryKind,
    pub(super) amount: i64,
    pub(super) balance: Credits,
}

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
        Self { rings: (0..rings).map(|_| Mutex::default()).collect(), most: most / rings }
    }

    #[inline]
    fn ring_of(&self, account: u64) -> MutexGuard<'_, Ring> {
        // The number of rings is a power of two.
        #[expect(clippy::cast_possible_truncation, reason = "the lower bits spread accounts as well")]
        let ring = account as usize & (self.rings.len() - 1);
        self.rings[ring].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the ring of an account, with all its entries in place.
    fn whole_ring_of(&self, account: u64) -> MutexGuard<'_, Ring> {
        let mut ring = self.ring_of(account);
        ring.store(self.most);
        ring
    }

    #[inline]
    pub(super) fn write(&self, entry: HistoryEntry) {
        let mut ring = self.ring_of(entry.account);
        if ring.new.capacity() == 0 {
            ring.reserve(self.most);
        }
        ring.new.push(entry);
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

    /// Folds the oldest entries of each account into one.
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
        // For each account: the index of its last entry to fold, the number of those entries, and true while no entry
        // that is not older was found.
        let mut accounts: HashMap<u64, (usize, usize, bool)> = HashMap::new();
        for (place, entry) in self.entries.iter().enumerate() {
            let (last, count, open) = accounts.entry(entry.account).or_insert((place, 0, true));
            *open &= entry.at < before;
            if *open {
                (*last, *count) = (place, *count + 1);
            }
        }
        accounts.retain(|_, (_, count, _)| *count > 1);
        for (last, _, _) in accounts.values() {
            self.entries[*last].fold();
        }
        let (before, mut place) = (self.entries.len(), 0);
        self.entries.retain(|entry| {
            let kept = accounts.get(&entry.account).is_none_or(|(last, _, _)| place >= *last);
            place += 1;
            kept
        });
        self.place = self.entries.len();
        (before - self.place) as u64
    }
}

impl HistoryEntry {
    /// Makes the entry represent all earlier entries.
    ///
    /// Its amount becomes the balance, or a negative number if the account has no limit.
    fn fold(&mut self) {
        self.amount = match self.kind {
            EntryKind::Unlimited(_) => -1,
            EntryKind::Folded => self.amount,
            _ => self.balance.get().cast_signed(),
        };
        self.kind = EntryKind::Folded;
    }

    fn to_entry(&self) -> Entry {
        let (amount, balance) = match self.kind {
            EntryKind::Unlimited(_) => (self.amount, Balance::Unlimited),
            EntryKind::Folded if self.amount < 0 => (0, Balance::Unlimited),
            _ => (self.amount, Balance::Limited(self.balance)),
        };
        Entry::new(self.number, self.at, self.kind.clone(), amount, balance)
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
    pub(super) fn made(&self, id: &AdjustmentId) -> Option<(AdjustmentKind, Balance)> {
        self.made.get(id).copied()
    }

    pub(super) fn remember(&mut self, id: &AdjustmentId, kind: AdjustmentKind, balance: Balance) {
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.made.remove(&oldest);
        }
        self.made.insert(id.clone(), (kind, balance));
        self.order.push_back(id.clone());
    }
}
