//! Stores, by URL.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use tollgate::{AccountAdmin, MemoryStore};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
use tollgate::{Database, SqlLedger, SqlStore};

use crate::Fault;
use crate::arguments::Usage;
use crate::file;

/// An open store, and where it is kept.
pub(crate) struct Store {
    pub(crate) keys: Arc<dyn AccountAdmin>,
    kept: Kept,
}

enum Kept {
    /// In a file that is written anew when a command ends; the lock is held until then.
    File { path: PathBuf, store: Arc<MemoryStore>, _lock: File },
    /// In a database, which keeps a change at once.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    Database { database: Database, ledger: SqlLedger },
}

/// Opens the store that a URL names.
pub(crate) async fn open(url: &str) -> Result<Store, Fault> {
    match url.split_once(':') {
        Some(("memory", path)) if !path.is_empty() => {
            let path = PathBuf::from(path);
            let lock = file::lock(&path)?;
            let store = Arc::new(file::load(&path)?);
            Ok(Store { keys: Arc::clone(&store) as _, kept: Kept::File { path, store, _lock: lock } })
        }
        #[cfg(any(feature = "sqlite", feature = "postgres"))]
        Some(("sqlite" | "postgres" | "postgresql", _)) => {
            let database = Database::connect(url).await?;
            let (keys, ledger) = (SqlStore::new(&database), SqlLedger::new(&database));
            Ok(Store { keys: Arc::new(keys), kept: Kept::Database { database, ledger } })
        }
        // What is no URL of a store may be one of something else, with a password.
        _ => Err(Usage(
            "no store has this URL: write it as in `memory:keys.json`, or with tollgate's features `sqlite` and \
             `postgres` as in `sqlite:keys.db` or `postgres://…`"
                .into(),
        )
        .into()),
    }
}

impl Store {
    /// Keeps what was changed.
    pub(crate) async fn close(self) -> Result<(), Fault> {
        match self.kept {
            Kept::File { path, store, .. } => file::save(&path, &store).await?,
            #[cfg(any(feature = "sqlite", feature = "postgres"))]
            Kept::Database { database, .. } => database.close().await,
        }
        Ok(())
    }

    /// The credits, where the store keeps some.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn ledger(&self) -> Option<&SqlLedger> {
        match &self.kept {
            Kept::File { .. } => None,
            Kept::Database { ledger, .. } => Some(ledger),
        }
    }
}
