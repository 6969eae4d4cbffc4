//! The charges of an account that are neither settled nor refunded.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use smallvec::SmallVec;

use crate::credit::ByNumber;
use crate::{ChargeId, Credits};

/// How many charges are kept in a list: an account that has more open has the others in a map.
const FEW: usize = 8;

/// Open charges: mostly none, or a few.
#[derive(Debug, Default)]
// The first of the few stands beside what is looked at before.
#[repr(C)]
pub(super) struct OpenCharges {
    many: HashMap<ChargeId, Credits, BuildHasherDefault<ByNumber>>,
    few: SmallVec<[(ChargeId, Credits); FEW]>,
}

impl OpenCharges {
    pub(super) fn len(&self) -> usize {
        self.few.len() + self.many.len()
    }

    #[inline]
    pub(super) fn holds(&self, id: ChargeId) -> bool {
        self.few.iter().any(|(open, _)| *open == id) || (!self.many.is_empty() && self.many.contains_key(&id))
    }

    /// Adds a charge that is not held yet.
    #[inline]
    pub(super) fn add(&mut self, id: ChargeId, amount: Credits) {
        if self.few.len() < FEW {
            self.few.push((id, amount));
        } else {
            self.many.insert(id, amount);
        }
    }

    /// Takes a charge out, and tells its amount.
    #[inline]
    pub(super) fn take(&mut self, id: ChargeId) -> Option<Credits> {
        // Mostly it is the only one.
        if let [(open, amount)] = *self.few.as_slice()
            && open == id
        {
            self.few.clear();
            return Some(amount);
        }
        match self.few.iter().position(|(open, _)| *open == id) {
            Some(place) => Some(self.few.swap_remove(place).1),
            None if self.many.is_empty() => None,
            None => self.many.remove(&id),
        }
    }
}
