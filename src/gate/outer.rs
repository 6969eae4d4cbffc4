//! The key that an outer gate removes from a request, for an inner gate.

use crate::gate::Core;
use crate::key::{KeyHash, KeyHasher};
use crate::request::RequestView;
use crate::request::{KeySearch, TakenKey, find_key};

impl Core {
    /// Returns the key of a request that this gate is about to remove. Returns `None` if the key stays in the request
    /// or if an outer gate has already removed it.
    #[inline]
    pub(crate) fn take_key<'v>(
        &self,
        view: impl FnOnce() -> RequestView<'v>,
        source: usize,
    ) -> Option<TakenKey> {
        if self.strip_headers || self.sources.get(source)?.parameter().is_some() {
            self.hashes_of_key(&view())
        } else {
            None
        }
    }

    /// Cold, because most requests keep their key.
    #[cold]
    fn hashes_of_key(&self, view: &RequestView<'_>) -> Option<TakenKey> {
        let KeySearch::Key(key) = find_key(&self.sources, view, false).0 else { return None };
        let format = self.formats.iter().find(|format| format.accepts(key.as_bytes())).cloned();
        let hashes = self.hashers.iter().map(|hasher| (hasher.clone(), hasher.hash(key.as_bytes())));
        Some(TakenKey { hashes: hashes.collect(), format })
    }

    /// Returns the hash of a removed key by this hasher, if this gate would have accepted the key.
    pub(super) fn hash_of_taken(&self, taken: &TakenKey, hasher: &KeyHasher) -> Option<KeyHash> {
        let of = |hasher: &KeyHasher| taken.hashes.iter().find(|(own, _)| own.is_same(hasher));
        let (_, hash) = of(hasher)?;
        let accepted = match &taken.format {
            Some(format) => self.formats.contains(format),
            None => self.literals.iter().any(|literal| hasher.hash(literal.as_bytes()) == *hash),
        };
        accepted.then_some(*hash)
    }
}
