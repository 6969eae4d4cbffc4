//! Stores, opened by URL.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use tollgate::MemoryStore;
use tollgate::credit::SqlLedger;
use tollgate::sql::{Database, DatabaseOptions, OpenError};
use tollgate::store::AccountAdmin;
use tollgate::store::SqlStore;

use crate::arguments::Usage;
use crate::fleet;
use crate::fleet::{Channel, FailedAnnouncements};
use crate::{Fault, file};

/// An open store, and the location of its data.
pub(crate) struct Store {
    pub(crate) keys: Arc<dyn AccountAdmin>,
    /// The changes of which the other nodes were not notified.
    pub(crate) failed: FailedAnnouncements,
    is_telling: bool,
    kept: Target,
}

enum Target {
    /// A file that is written when a command ends. The lock is released after that.
    File { path: PathBuf, store: Arc<MemoryStore>, _lock: File },
    /// A database, which persists each change at once.
    Database { database: Database, ledger: SqlLedger, is_file: bool },
}

/// The error of a file that does not exist ends with this remedy.
const CREATE: &str = "correct the path, or create the file with `--create`";

/// Opens the store with this URL. Only with `create`, a file that does not exist is created. Changes are announced on
/// the channel, if there is one.
pub(crate) async fn open(url: &str, create: bool, channel: Option<Channel>) -> Result<Store, Fault> {
    match url.split_once(':') {
        Some(("memory", path)) if !path.is_empty() => {
            if channel.is_some() {
                return Err(Usage("`--redis` requires a database as the store".into()).into());
            }
            let path = PathBuf::from(path);
            if !create && !path.exists() {
                return Err(format!("{}: the file does not exist; {CREATE}", path.display()).into());
            }
            let lock = file::lock(&path)?;
            let store = Arc::new(file::load(&path)?);
            let keys = Arc::clone(&store) as _;
            let kept = Target::File { path, store, _lock: lock };
            Ok(Store { keys, failed: FailedAnnouncements::default(), is_telling: false, kept })
        }
        Some(("sqlite" | "postgres" | "postgresql", _)) => in_database(url, create, channel).await,
        // The error does not repeat the URL: it may be that of another service, and contain a password.
        _ => Err(Usage(
            "invalid store URL; expected one such as `memory:keys.json`, `sqlite:keys.db` or `postgres://…`"
                .into(),
        )
        .into()),
    }
}

async fn in_database(url: &str, create: bool, channel: Option<Channel>) -> Result<Store, Fault> {
    let options = DatabaseOptions::new(url)?;
    let options = if create { options } else { options.with_existing_file() };
    let database = options.open().await.map_err(|error| match error {
        OpenError::Missing { .. } => Fault::from(format!("{error}; {CREATE}")),
        error => error.into(),
    })?;
    let is_file = url.starts_with("sqlite:");
    let (keys, ledger) = (Arc::new(SqlStore::new(&database)), SqlLedger::new(&database));
    let (failed, is_telling) = (FailedAnnouncements::default(), channel.is_some());
    let keys: Arc<dyn AccountAdmin> = match channel {
        Some(channel) => fleet::telling(keys, &channel, &failed).await?,
        None => keys,
    };
    Ok(Store { keys, failed, is_telling, kept: Target::Database { database, ledger, is_file } })
}

impl Store {
    /// Saves the changes and closes the store.
    pub(crate) async fn close(self) -> Result<(), Fault> {
        match self.kept {
            Target::File { path, store, .. } => file::save(&path, &store)?,
            Target::Database { database, .. } => database.close().await,
        }
        Ok(())
    }

    /// Returns true if a change is persisted at once, and false if all changes are persisted at the end.
    pub(crate) fn keeps_at_once(&self) -> bool {
        !matches!(self.kept, Target::File { .. })
    }

    /// Returns a note on the other nodes, after a change to records that they may have in their caches.
    pub(crate) fn note_on_nodes(&self) -> Option<&'static str> {
        let is_shared = matches!(self.kept, Target::Database { is_file: false, .. });
        if is_shared && !self.is_telling {
            Some(
                "other nodes apply the change within their bound on staleness; with `--redis URL` they are notified at once",
            )
        } else if self.failed.is_any() {
            Some(
                "the other nodes could not be notified; they apply the change within their bound on staleness",
            )
        } else {
            None
        }
    }

    /// Returns the database, if the store is one. It also stores audit entries, usage and alerts.
    pub(crate) fn database(&self) -> Option<&Database> {
        match &self.kept {
            Target::File { .. } => None,
            Target::Database { database, .. } => Some(database),
        }
    }

    /// Returns the ledger, if the store has one.
    pub(crate) fn ledger(&self) -> Option<&SqlLedger> {
        match &self.kept {
            Target::File { .. } => None,
            Target::Database { ledger, .. } => Some(ledger),
        }
    }
}
