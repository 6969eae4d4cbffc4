//! Usage in a SQL database.

mod read;
mod write;

use std::fmt;

use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::name::AccountId;
use crate::sql::{Database, carried_through};
use crate::usage::{
    TopKey, TopQuery, UsageBatch, UsagePart, UsageQuery, UsageRetention, UsageStep, UsageStore, Written,
};

/// A usage store in SQLite or PostgreSQL: for one machine, or for a fleet.
///
/// Each batch is one transaction, which adds to the minutes, hours, days and months. The ids of batches are kept for a
/// day, by the database's own clock.
///
/// A row takes about 150 bytes in PostgreSQL with its indexes. A node with 1,000 active keys writes 4,000 rows per
/// flush, most of which are updates.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # if !cfg!(feature = "sqlite") {
/// #     return Ok(());
/// # }
/// use tollgate::sql::Database;
/// use tollgate::usage::{BatchId, SqlUsage, UsageBatch, UsageStore, Written};
///
/// # let path = std::env::temp_dir().join(format!("tollgate-usage-{}.db", std::process::id()));
/// # let url = format!("sqlite:{}", path.display());
/// let store = SqlUsage::new(&Database::connect(&url).await?);
/// let batch = UsageBatch::new(BatchId { node: [7; 16], number: 1 }, Vec::new());
/// assert_eq!(store.write(&batch).await?, Written::Added);
/// # for ending in ["", "-wal", "-shm"] {
/// #     let _ = std::fs::remove_file(format!("{}{ending}", path.display()));
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqlUsage {
    database: Database,
}

impl SqlUsage {
    /// Creates a usage store in this database.
    pub fn new(database: &Database) -> Self {
        Self { database: database.clone() }
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

impl UsageStore for SqlUsage {
    fn write(&self, batch: &UsageBatch) -> StoreFuture<Written> {
        let batch = batch.clone();
        self.ask(async move |database| write::write(&database, &batch).await)
    }

    fn read(&self, query: &UsageQuery) -> StoreFuture<Vec<UsagePart>> {
        let query = query.clone();
        self.ask(async move |database| read::parts(&database, &query).await)
    }

    fn top(&self, query: &TopQuery) -> StoreFuture<Vec<TopKey>> {
        let query = query.clone();
        self.ask(async move |database| read::top(&database, &query).await)
    }

    fn prune(&self, keep: &UsageRetention, now: Timestamp) -> StoreFuture<u64> {
        let keep = *keep;
        self.ask(async move |database| write::prune(&database, &keep, now).await)
    }

    fn erase_account(&self, account: &AccountId) -> StoreFuture<bool> {
        let account = account.clone();
        self.ask(async move |database| write::erase_account(&database, &account).await)
    }
}

impl fmt::Debug for SqlUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlUsage({})", self.database.name())
    }
}

/// Returns the table with the counts of a step.
const fn table(step: UsageStep) -> &'static str {
    match step {
        UsageStep::Minute => "tollgate_usage_minutes",
        UsageStep::Hour => "tollgate_usage_hours",
        UsageStep::Day => "tollgate_usage_days",
        UsageStep::Month => "tollgate_usage_months",
    }
}
