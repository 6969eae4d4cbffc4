//! Which readings a change has made void.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::key::{KeyId, KeyRecord};
use crate::name::AccountId;

/// Subjects share slots: a change makes void what else has its slot, at the price of one more reading.
const SLOTS: usize = 4096;

/// A place in the order of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(u64);

/// What a reading depends on.
pub(super) type Slots = [u16; 2];

/// Puts changes in order, and remembers the last that befell each subject.
///
/// A reading takes its mark before it begins, and holds while no change to its key or its account came after. That one
/// rule keeps a reading that a revocation overtook from being kept, and makes void what was kept before, under whichever
/// hash, without looking for it.
pub(super) struct Fence {
    changes: AtomicU64,
    last: Box<[AtomicU64]>,
    state: RandomState,
}

impl Fence {
    pub(super) fn new() -> Self {
        let last = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { changes: AtomicU64::new(0), last, state: RandomState::new() }
    }

    /// The mark of a reading that begins now.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.changes.load(Ordering::SeqCst))
    }

    /// Makes void what was read of the subject in this slot before now.
    pub(super) fn void(&self, slot: u16) {
        let change = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        self.last[usize::from(slot)].fetch_max(change, Ordering::SeqCst);
    }

    /// Makes void whatever was read before now.
    pub(super) fn void_all(&self) {
        let change = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        for last in &self.last {
            last.fetch_max(change, Ordering::SeqCst);
        }
    }

    /// Whether a reading with this mark still holds.
    pub(super) fn holds(&self, mark: Mark, [one, other]: Slots) -> bool {
        let last = |slot: u16| self.last[usize::from(slot)].load(Ordering::Acquire);
        last(one) <= mark.0 && last(other) <= mark.0
    }

    pub(super) fn slots_of(&self, record: &KeyRecord) -> Slots {
        [self.key_slot(record.id), self.account_slot(&record.account.id)]
    }

    pub(super) fn key_slot(&self, id: KeyId) -> u16 {
        self.slot(id)
    }

    pub(super) fn account_slot(&self, id: &AccountId) -> u16 {
        self.slot(id)
    }

    /// Of a hash it goes by the first bytes alone: no more is told to other nodes.
    pub(super) fn hash_slot(&self, start: [u8; 8]) -> u16 {
        self.slot(start)
    }

    fn slot(&self, subject: impl Hash) -> u16 {
        const WITHIN: u64 = SLOTS as u64 - 1;
        u16::try_from(self.state.hash_one(subject) & WITHIN).unwrap_or_default()
    }
}
