//! The open charges of an account, kept in process: charges that are neither settled nor refunded.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use smallvec::SmallVec;

use crate::amount::ByNumber;
use crate::amount::ChargeId;

/// The maximum number of charges in the list. Further open charges of the account are kept in a map.
const FEW: usize = 8;

/// Open charges, each with a value.
///
/// Most accounts have none or a few.
#[derive(Debug)]
// The fixed order places the first charges of the list next to the fields that are read before them.
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

    /// Adds a charge that is not yet contained.
    #[inline]
    pub(super) fn add(&mut self, id: ChargeId, known: T) {
        if self.few.len() < FEW {
            self.few.push((id, known));
        } else {
            self.many.insert(id, known);
        }
    }

    /// Removes a charge and returns its value.
    #[inline]
    pub(super) fn take(&mut self, id: ChargeId) -> Option<T> {
        // Fast path: usually it is the only open charge.
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
