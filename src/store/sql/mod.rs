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
use crate::store::{AccountAdmin, KeyStore};

/// A store of keys and accounts in SQLite or PostgreSQL: the authority of one machine or of a fleet.
///
/// Every call reads the database: every call that begins later, on any node, sees a call's change. A key is found by
/// the 32 bytes of its hash, compared as bytes. A call fails if the database does not answer, or not in time. Calls
/// succeed again once the database is back.
///
/// A call runs to its end even if the caller stops waiting, for example when the client disconnects. No transaction
/// stays open.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # if !cfg!(feature = "sqlite") {
/// #     return Ok(());
/// # }
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
/// ```
#[derive(Clone)]
pub struct SqlStore {
    database: Database,
}

impl SqlStore {
    /// Creates a store in this database.
    pub fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Opens a store in the database at `sqlite:PATH` or `postgres://…`.
    ///
    /// # Errors
    ///
    /// Fails if the database cannot be opened: see [`Database::connect`].
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        Ok(Self::new(&Database::connect(url).await?))
    }

    /// Returns the database, to share it with a ledger.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Runs work on the database, to its end.
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

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        Some(self)
    }
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlStore({})", self.database.name())
    }
}
