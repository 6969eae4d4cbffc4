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
    pub filing: Option<CachedSubject>,
    /// The time for which the text is valid, counted from its ticket.
    pub life: Duration,
}

impl CachedText {
    /// Creates a text that is valid for `life`.
    pub fn new(text: String, filing: Option<CachedSubject>, life: Duration) -> Self {
        Self { text, filing, life }
    }
}

/// The answer of a second tier for a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheLookup {
    /// The position of this look in the order of events.
    pub ticket: CacheVersion,
    /// The stored text, and the time since its own ticket was taken.
    pub found: Option<(CachedText, Duration)>,
}

impl CacheLookup {
    /// Creates the answer of a look.
    pub fn new(ticket: CacheVersion, found: Option<(CachedText, Duration)>) -> Self {
        Self { ticket, found }
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
/// - **In order.** [`look`](RecordCache::look) returns a ticket that is taken in one step with the look. A text is
///   stored under the ticket of the look that preceded the read of the authority. If [`invalidate`](RecordCache::invalidate) came
///   after that ticket, the text is not found, in whichever order the two calls arrive. So a revocation overrides every
///   read that began before it, on any node.
/// - **Bounded.** A text is removed when its life ends, counted from its ticket.
/// - **Secret:** a text contains hashes, names and limits, but no key.
pub trait RecordCache: fmt::Debug + Send + Sync + 'static {
    /// Returns what is stored for a hash, with a ticket.
    fn look(&self, hash: &KeyHash) -> StoreFuture<CacheLookup>;

    /// Stores a text under a ticket.
    fn keep(&self, hash: &KeyHash, ticket: CacheVersion, kept: &CachedText) -> StoreFuture<()>;

    /// Invalidates what was stored of a subject under a ticket from before this call. Also invalidates stored answers
    /// that these hashes are unknown. No stored text lives longer than `life`.
    fn invalidate(&self, change: &Change, hashes: &[KeyHash], life: Duration) -> StoreFuture<()>;
}

impl<T: RecordCache + ?Sized> RecordCache for Arc<T> {
    fn look(&self, hash: &KeyHash) -> StoreFuture<CacheLookup> {
        (**self).look(hash)
    }

    fn keep(&self, hash: &KeyHash, ticket: CacheVersion, kept: &CachedText) -> StoreFuture<()> {
        (**self).keep(hash, ticket, kept)
    }

    fn invalidate(&self, change: &Change, hashes: &[KeyHash], life: Duration) -> StoreFuture<()> {
        (**self).invalidate(change, hashes, life)
    }
}
