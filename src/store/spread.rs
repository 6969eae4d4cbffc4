//! Maps by the hash of a key, which needs no hashing again.

use std::hash::{BuildHasherDefault, Hasher};

use crate::key::KeyHash;

/// Spreads what a SHA-256 comes to, or what was imported as one.
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
        // An odd multiplier, and both halves of the product: numbers that follow one another are spread too. A map whose
        // entries crowd in one place would grow without end.
        let product = u128::from(number) * 0x9E37_79B9_7F4A_7C15;
        #[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
        let spread = (product >> 64) as u64 ^ product as u64;
        self.0 = spread;
    }
}

/// What is known of keys that exist, by their hash. For keys that do not exist it will not do: whoever sends them can
/// choose hashes that collide.
pub(super) type ByHash<T> = papaya::HashMap<KeyHash, T, BuildHasherDefault<Spread>>;
