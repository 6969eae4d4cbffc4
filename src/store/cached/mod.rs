//! Records kept in this process, in front of the store that is their authority.

mod admin;
mod announce;
mod behind;
mod bounds;
mod builder;
mod fence;
mod front;
mod hang;
mod health;
mod listener;
mod reading;
mod second;
mod shelf;
mod text;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use announce::{Announcements, Change, Ear};
use behind::Behind;
use bounds::Bounds;
pub use builder::CachedStoreBuilder;
use front::{Front, Kept};
pub use health::{CacheHealth, Hearing};
use listener::Listener;
use reading::Readings;
pub use second::{Filing, KeptText, Looked, RecordCache, Ticket};

use crate::future::StoreFuture;
use crate::key::{KeyHash, KeyRecord};
use crate::store::KeyStore;

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
/// # Tiers and nodes
///
/// Any tier may be left out: a [second tier](CachedStoreBuilder::second_tier) that all nodes share, in which a node looks before
/// it asks the authority, and [announcements](CachedStoreBuilder::announcements), by which a node tells the others of a change.
/// A record is as old as its reading, whatever tiers it came through. Without announcements, and for a change of which nobody
/// told, the bound on staleness is all there is; it holds also where messages are lost.
///
/// **Without announcements a store takes itself to be alone**, and says of a change that whoever there is was told: give every
/// node of a fleet its announcements. One with a second tier and no announcements is not alone: its changes are
/// [`Unannounced`](crate::store::Replaced::Unannounced).
///
/// # When something fails
///
/// | fault | what callers see | for how long |
/// |---|---|---|
/// | the authority is down or hangs | known keys are served; those that are not known, or are known to have changed, get a 503 | to the end of a record's time and [`stale_if_error`](CachedStoreBuilder::stale_if_error) past it; one reading a second finds out whether it is back. While it hangs that one alone is waited for, and others are told at once |
/// | the authority is slow | a cold key waits up to [`wait_at_most`](CachedStoreBuilder::wait_at_most), then gets a 503; other keys are held up only where [`reads_at_once`](CachedStoreBuilder::reads_at_once) are under way | until it is faster |
/// | the authority answers with what cannot be read, or another key's record | a 503 for this key, once what is known of it is past its time | until it is mended |
/// | the second tier is down, hangs, or has been tampered with | nothing: the authority is asked | a hanging one is waited for up to half a second, then left alone for one |
/// | the second tier fails while a key is revoked | `Revoked::announced` is false: this node refuses the key at once, others may not | the bound on staleness |
/// | the channel is lost: its server is dead or hangs, a connection is cut, a message is missed | nothing: records are good for [`unannounced_for_at_most`](CachedStoreBuilder::unannounced_for_at_most), and [`health`](CachedStore::health) says so | until it is open again and each record has been read again; over Redis a loss shows at once or within a second |
/// | the channel fails while a key is revoked | `announced` is false, as above | the time for records without announcements |
/// | a node dies between a change and its announcement | other nodes see the old record | the bound on staleness |
/// | the channel and the authority are both lost | known keys are served, also one revoked elsewhere meanwhile | the bound on staleness and `stale_if_error` |
/// | the task that listens panics | as a lost channel | 50 ms to a second, then it listens again |
/// | more cold keys than can be read | they wait for their turn; beyond 10,000 that wait, a 503 | while it lasts |
/// | a flood of unknown keys | nothing: it pushes out what is known of other unknown keys, and no record | while it lasts |
///
/// With the feature `tracing`, one event (a warning) says when stale answers begin, when the second tier is left alone, and when
/// changes on other nodes may go unheard; another says when that has ended. Each names the type of the authority, the tier or
/// the channel; the text of its error is in an event at debug level.
///
/// Cloning it is cheap, and clones share what they keep. Questions that it cannot answer from what it keeps need a tokio
/// runtime.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use tollgate::key::KeyHasher;
/// use tollgate::store::CachedStore;
/// use tollgate::{Account, KeyId, KeyRecord, KeyStore, MemoryStore};
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
    behind: Option<Behind>,
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
            Kept::Stale(record) if self.0.front.is_failing(now) => {
                self.0.front.note_stale_again();
                StoreFuture::ready(Some(record))
            }
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
