//! The history of an account: its last entries, and the ids of its last adjustments.

use std::collections::{HashMap, VecDeque};

use crate::amount::Credits;
use crate::clock::Timestamp;
use crate::credit::{AdjustmentId, AdjustmentKind, Balance, Entry, EntryKind};

/// A stored entry.
///
/// Its number follows from its position. While an account has no limit, its only entries are those that removed the
/// limit, so `balance` needs no value for "no limit".
#[derive(Debug)]
pub(super) struct HistoryEntry {
    pub(super) at: Timestamp,
    pub(super) kind: EntryKind,
    pub(super) amount: i64,
    pub(super) balance: Credits,
}

/// The last entries of an account, in a ring buffer.
///
/// Once it is full, an entry overwrites the oldest one and allocates nothing.
#[derive(Debug)]
pub(super) struct History {
    most: usize,
    last: u64,
    /// The index of the next entry.
    place: usize,
    ring: Vec<HistoryEntry>,
}

impl History {
    pub(super) fn keeping(most: usize) -> Self {
        Self { most, last: 0, place: 0, ring: Vec::new() }
    }

    #[inline]
    pub(super) fn write(&mut self, written: HistoryEntry) {
        self.last += 1;
        if self.place >= self.most {
            self.place = 0;
        }
        match self.ring.get_mut(self.place) {
            Some(oldest) => *oldest = written,
            None if self.most == 0 => return,
            None => {
                // Reserve all entries at once: later writes are on the path of a request.
                self.ring.reserve_exact(self.most - self.ring.len());
                self.ring.push(written);
            }
        }
        self.place += 1;
    }

    /// Folds the oldest entries into one.
    ///
    /// It folds all entries before the first one that is not older than `before`. Returns the number of removed
    /// entries.
    pub(super) fn fold(&mut self, before: Timestamp) -> u64 {
        let oldest = self.place % self.ring.len().max(1);
        self.ring.rotate_left(oldest);
        self.place = self.ring.len();
        let old = self.ring.iter().take_while(|entry| entry.at < before).count();
        let Some(last) = old.checked_sub(1).filter(|last| *last > 0) else { return 0 };
        self.ring[last].fold();
        self.ring.drain(..last);
        self.place = self.ring.len();
        last as u64
    }

    /// Returns the entries, newest first.
    pub(super) fn newest(&self, before: Option<u64>, limit: usize) -> Vec<Entry> {
        let (older, newer) = (&self.ring[self.place..], &self.ring[..self.place]);
        let kept = newer.iter().rev().chain(older.iter().rev());
        let numbered = (1..=self.last).rev().zip(kept);
        let asked = numbered.filter(|(number, _)| before.is_none_or(|before| *number < before));
        asked.take(limit).map(|(number, written)| written.numbered(number)).collect()
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

    fn numbered(&self, number: u64) -> Entry {
        let (amount, balance) = match self.kind {
            EntryKind::Unlimited(_) => (self.amount, Balance::Unlimited),
            EntryKind::Folded if self.amount < 0 => (0, Balance::Unlimited),
            _ => (self.amount, Balance::Limited(self.balance)),
        };
        Entry::new(number, self.at, self.kind.clone(), amount, balance)
    }
}

/// The number of adjustments of an account whose ids are remembered.
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
