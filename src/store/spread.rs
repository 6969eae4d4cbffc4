//! Maps that are keyed by the hash of a key, without hashing again.

use std::hash::{BuildHasherDefault, Hasher};

use crate::key::KeyHash;

/// A hasher for SHA-256 hashes, or for values that were imported as such.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        // An odd multiplier, and both halves of the product, so that consecutive numbers are spread too. A map whose
        // entries collide would grow without end.
        let product = u128::from(number) * 0x9E37_79B9_7F4A_7C15;
        #[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
        let spread = (product >> 64) as u64 ^ product as u64;
        self.0 = spread;
    }
}

/// A map of existing keys by their hash. It is unsuitable for keys that do not exist: clients that send them can choose
/// hashes that collide.
pub(super) type ByHash<T> = papaya::HashMap<KeyHash, T, BuildHasherDefault<Spread>>;
