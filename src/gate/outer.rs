//! The key that one gate takes out of a request, for a second gate behind it.

use crate::gate::Core;
use crate::key::{KeyHash, KeyHasher};
use crate::request::RequestView;
use crate::request::{Finding, TakenKey, find_key};

impl Core {
    /// The key of a request, from where it is about to be taken out; what an outer gate has taken stays as it is.
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

    /// Most requests keep their key.
    #[cold]
    fn hashes_of_key(&self, view: &RequestView<'_>) -> Option<TakenKey> {
        let Finding::Key(key) = find_key(&self.sources, view, false).0 else { return None };
        let format = self.formats.iter().find(|format| format.accepts(key.as_bytes())).cloned();
        let hashes = self.hashers.iter().map(|hasher| (hasher.clone(), hasher.hash(key.as_bytes())));
        Some(TakenKey { hashes: hashes.collect(), format })
    }

    /// Its hash by this hasher, if this gate would have accepted it.
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
