//! A second tier: records kept outside this process, for all nodes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::future::StoreFuture;
use crate::key::{KeyHash, KeyId};
use crate::name::AccountId;
use crate::store::Change;

/// A place in a second tier's own order of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Whose record a text is: what makes it void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filing {
    /// The key.
    pub key: KeyId,
    /// The account that holds it.
    pub account: AccountId,
}

/// A text that a second tier keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptText {
    /// The text, as it was handed over.
    pub text: String,
    /// Whose record it is; `None` where it says that there is no such key.
    pub filing: Option<Filing>,
    /// For how long it is good, from its ticket on.
    pub life: Duration,
}

impl KeptText {
    /// A text that is good for so long.
    pub fn new(text: String, filing: Option<Filing>, life: Duration) -> Self {
        Self { text, filing, life }
    }
}

/// What a second tier has of a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Looked {
    /// The moment of this look.
    pub ticket: Ticket,
    /// What is kept, and how long ago its own ticket was taken.
    pub found: Option<(KeptText, Duration)>,
}

impl Looked {
    /// What a look at this moment has found.
    pub fn new(ticket: Ticket, found: Option<(KeptText, Duration)>) -> Self {
        Self { ticket, found }
    }
}

/// Where a [`CachedStore`](crate::store::CachedStore) keeps what it has read for the other nodes, and looks before it asks the
/// authority.
///
/// # Contract
///
/// - **Lossy.** It may forget anything at any time, and fail: that is a miss. What it answers is not trusted: a text that does
///   not read back, is another key's, or is older than the bound on staleness, is a miss too.
/// - **In order.** [`look`](RecordCache::look) gives a ticket, taken in one step with the look. A text is kept under the ticket
///   of the look that came before the authority was asked, and is not found once [`void`](RecordCache::void) has come after
///   that ticket, in whichever order the two arrive. That is how a revocation wins over a reading that began before it, on any
///   node.
/// - **Bounded.** What is kept is gone when its life is over, counted from its ticket.
/// - **Secret:** a text holds hashes, names and limits, but no key.
pub trait RecordCache: fmt::Debug + Send + Sync + 'static {
    /// What is kept of a hash.
    fn look(&self, hash: &KeyHash) -> StoreFuture<Looked>;

    /// Keeps a text, as of the moment of a ticket.
    fn keep(&self, hash: &KeyHash, ticket: Ticket, kept: &KeptText) -> StoreFuture<()>;

    /// Makes void what was kept of a subject, and of hashes that may be somebody's now, under a ticket from before this
    /// moment. None of it lives for longer than `life`.
    fn void(&self, change: &Change, hashes: &[KeyHash], life: Duration) -> StoreFuture<()>;
}

impl<T: RecordCache + ?Sized> RecordCache for Arc<T> {
    fn look(&self, hash: &KeyHash) -> StoreFuture<Looked> {
        (**self).look(hash)
    }

    fn keep(&self, hash: &KeyHash, ticket: Ticket, kept: &KeptText) -> StoreFuture<()> {
        (**self).keep(hash, ticket, kept)
    }

    fn void(&self, change: &Change, hashes: &[KeyHash], life: Duration) -> StoreFuture<()> {
        (**self).void(change, hashes, life)
    }
}
