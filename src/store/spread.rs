//! Maps by the hash of a key, which needs no hashing again.

use std::hash::{BuildHasherDefault, Hasher};

use crate::KeyHash;

/// Passes eight bytes of a SHA-256 on as they are: they are spread evenly already.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// What is known of keys that exist, by their hash. For keys that do not exist it will not do: whoever sends them can
/// choose hashes that collide.
pub(super) type ByHash<T> = papaya::HashMap<KeyHash, T, BuildHasherDefault<AsIs>>;
