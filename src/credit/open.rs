//! The charges of an account that are neither settled nor refunded, where they are counted in process.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use smallvec::SmallVec;

use crate::amount::ByNumber;
use crate::amount::ChargeId;

/// How many charges are kept in a list: an account that has more open has the others in a map.
const FEW: usize = 8;

/// Open charges, and what there is to know of each: mostly none, or a few.
#[derive(Debug)]
// The first of the few stands beside what is looked at before.
#[repr(C)]
pub(super) struct OpenCharges<T> {
    many: HashMap<ChargeId, T, BuildHasherDefault<ByNumber>>,
    few: SmallVec<[(ChargeId, T); FEW]>,
}

impl<T> Default for OpenCharges<T> {
    fn default() -> Self {
        Self { many: HashMap::default(), few: SmallVec::new() }
    }
}

impl<T: Copy> OpenCharges<T> {
    pub(super) fn len(&self) -> usize {
        self.few.len() + self.many.len()
    }

    #[inline]
    pub(super) fn get(&self, id: ChargeId) -> Option<T> {
        match self.few.iter().find(|(open, _)| *open == id) {
            Some((_, known)) => Some(*known),
            None if self.many.is_empty() => None,
            None => self.many.get(&id).copied(),
        }
    }

    /// Adds a charge that is not held yet.
    #[inline]
    pub(super) fn add(&mut self, id: ChargeId, known: T) {
        if self.few.len() < FEW {
            self.few.push((id, known));
        } else {
            self.many.insert(id, known);
        }
    }

    /// Takes a charge out, and tells what is known of it.
    #[inline]
    pub(super) fn take(&mut self, id: ChargeId) -> Option<T> {
        // Mostly it is the only one.
        if let [(open, known)] = *self.few.as_slice()
            && open == id
        {
            self.few.clear();
            return Some(known);
        }
        match self.few.iter().position(|(open, _)| *open == id) {
            Some(place) => Some(self.few.swap_remove(place).1),
            None if self.many.is_empty() => None,
            None => self.many.remove(&id),
        }
    }
}
