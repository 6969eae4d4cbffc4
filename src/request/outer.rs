//! What a gate leaves in a request for a second one behind it.

use crate::key::{KeyFormat, KeyHash, KeyHasher, KeyId, KeyRecord};

/// What an outer gate has done for a request already: it is not drawn or charged again for the same key. An adapter of one's
/// own takes it from the request's [`Principal`](crate::gate::Principal).
#[derive(Debug, Clone, Copy)]
pub struct Admitted {
    pub(crate) key: KeyId,
    pub(crate) hash: KeyHash,
    pub(crate) charged: bool,
    pub(crate) drawn: bool,
}

impl Admitted {
    /// Whether it is for this key: the same id may name another key in another store.
    pub(crate) fn is_for(&self, record: &KeyRecord) -> bool {
        self.key == record.id && record.has_hash(&self.hash)
    }
}

/// A key that an outer gate took out of the request: its hashes, never the secret. The inner gate looks it up and judges it
/// as if it stood in the request, if it knows the same formats and hashes keys the same way.
#[derive(Debug, Clone)]
pub struct TakenKey {
    pub(crate) hashes: Vec<(KeyHasher, KeyHash)>,
    /// The format that accepted it; `None` for a literal.
    pub(crate) format: Option<KeyFormat>,
}
