//! The data that an outer gate leaves in a request for an inner gate.

use crate::key::{KeyFormat, KeyHash, KeyHasher, KeyId, KeyRecord};
use crate::state::StateOwner;

/// The slots, the draw and the charge that an outer gate took for a request. The inner gate does not repeat them for the same key.
/// A custom adapter obtains this value from the request's [`Principal`](crate::gate::Principal).
#[derive(Debug, Clone, Copy)]
pub struct Admitted {
    pub(crate) key: KeyId,
    pub(crate) hash: KeyHash,
    pub(crate) charged: bool,
    /// True if the gate drew from the windows of the key.
    pub(crate) drawn: bool,
    /// The gate that drew.
    pub(crate) gate: Option<StateOwner>,
    /// True if the request holds slots of the key's limit on requests in flight.
    pub(crate) holds: bool,
    /// The gate that holds the request's slots.
    pub(crate) holder: Option<StateOwner>,
}

impl Admitted {
    /// Returns true if this is for the given key. The hash is compared too, because the same id may belong to another
    /// key in another store.
    pub(crate) fn is_for(&self, record: &KeyRecord) -> bool {
        self.key == record.id && record.has_hash(&self.hash)
    }
}

/// A key that an outer gate removed from the request: its hashes, never the secret. The inner gate looks the key up and
/// checks it as if the request still contained it, provided that both gates have the same formats and hashers.
#[derive(Debug, Clone)]
pub struct TakenKey {
    pub(crate) hashes: Vec<(KeyHasher, KeyHash)>,
    /// The format that accepted the key. `None` for a literal key.
    pub(crate) format: Option<KeyFormat>,
}
