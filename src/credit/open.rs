//! The open charges of an account, kept in process: charges that are neither settled nor refunded.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::amount::ChargeId;

/// Open charges, each with a value.
///
/// Most accounts have none or one, which is stored in place. Others are in a map, which stays once it is there.
#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "a map in place would take more than the rest of an account's state"
)]
pub(super) struct OpenCharges<T> {
    first: Option<(ChargeId, T)>,
    others: Option<Box<HashMap<ChargeId, T, FixedState>>>,
}

impl<T> Default for OpenCharges<T> {
    fn default() -> Self {
        Self { first: None, others: None }
    }
}

impl<T: Copy> OpenCharges<T> {
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.as_ref().map_or(0, |others| others.len())
    }

    #[cfg(feature = "fleet")]
    #[inline]
    pub(super) fn get(&self, id: ChargeId) -> Option<T> {
        match self.first {
            Some((open, known)) if open == id => Some(known),
            _ => self.others.as_ref()?.get(&id).copied(),
        }
    }

    #[cfg(feature = "memory")]
    #[inline]
    pub(super) fn contains(&self, id: ChargeId) -> bool {
        let is_first = self.first.as_ref().is_some_and(|(open, _)| *open == id);
        is_first || self.others.as_ref().is_some_and(|others| others.contains_key(&id))
    }

    /// Adds a charge that is not yet contained.
    #[inline]
    pub(super) fn add(&mut self, id: ChargeId, known: T) {
        if self.first.is_none() {
            self.first = Some((id, known));
        } else {
            self.add_other(id, known);
        }
    }

    fn add_other(&mut self, id: ChargeId, known: T) {
        self.others.get_or_insert_default().insert(id, known);
    }

    /// Removes a charge and returns its value, if it is stored in place.
    #[inline]
    pub(super) fn take_first(&mut self, id: ChargeId) -> Option<T> {
        self.first.take_if(|(open, _)| *open == id).map(|(_, known)| known)
    }

    /// Removes a charge and returns its value.
    #[inline]
    pub(super) fn take(&mut self, id: ChargeId) -> Option<T> {
        self.take_first(id).or_else(|| self.others.as_mut()?.remove(&id))
    }
}
