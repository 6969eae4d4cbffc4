//! What is remembered of an account: its last entries, and the ids of its last adjustments.

use std::collections::{HashMap, VecDeque};

use crate::{AdjustmentId, AdjustmentKind, Balance, Credits, Entry, EntryKind, Timestamp};

/// An entry as it is kept. Its number is told by its place; and where there is no limit, nothing is written but that.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) at: Timestamp,
    pub(super) kind: EntryKind,
    pub(super) amount: i64,
    pub(super) balance: Credits,
}

/// The last entries of an account. Once it is full, an entry takes the oldest one's place and allocates nothing.
#[derive(Debug)]
pub(super) struct History {
    most: usize,
    last: u64,
    /// Where the next entry goes.
    place: usize,
    ring: Vec<Written>,
}

impl History {
    pub(super) fn keeping(most: usize) -> Self {
        Self { most, last: 0, place: 0, ring: Vec::new() }
    }

    #[inline]
    pub(super) fn write(&mut self, written: Written) {
        self.last += 1;
        if self.place >= self.most {
            self.place = 0;
        }
        match self.ring.get_mut(self.place) {
            Some(oldest) => *oldest = written,
            None if self.most == 0 => return,
            None => {
                // Room for all at once: later writes are on the path of a request.
                self.ring.reserve_exact(self.most - self.ring.len());
                self.ring.push(written);
            }
        }
        self.place += 1;
    }

    /// The newest first.
    pub(super) fn newest(&self, before: Option<u64>, limit: usize) -> Vec<Entry> {
        let (older, newer) = (&self.ring[self.place..], &self.ring[..self.place]);
        let kept = newer.iter().rev().chain(older.iter().rev());
        let numbered = (1..=self.last).rev().zip(kept);
        let asked = numbered.filter(|(number, _)| before.is_none_or(|before| *number < before));
        asked.take(limit).map(|(number, written)| written.numbered(number)).collect()
    }
}

impl Written {
    fn numbered(&self, number: u64) -> Entry {
        let balance = match self.kind {
            EntryKind::Unlimited(_) => Balance::Unlimited,
            _ => Balance::Limited(self.balance),
        };
        Entry::new(number, self.at, self.kind.clone(), self.amount, balance)
    }
}

/// How many adjustments of an account are remembered by their ids.
const REMEMBERED: usize = 1024;

/// The last adjustments of an account, and the balance that each came to.
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
