//! Maps that are keyed by the hash of a key.

use foldhash::fast::FixedState;

use crate::key::KeyHash;

/// A map without locks for readers. The seed of its hasher is fixed: nobody can choose keys whose SHA-256 hashes collide.
pub(super) type ByHash<T> = papaya::HashMap<KeyHash, T, FixedState>;
