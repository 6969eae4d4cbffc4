//! What is remembered of an account: its last entries, and the ids of its last adjustments.

use std::collections::{HashMap, VecDeque};

use crate::{AdjustmentId, AdjustmentKind, Balance, Entry, EntryKind, Timestamp};

/// The last entries of an account. Once it is full, an entry takes the oldest one's place and allocates nothing.
#[derive(Debug)]
pub(super) struct History {
    kept: usize,
    last: u64,
    entries: VecDeque<Entry>,
}

impl History {
    pub(super) fn keeping(kept: usize) -> Self {
        Self { kept, last: 0, entries: VecDeque::new() }
    }

    pub(super) fn write(&mut self, at: Timestamp, kind: EntryKind, amount: i64, balance: Balance) {
        self.last += 1;
        if self.entries.len() >= self.kept && self.entries.pop_front().is_none() {
            return;
        }
        self.entries.push_back(Entry::new(self.last, at, kind, amount, balance));
    }

    /// The newest first.
    pub(super) fn newest(&self, before: Option<u64>, limit: usize) -> Vec<Entry> {
        let asked = |entry: &&Entry| before.is_none_or(|before| entry.number < before);
        self.entries.iter().rev().filter(asked).take(limit).cloned().collect()
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
