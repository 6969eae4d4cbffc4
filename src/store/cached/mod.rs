//! A cache of records in this process, in front of the store that is their authority.

mod admin;
mod bounds;
mod builder;
mod epochs;
mod hang_detector;
mod health;
mod invalidation;
mod listener;
mod local;
mod reading;
mod record_cache;
mod second_tier;
mod state;
mod text;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bounds::Bounds;
pub use builder::CachedStoreBuilder;
pub use health::{CacheHealth, ChannelState};
pub use invalidation::{Change, InvalidationBus, InvalidationSink};
use listener::Listener;
use reading::ReadsInFlight;
pub use record_cache::{CacheLookup, CacheVersion, CachedSubject, CachedText, RecordCache};
use second_tier::SecondTier;
use state::{CacheState, Cached};

use crate::future::StoreFuture;
use crate::key::{KeyHash, KeyRecord};
use crate::store::{AccountAdmin, KeyStore};

/// A cache in front of any key store, its *authority*. The cache is a key store itself. It also has the write side if
/// the authority has it.
///
/// The cache stores records, never decisions: the gate checks expiry, status and addresses on every request. The
/// guarantees:
///
/// - **A bound on staleness**, [`stale_for_at_most`](CachedStoreBuilder::stale_for_at_most), which `Debug` prints. A
///   change that was made elsewhere is visible within this bound.
/// - **Changes made through the cache are visible at once.** Every look-up that begins after a change returned finds
///   the change. If an older read is under way, its result is discarded. The write side reads only from the authority.
/// - **One read per key.** Concurrent look-ups of one key share one read of the authority. The read continues if the
///   callers stop waiting.
/// - **Bounded memory.** The cache stores a limited number of records. Hashes that no key has are limited separately.
/// - **A failure is never an answer.** If the authority fails, the cache answers only with known records, for
///   [`stale_if_error`](CachedStoreBuilder::stale_if_error) after they expire.
///
/// # Tiers and nodes
///
/// The second tier and the announcements are optional. All nodes share a [second
/// tier](CachedStoreBuilder::second_tier); a node looks there before it reads from the authority. With
/// [announcements](CachedStoreBuilder::invalidation_bus) a node informs the others of its changes. The age of a record
/// counts from its read of the authority, whatever tiers it came through. Without announcements, and for a change that
/// nobody announced, only the bound on staleness applies. It also holds if messages are lost.
///
/// **Without announcements a store assumes that it is the only node**, and reports every change as announced. Configure
/// announcements on every node of a fleet. A store with a second tier and no announcements does not assume that it is
/// alone: its changes are [`Unannounced`](crate::store::Replaced::Unannounced).
///
/// # When something fails
///
/// | fault | effect on callers | duration |
/// |---|---|---|
/// | the authority is down or hangs | known keys are served; keys that are unknown, or known to have changed, get a 503 | until a record expires and [`stale_if_error`](CachedStoreBuilder::stale_if_error) after that; one read a second checks if the authority is back. While it hangs, only the caller of that read waits, and others get the error at once |
/// | the authority is slow | a key that is not cached waits up to [`wait_at_most`](CachedStoreBuilder::wait_at_most), then gets a 503; other keys are delayed only while [`reads_at_once`](CachedStoreBuilder::reads_at_once) reads are under way | until it is faster |
/// | the authority returns a record that cannot be read, or another key's record | a 503 for this key, once its cached record has expired | until the record is repaired |
/// | the second tier is down, hangs, or was tampered with | none: the authority is read | a tier that hangs delays a read by up to half a second, and is then not used for one second |
/// | the second tier fails while a key is revoked | `Revoked::announced` is false: this node denies the key at once, others may not | the bound on staleness |
/// | the channel is lost: its server is down or hangs, a connection is cut, a message is missed | none: records are valid for [`unannounced_for_at_most`](CachedStoreBuilder::unannounced_for_at_most), and [`health`](CachedStore::health) reports it | until the channel is open again and each record was read again; over Redis a loss is detected at once or within a second |
/// | the channel fails while a key is revoked | `announced` is false, as above | the validity of records without announcements |
/// | a node stops between a change and its announcement | other nodes see the old record | the bound on staleness |
/// | the channel and the authority are both lost | known keys are served, including a key that was revoked elsewhere since | the bound on staleness and `stale_if_error` |
/// | the listening task panics | as for a lost channel | 50 ms to a second, then it listens again |
/// | more keys that are not cached than can be read | they wait for their turn; when 10,000 wait, further ones get a 503 | while it lasts |
/// | a flood of unknown keys | none: it evicts other unknown keys, and no records | while it lasts |
///
/// With the feature `tracing`, one event (a warning) reports the start of each of these states: stale answers are
/// returned, the second tier is not used, or changes on other nodes may be missed. Another event reports the end. Each
/// event names the type of the authority, the tier or the channel. The text of its error is in an event at debug level.
///
/// Clones are cheap and share the cached records. A look-up that the cache cannot answer needs a tokio runtime.
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
    authority: Arc<S>,
    state: Arc<CacheState>,
    second_tier: Option<Arc<SecondTier>>,
    reads: Arc<ReadsInFlight>,
    invalidation_bus: Option<Arc<dyn InvalidationBus>>,
    side_patience: Duration,
    listener: Option<Arc<Listener>>,
}

impl<S: KeyStore> CachedStore<S> {
    /// Returns a builder for a cache in front of this store.
    pub fn builder(authority: S) -> CachedStoreBuilder<S> {
        CachedStoreBuilder::new(authority)
    }

    /// Returns the store that this cache is in front of.
    pub fn authority(&self) -> &S {
        &self.0.authority
    }

    /// Returns the same cache, with the same state, in front of another handle of its authority.
    fn in_front_of<A>(&self, authority: A) -> CachedStore<A> {
        CachedStore(Arc::new(Inner {
            authority: Arc::new(authority),
            state: Arc::clone(&self.0.state),
            second_tier: self.0.second_tier.clone(),
            reads: Arc::clone(&self.0.reads),
            invalidation_bus: self.0.invalidation_bus.clone(),
            side_patience: self.0.side_patience,
            listener: self.0.listener.clone(),
        }))
    }

    /// Returns the number of cached records, and the number of cached hashes that no key has.
    pub fn len(&self) -> (usize, usize) {
        self.0.state.len()
    }

    /// Returns true if nothing is cached.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }
}

impl<S: KeyStore> KeyStore for CachedStore<S> {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        let now = self.0.state.now();
        let metrics = &self.0.state.metrics;
        match self.0.state.look(hash, now) {
            Cached::Fresh(found) => {
                if found.is_some() {
                    metrics.hits.add(1);
                } else {
                    metrics.negative_hits.add(1);
                }
                StoreFuture::ready(found)
            }
            // One read a second checks if the authority is back. Until then no caller waits for it.
            Cached::Stale(record) if self.0.state.is_failing(now) => {
                metrics.misses.add(1);
                metrics.stale_answers.add(1);
                self.0.state.note_stale_again();
                StoreFuture::ready(Some(record))
            }
            Cached::Stale(_) | Cached::Nothing => {
                metrics.misses.add(1);
                StoreFuture::boxed(Arc::clone(&self.0).read(*hash, now))
            }
        }
    }

    fn find_cached(&self, hash: &KeyHash) -> Option<Arc<KeyRecord>> {
        let now = self.0.state.now();
        let metrics = &self.0.state.metrics;
        match self.0.state.look(hash, now) {
            Cached::Fresh(Some(record)) => {
                metrics.hits.add(1);
                Some(record)
            }
            // `find` counts the look-ups that this cache does not answer.
            Cached::Fresh(None) | Cached::Stale(_) | Cached::Nothing => None,
        }
    }

    fn is_failing(&self) -> bool {
        self.0.authority.is_failing()
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        let authority = Arc::clone(&self.0.authority).admin()?;
        Some(Arc::new(self.in_front_of(authority)))
    }
}

impl<S> Clone for CachedStore<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: fmt::Debug> fmt::Debug for CachedStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bounds, (records, absent)) = (&self.0.state.bounds, self.0.state.len());
        f.debug_struct("CachedStore")
            .field("stale_for_at_most", &Bounds::time(bounds.stale))
            .field("stale_if_error", &Bounds::time(bounds.past))
            .field("hearing", &self.channel_state())
            .field("records", &records)
            .field("absent", &absent)
            .field("authority", &self.0.authority)
            .finish_non_exhaustive()
    }
}
