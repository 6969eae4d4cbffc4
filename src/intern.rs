//! Sharing of equal values between records.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// The number of values below which unused ones are not removed.
const FEW: usize = 64;

/// The values that records share. A store replaces a value by an equal one that it already has, so that each is stored
/// once. Values that no record uses any more are removed when their number has doubled.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    values: HashSet<Arc<T>>,
    /// The number of values at which unused ones are removed.
    clean_at: usize,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { values: HashSet::new(), clean_at: FEW }
    }
}

impl<T: Eq + Hash> Interner<T> {
    /// Replaces a value by an equal one that is shared already, or shares it from now on.
    pub(crate) fn share(&mut self, value: &mut Arc<T>) {
        if let Some(shared) = self.values.get(value) {
            *value = Arc::clone(shared);
            return;
        }
        if self.values.len() >= self.clean_at {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.clean_at = (2 * self.values.len()).max(FEW);
        }
        self.values.insert(Arc::clone(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_become_one() {
        let mut interner = Interner::default();
        let (mut one, mut other) = (Arc::new("a".to_owned()), Arc::new("a".to_owned()));
        interner.share(&mut one);
        interner.share(&mut other);
        assert!(Arc::ptr_eq(&one, &other));
    }

    #[test]
    fn unused_values_are_removed() {
        let mut interner = Interner::default();
        for number in 0..10 * FEW {
            interner.share(&mut Arc::new(number));
        }
        assert!(interner.values.len() <= FEW);
    }
}
