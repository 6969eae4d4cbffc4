//! The order of changes, which decides if a read is still valid.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::key::{KeyId, KeyRecord};
use crate::name::AccountId;

/// The number of slots. Subjects share slots: a change also invalidates the other subjects of its slot, which costs one
/// more read each.
const SLOTS: usize = 4096;

/// A position in the order of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(u64);

/// The slots of the subjects that a read depends on.
pub(super) type Slots = [u16; 2];

/// An order of changes that stores the last change of each subject.
///
/// A read takes its mark before it begins. It is valid while no change to its key or its account came after the mark.
/// This one rule has two effects. A read that began before a revocation is not cached after it. Older cached reads are
/// invalid under every hash, without a search for them.
pub(super) struct Epochs {
    changes: AtomicU64,
    last: Box<[AtomicU64]>,
    state: RandomState,
}

impl Epochs {
    pub(super) fn new() -> Self {
        let last = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { changes: AtomicU64::new(0), last, state: RandomState::new() }
    }

    /// Returns the mark of a read that begins now.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.changes.load(Ordering::SeqCst))
    }

    /// Invalidates what was read of the subjects in this slot before now.
    pub(super) fn invalidate(&self, slot: u16) {
        let change = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        self.last[usize::from(slot)].fetch_max(change, Ordering::SeqCst);
    }

    /// Invalidates everything that was read before now.
    pub(super) fn invalidate_all(&self) {
        let change = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        for last in &self.last {
            last.fetch_max(change, Ordering::SeqCst);
        }
    }

    /// Returns true if a read with this mark is still valid.
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

    /// Returns the slot of a hash. It depends only on the first 8 bytes, since only these are announced to other nodes.
    pub(super) fn hash_slot(&self, start: [u8; 8]) -> u16 {
        self.slot(start)
    }

    fn slot(&self, subject: impl Hash) -> u16 {
        const WITHIN: u64 = SLOTS as u64 - 1;
        u16::try_from(self.state.hash_one(subject) & WITHIN).unwrap_or_default()
    }
}
