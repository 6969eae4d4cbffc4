//! The second tier: records that are stored outside this process, for all nodes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::future::StoreFuture;
use crate::key::{KeyHash, KeyId};
use crate::name::AccountId;
use crate::store::Change;

/// A position in the order of events of a second tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheVersion(pub u64);

/// The key and account of a stored text. A change of either invalidates the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedSubject {
    /// The key.
    pub key: KeyId,
    /// The account that the key belongs to.
    pub account: AccountId,
}

/// A text that a second tier stores.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedText {
    /// The text, exactly as it was passed in.
    pub text: String,
    /// The key and account of the record; `None` if the text says that there is no such key.
    pub subject: Option<CachedSubject>,
    /// The time for which the text is valid, counted from its version.
    pub life: Duration,
}

impl CachedText {
    /// Creates a text that is valid for `life`.
    pub fn new(text: String, subject: Option<CachedSubject>, life: Duration) -> Self {
        Self { text, subject, life }
    }
}

/// The answer of a second tier for a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheLookup {
    /// The position of this look-up in the order of events.
    pub version: CacheVersion,
    /// The stored text, and the time since its own version was taken.
    pub found: Option<(CachedText, Duration)>,
}

impl CacheLookup {
    /// Creates the answer to a look-up.
    pub fn new(version: CacheVersion, found: Option<(CachedText, Duration)>) -> Self {
        Self { version, found }
    }
}

/// A second tier, in which a [`CachedStore`](crate::store::CachedStore) stores records for all nodes, and in which it
/// looks before it reads the authority.
///
/// # Contract
///
/// - **Lossy.** The tier may forget anything at any time, and may fail; both count as a miss. Its answers are not
///   trusted. A text is also a miss if it cannot be read back, belongs to another key, or is older than the bound on
///   staleness.
/// - **In order.** [`get`](RecordCache::get) returns a version that is taken in one step with the look-up. A text is
///   stored under the version of the look-up that preceded the read of the authority. If
///   [`invalidate`](RecordCache::invalidate) came after that version, the text is not found, in whichever order the two
///   calls arrive. So a revocation overrides every read that began before it, on any node.
/// - **Bounded.** A text is removed when its life ends, counted from its version.
/// - **Secret:** a text contains hashes, names and limits, but no key.
pub trait RecordCache: fmt::Debug + Send + Sync + 'static {
    /// Returns what is stored for a hash, with a version.
    fn get(&self, hash: &KeyHash) -> StoreFuture<CacheLookup>;

    /// Stores a text under a version.
    fn put(&self, hash: &KeyHash, version: CacheVersion, kept: &CachedText) -> StoreFuture<()>;

    /// Invalidates what was stored of a subject under a version from before this call. Also invalidates stored answers
    /// that these hashes are unknown. No stored text lives longer than `life`.
    fn invalidate(&self, change: &Change, hashes: &[KeyHash], life: Duration) -> StoreFuture<()>;
}

impl<T: RecordCache + ?Sized> RecordCache for Arc<T> {
    fn get(&self, hash: &KeyHash) -> StoreFuture<CacheLookup> {
        (**self).get(hash)
    }

    fn put(&self, hash: &KeyHash, version: CacheVersion, kept: &CachedText) -> StoreFuture<()> {
        (**self).put(hash, version, kept)
    }

    fn invalidate(&self, change: &Change, hashes: &[KeyHash], life: Duration) -> StoreFuture<()> {
        (**self).invalidate(change, hashes, life)
    }
}
