//! What a gate tells a second one that the request passes behind it.

use crate::gate::Core;
use crate::key::{Finding, find_key};
use crate::{KeyFormat, KeyHash, KeyHasher, KeyId, KeyRecord, RequestView};

/// What an outer gate has done for a request already: it is not drawn or charged again for the same key. An adapter of one's
/// own takes it from the request's [`Principal`](crate::Principal).
#[derive(Debug, Clone, Copy)]
pub struct Admitted {
    pub(super) key: KeyId,
    pub(super) hash: KeyHash,
    pub(super) charged: bool,
    pub(super) drawn: bool,
}

impl Admitted {
    /// Whether it is for this key: the same id may name another key in another store.
    pub(super) fn is_for(&self, record: &KeyRecord) -> bool {
        self.key == record.id && record.has_hash(&self.hash)
    }
}

/// A key that an outer gate took out of the request: its hashes, never the secret. The inner gate looks it up and judges it
/// as if it stood in the request, if it knows the same formats and hashes keys the same way.
#[derive(Debug, Clone)]
pub struct TakenKey {
    hashes: Vec<(KeyHasher, KeyHash)>,
    /// The format that accepted it; `None` for a literal.
    format: Option<KeyFormat>,
}

impl TakenKey {
    /// The key of a request, from where it is about to be taken out; what an outer gate has taken stays as it is.
    #[inline]
    pub(crate) fn before_stripping<'v>(
        core: &Core,
        view: impl FnOnce() -> RequestView<'v>,
        source: usize,
    ) -> Option<Self> {
        if core.strip_headers || core.sources.get(source)?.parameter().is_some() {
            Self::of(core, &view())
        } else {
            None
        }
    }

    /// Most requests keep their key.
    #[cold]
    fn of(core: &Core, view: &RequestView<'_>) -> Option<Self> {
        let Finding::Key(key) = find_key(&core.sources, view, false).0 else { return None };
        let format = core.formats.iter().find(|format| format.accepts(key.as_bytes())).cloned();
        let hashes = core.hashers.iter().map(|hasher| (hasher.clone(), hasher.hash(key.as_bytes())));
        Some(Self { hashes: hashes.collect(), format })
    }

    /// Its hash by this hasher, if this gate would have accepted it.
    pub(super) fn hash(&self, core: &Core, hasher: &KeyHasher) -> Option<KeyHash> {
        let of = |hasher: &KeyHasher| self.hashes.iter().find(|(own, _)| own.is_same(hasher));
        let (_, hash) = of(hasher)?;
        let accepted = match &self.format {
            Some(format) => core.formats.contains(format),
            None => core.literals.iter().any(|literal| hasher.hash(literal.as_bytes()) == *hash),
        };
        accepted.then_some(*hash)
    }
}
