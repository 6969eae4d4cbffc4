//! Keys and accounts in a database.

mod accounts;
mod keys;
mod read;

use std::fmt;
use std::sync::Arc;

use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::key::{KeyHash, KeyRecord};
use crate::sql::{Database, OpenError, carried_through};
use crate::store::KeyStore;

/// Keys and accounts in SQLite or PostgreSQL: the authority of one machine, or of a fleet.
///
/// Every call asks the database: what a call has done is seen by every call that begins later, on any node. A key is found
/// by the 32 bytes of its hash, compared as bytes. A database that does not answer in time, or not at all, is an error,
/// and the calls after it has come back succeed.
///
/// A call that nobody waits for any longer, as when the client leaves, still comes to its end; no transaction stays open.
///
/// # Example
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tollgate::store::{AccountAdmin, KeyAdmin, SqlStore};
/// use tollgate::Account;
///
/// # let path = std::env::temp_dir().join(format!("tollgate-store-{}.db", std::process::id()));
/// # let url = format!("sqlite:{}", path.display());
/// let store = SqlStore::connect(&url).await?;
/// assert!(store.create_account(&Account::new("acme", "pro")).await?);
/// assert_eq!(store.account_of(&"acme".into()).await?.unwrap().plan.as_str(), "pro");
/// # store.database().close().await;
/// # for ending in ["", "-wal", "-shm"] {
/// #     let _ = std::fs::remove_file(format!("{}{ending}", path.display()));
/// # }
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct SqlStore {
    database: Database,
}

impl SqlStore {
    /// The keys and accounts in a database.
    pub fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// The keys and accounts in the database behind `sqlite:PATH` or `postgres://…`.
    ///
    /// # Errors
    ///
    /// A database that cannot be opened: see [`Database::connect`].
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        Ok(Self::new(&Database::connect(url).await?))
    }

    /// The database, for a ledger to share.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Asks the database, to the end.
    fn ask<T, W>(&self, work: impl FnOnce(Database) -> W) -> StoreFuture<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        carried_through(work(self.database.clone()))
    }
}

impl KeyStore for SqlStore {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        let hash = *hash;
        self.ask(async move |database| read::find(&database, hash).await)
    }
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlStore({})", self.database.name())
    }
}
