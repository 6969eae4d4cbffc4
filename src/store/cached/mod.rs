//! Records kept in this process, in front of the store that is their authority.

mod admin;
mod announce;
mod bounds;
mod builder;
mod fence;
mod front;
mod health;
mod listener;
mod reading;
mod shelf;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use announce::{Announcements, Change, Ear};
use bounds::Bounds;
pub use builder::CachedStoreBuilder;
use front::{Front, Kept};
pub use health::{CacheHealth, Hearing};
use listener::Listener;
use reading::Readings;

use crate::{KeyHash, KeyRecord, KeyStore, StoreFuture};

/// A cache in front of any key store, its *authority*: a key store itself, and the write side where the authority is one.
///
/// It keeps records, never verdicts: expiry, status and addresses are judged by the gate on every request. What it promises:
///
/// - **A bound on staleness**, [`stale_for_at_most`](CachedStoreBuilder::stale_for_at_most), which `Debug` prints. A change
///   that was made elsewhere is seen within it.
/// - **Changes made through it are seen at once**: what a change returned for is found by every later question, also where an
///   older reading was under way; that reading is thrown away. The write side asks the authority alone.
/// - **One reading** of a key, however many ask. It goes on when they give up waiting.
/// - **Room for so many** records, and apart from them for so many hashes that no key has.
/// - **No failure is an answer.** Where the authority fails, known records are answered with for
///   [`stale_if_error`](CachedStoreBuilder::stale_if_error) past their time, and nothing else is.
///
/// Cloning it is cheap, and clones share what they keep. Questions that it cannot answer from what it keeps need a tokio
/// runtime.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use tollgate::{Account, CachedStore, KeyHasher, KeyId, KeyRecord, KeyStore, MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let authority = Arc::new(MemoryStore::new());
/// let hash = KeyHasher::sha256().hash(b"acme_secret");
/// authority.put_key(KeyRecord::new(KeyId::from_bytes([7; 16]), hash, Arc::new(Account::new("acme", "pro"))));
///
/// let store = CachedStore::builder(authority).stale_for_at_most(Duration::from_secs(5)).build()?;
/// assert!(store.find(&hash).await?.is_some());
/// assert!(store.find(&hash).is_ready(), "it is kept now");
/// # Ok(())
/// # }
/// ```
pub struct CachedStore<S>(Arc<Inner<S>>);

struct Inner<S> {
    authority: S,
    front: Arc<Front>,
    readings: Readings,
    announcements: Option<Arc<dyn Announcements>>,
    side_patience: Duration,
    listener: Option<Listener>,
}

impl<S: KeyStore> CachedStore<S> {
    /// A cache in front of this store, to be put together.
    pub fn builder(authority: S) -> CachedStoreBuilder<S> {
        CachedStoreBuilder::new(authority)
    }

    /// The store in front of which this is.
    pub fn authority(&self) -> &S {
        &self.0.authority
    }

    /// How many records are kept, and how many hashes that no key has.
    pub fn len(&self) -> (usize, usize) {
        self.0.front.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }
}

impl<S: KeyStore> KeyStore for CachedStore<S> {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        let now = self.0.front.now();
        match self.0.front.look(hash, now) {
            Kept::Fresh(found) => StoreFuture::ready(found),
            // One reading in a while tells whether it is back; until then nobody waits for it.
            Kept::Stale(record) if self.0.front.is_failing(now) => StoreFuture::ready(Some(record)),
            Kept::Stale(_) | Kept::Nothing => StoreFuture::boxed(Arc::clone(&self.0).read(*hash, now)),
        }
    }
}

impl<S> Clone for CachedStore<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: fmt::Debug> fmt::Debug for CachedStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bounds, (records, absent)) = (&self.0.front.bounds, self.0.front.len());
        f.debug_struct("CachedStore")
            .field("stale_for_at_most", &Bounds::time(bounds.stale))
            .field("stale_if_error", &Bounds::time(bounds.past))
            .field("hearing", &self.hearing())
            .field("records", &records)
            .field("absent", &absent)
            .field("authority", &self.0.authority)
            .finish_non_exhaustive()
    }
}
