//! Stores of keys and accounts: the traits, the in-memory and SQL stores, and the cache.
//!
//! A gate looks a key up by the hash of its secret. A store never sees the secret.
//!
//! # Example
//!
//! ```
//! use tollgate::clock::SystemClock;
//! use tollgate::key::KeyHasher;
//! use tollgate::store::{AccountAdmin, InsertKey, Inserted, KeyAdmin};
//! use tollgate::{Account, Clock, KeyId, KeyRecord, KeyStore, MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tollgate::StoreError> {
//! let store = MemoryStore::new();
//! store.create_account(&Account::new("acme", "pro")).await?;
//! let account = store.account_of(&"acme".into()).await?.unwrap();
//!
//! let hash = KeyHasher::sha256().hash(b"acme_secret");
//! let record = KeyRecord::new(KeyId::generate(), hash, account);
//! let insert = InsertKey::new(record, SystemClock::new().now().wall());
//! assert_eq!(store.insert(&insert).await?, Inserted::Done);
//!
//! let found = store.find(&hash).await?.unwrap();
//! assert_eq!(found.account.id.as_str(), "acme");
//! # Ok(())
//! # }
//! ```
//!
//! A [`KeyManager`](crate::KeyManager) and an [`AccountManager`](crate::AccountManager) make these calls for a service.
//!
//! # Overview
//!
//! - [`KeyStore`]: the trait with which a gate finds keys. [`GateBuilder::store`](crate::GateBuilder::store) sets the
//!   store of a gate.
//! - [`KeyAdmin`] and [`AccountAdmin`]: the traits with which keys and accounts are written.
//! - [`MemoryStore`]: keys and accounts in this process.
//! - `SqlStore`: keys and accounts in SQLite or PostgreSQL (features `sqlite`, `postgres`).
//! - `CachedStore`: a cache in front of another store, with a bound on staleness (feature `fleet`).
//! - `RedisRecords` and `RedisInvalidationBus`: a second tier of the cache, and announcements between the caches of
//!   nodes (feature `redis`).

mod admin;
#[cfg(feature = "fleet")]
mod cached;
mod encoding;
mod forward;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "memory", feature = "fleet"))]
mod spread;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;

use std::fmt::Debug;
use std::sync::Arc;

pub use admin::{AccountAdmin, InsertKey, Inserted, KeyAdmin, KeyQuery, Replaced};
#[cfg(feature = "fleet")]
pub use cached::{
    CacheHealth, CacheLookup, CacheVersion, CachedStore, CachedStoreBuilder, CachedSubject, CachedText,
    Change, ChannelState, InvalidationBus, InvalidationSink, RecordCache,
};
#[cfg(feature = "memory")]
pub use memory::MemoryStore;
#[cfg(feature = "redis")]
pub use redis::{RedisInvalidationBus, RedisRecords};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sql::SqlStore;

use crate::future::StoreFuture;
use crate::key::{KeyHash, KeyRecord};

/// Finds a key's record by the hash of its secret.
///
/// # Contract
///
/// - **Exact.** The record that is returned has this hash. A store compares all 32 bytes, as bytes. The gate checks the
///   hash again.
/// - **Absent is a value.** `Ok(None)` means that there is no such key. Every failure that leaves the store without an
///   answer (an outage, a timeout, a record that cannot be read) is an `Err`. The gate answers 503 to an `Err`, and 401
///   only to `Ok(None)`.
/// - **No verdicts.** A store returns revoked, paused and expired keys like any other. The gate checks their state on
///   every request.
/// - **Staleness.** A store may answer from a cache, within a bound that it documents. A key that was revoked through
///   the same store is not found active by any call that begins later.
/// - **Changed records are new.** A changed record, or a record with a changed account, is a new [`Arc`] whose record has
///   no [run-time state](KeyRecord::state), such as a changed clone. A gate does not check again what it has checked on
///   a record, so it does not see a change of the record in place, as with [`Arc::make_mut`].
/// - **Secret.** Nothing may log the hash. The hash comes from untrusted input, so a store that caches answers bounds
///   the number of absent hashes that it remembers.
///
/// # Example
///
/// A store over a constant list, which has no write side:
///
/// ```
/// use std::sync::Arc;
/// use tollgate::key::KeyHash;
/// use tollgate::{KeyRecord, KeyStore, StoreFuture};
///
/// #[derive(Debug)]
/// struct Fixed(Vec<Arc<KeyRecord>>);
///
/// impl KeyStore for Fixed {
///     fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
///         StoreFuture::ready(self.0.iter().find(|record| record.hash == *hash).cloned())
///     }
/// }
/// ```
pub trait KeyStore: Debug + Send + Sync + 'static {
    /// Finds the record of the key with this hash.
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>>;

    /// Returns the record of the key with this hash if [`find`](Self::find) would return it at once, without a call to a
    /// database or to another process. A gate with an [`AttemptLimit`](crate::gate::AttemptLimit) asks for a key of a
    /// network that is above the limit by this method first.
    ///
    /// A wrapper returns the answer of the store behind it. Defaults to `None`.
    fn find_cached(&self, hash: &KeyHash) -> Option<Arc<KeyRecord>> {
        let _ = hash;
        None
    }

    /// Returns the write side of the store, if it has one. Without it, keys and accounts cannot be managed,
    /// and no uses are recorded.
    ///
    /// A store that implements [`AccountAdmin`] returns `Some(self)`. A wrapper returns a write side whose changes its own
    /// look-ups find at once. Defaults to `None`.
    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        None
    }

    /// Returns true if the store is known to fail: the circuit of its guard is open. A wrapper returns the answer of the
    /// store behind it. Defaults to `false`.
    fn is_failing(&self) -> bool {
        false
    }
}

impl<T: KeyStore + ?Sized> KeyStore for Arc<T> {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        (**self).find(hash)
    }

    fn find_cached(&self, hash: &KeyHash) -> Option<Arc<KeyRecord>> {
        (**self).find_cached(hash)
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        Arc::clone(&*self).admin()
    }

    fn is_failing(&self) -> bool {
        (**self).is_failing()
    }
}
