//! A SQLite or PostgreSQL database: connections, statements and schema versions. The stores and the ledger use the same
//! statements for both.
//!
//! A SQLite file serves one machine, and PostgreSQL serves a fleet. Keys, accounts and credits survive a restart in
//! both.
//!
//! # Example
//!
//! A gate whose keys, accounts and credits are in one database:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # if !cfg!(feature = "sqlite") {
//! #     return Ok(());
//! # }
//! use tollgate::credit::SqlLedger;
//! use tollgate::key::Length;
//! use tollgate::sql::Database;
//! use tollgate::store::{AccountAdmin, KeyAdmin, SqlStore};
//! use tollgate::{Account, Gate, KeyFormat, KeySource, Plan};
//!
//! # let path = std::env::temp_dir().join(format!("tollgate-sql-{}.db", std::process::id()));
//! # let url = format!("sqlite:{}", path.display());
//! // Such as `sqlite:/var/lib/acme/keys.db` or `postgres://gate@db.example/acme`.
//! let database = Database::connect(&url).await?;
//! let (store, ledger) = (SqlStore::new(&database), SqlLedger::new(&database));
//! let gate = Gate::builder()
//!     .source(KeySource::header("X-API-Key")?)
//!     .format(KeyFormat::new("acme_", Length::exactly(32))?)
//!     .plan(Plan::new("pro"))
//!     .store(store.clone())
//!     .ledger(ledger)
//!     .build()?;
//!
//! store.create_account(&Account::new("acme", "pro")).await?;
//! assert!(store.account_of(&"acme".into()).await?.is_some());
//! # drop(gate);
//! # database.close().await;
//! # for ending in ["", "-wal", "-shm"] {
//! #     let _ = std::fs::remove_file(format!("{}{ending}", path.display()));
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//!
//! - [`Database`]: the database and its connections. Opening it brings its tables up to date.
//! - [`DatabaseOptions`]: the number of connections, the time limits and the [`Durability`] of a commit.
//! - [`SqlStore`](crate::store::SqlStore), [`SqlLedger`](crate::credit::SqlLedger) and
//!   [`SqlUsage`](crate::usage::SqlUsage): the back ends in a database.
//! - [`SqlAuditStore`](crate::audit::SqlAuditStore): audit entries in a database.
//! - [`SqlAlertStore`](crate::alert::SqlAlertStore): crossings of thresholds, and alerts that wait for their delivery.
//! - [`OpenError`]: the reason that a database cannot be opened.

mod error;
mod file;
mod migrate;
mod options;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
mod row;
mod session;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statement;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use error::OpenError;
pub(crate) use error::is_rolled_back;
pub use options::{DatabaseOptions, Durability};
pub(crate) use row::Row;
pub(crate) use session::Session;
pub(crate) use statement::{Statement, Value, pieces};

use options::Target;
use pool::Pool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::StoreError;
use crate::future::StoreFuture;

/// The extra time that a caller waits after the database's own statement timeout, so that the database gives up first.
const GRACE: Duration = Duration::from_millis(250);

/// Runs the same code on either database, or code of its own for each. A database that this build does not include has no
/// variant.
macro_rules! either {
    ($enum:ident, $on:expr, $it:ident => $work:expr) => {
        either!($enum, $on, sqlite $it => $work, postgres $it => $work)
    };
    ($enum:ident, $on:expr, sqlite $file:pat => $on_file:expr, postgres $server:pat => $on_server:expr) => {
        match $on {
            #[cfg(feature = "sqlite")]
            $enum::Sqlite($file) => $on_file,
            #[cfg(feature = "postgres")]
            $enum::Postgres($server) => $on_server,
        }
    };
}
use either;

/// A SQLite file or a PostgreSQL database, and the connections to it. A [`SqlStore`](crate::store::SqlStore) and a
/// [`SqlLedger`](crate::credit::SqlLedger) can share it. A clone is the same database.
///
/// The names of its tables begin with `tollgate_`. Opening the database brings the tables up to date. If several nodes
/// start at once, one of them does it.
///
/// A SQLite file is in WAL mode: readers and the one writer do not wait for each other. Several processes may share a
/// file. [`Durability`] determines what a commit survives. A new file is accessible only to its owner (mode 0600), and
/// erased data leaves no trace in it. A PostgreSQL server retains erased data in its own files until it cleans up.
///
/// A SQLite file is created only when the database is opened. If the file is deleted or replaced while it is in use,
/// every call fails, and the log reports it, until the file is back or the database is opened again. The files that
/// SQLite creates beside it (`-wal`, `-shm`) are part of the database.
///
/// # The role in PostgreSQL
///
/// The role that opens the database first, and the role that opens it first with a newer version of this crate, needs
/// the privilege `CREATE` on the schema, to create the tables. All other roles need only these privileges, granted
/// after the tables exist:
///
/// ```sql
/// GRANT USAGE ON SCHEMA public TO gate;
/// GRANT SELECT ON tollgate_schema TO gate;
/// GRANT SELECT, INSERT, UPDATE, DELETE ON tollgate_accounts, tollgate_keys, tollgate_hashes, tollgate_balances,
///     tollgate_entries, tollgate_charges, tollgate_adjustments, tollgate_audit, tollgate_usage_batches,
///     tollgate_usage_series, tollgate_usage_minutes, tollgate_usage_hours, tollgate_usage_days,
///    tollgate_usage_months, tollgate_crossings, tollgate_alerts, tollgate_budgets TO gate;
/// ```
///
/// # Encryption
///
/// A connection to PostgreSQL on another machine must be encrypted. The feature `postgres-tls` adds TLS. The parameters of
/// the URL are those of PostgreSQL's own clients:
///
/// | parameter | meaning |
/// |---|---|
/// | `sslmode` | `verify-full` (the default for other machines) verifies the certificate and the host name, `verify-ca` only the certificate, and `require` nothing, or the certificate if there is `sslrootcert`. `prefer`, `allow` and `disable` are for this machine. |
/// | `sslrootcert` | A PEM file with authorities that are trusted in addition to those of the system. |
/// | `sslcert`, `sslkey` | PEM files with the certificate of this client and its private key. |
/// | `insecure` | `true`: connections may leave this machine in clear text. |
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # if !cfg!(feature = "sqlite") {
/// #     return Ok(());
/// # }
/// use tollgate::credit::SqlLedger;
/// use tollgate::sql::Database;
/// use tollgate::store::SqlStore;
///
/// # let path = std::env::temp_dir().join(format!("tollgate-doc-{}.db", std::process::id()));
/// # let url = format!("sqlite:{}", path.display());
/// let database = Database::connect(&url).await?;
/// let (store, ledger) = (SqlStore::new(&database), SqlLedger::new(&database));
/// # database.close().await;
/// # for ending in ["", "-wal", "-shm"] {
/// #     let _ = std::fs::remove_file(format!("{}{ending}", path.display()));
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Database(Arc<Inner>);

#[derive(Default)]
struct Tables {
    are_ready: AtomicBool,
    /// The end of the last attempt to bring them up to date. Locked during an attempt.
    tried: tokio::sync::Mutex<Option<Instant>>,
}

/// The minimum time between two attempts to bring the tables up to date.
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

struct Inner {
    pool: Arc<Pool>,
    /// The state of the tables. They are up to date, unless the database was opened without its server.
    tables: Tables,
    /// The lock of the writers of a SQLite file. They wait here in a queue instead of polling SQLite.
    turns: Option<Arc<Semaphore>>,
}

impl Database {
    /// Opens the database at `sqlite:PATH` or `postgres://…`, with the default options. Use [`DatabaseOptions`] for
    /// others.
    ///
    /// # Errors
    ///
    /// Fails if the URL names no database, if the database cannot be reached, or if a newer version of this crate has
    /// set it up.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        DatabaseOptions::new(url)?.open().await
    }

    /// Waits for the calls in progress, and closes all connections. Later calls fail.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }

    pub(super) async fn open(options: DatabaseOptions) -> Result<Self, OpenError> {
        if options.must_exist && options.target.is_missing() {
            return Err(OpenError::Missing { database: options.target.to_string() });
        }
        let turns = options.target.is_file().then(|| Arc::new(Semaphore::new(1)));
        let (pool, tables) = (Arc::new(Pool::new(options)), Tables::default());
        let database = Self(Arc::new(Inner { pool, tables, turns }));
        match migrate::bring_up_to_date(&database).await {
            Ok(()) => database.0.tables.are_ready.store(true, Ordering::Release),
            Err(OpenError::Unavailable { .. }) if database.options().starts_without_server => {}
            Err(error) => return Err(error),
        }
        Ok(database)
    }

    /// Returns the name of the database, without user and password.
    pub(crate) fn name(&self) -> String {
        self.options().target.to_string()
    }

    /// Returns a session for reading.
    pub(crate) async fn reader(&self) -> Result<Session, StoreError> {
        self.check_tables().await?;
        self.session(None).await
    }

    /// Returns a session for reading, in a transaction with this time limit for its statements.
    pub(crate) async fn patient_reader(&self, limit: Duration) -> Result<Session, StoreError> {
        self.check_tables().await?;
        let lent = self.0.pool.lend_beside().await?;
        let mut session = Session::new(lent, None, limit + GRACE);
        session.begin_patiently(limit).await?;
        Ok(session)
    }

    /// Returns the time that a caller waits for a transaction of a few statements.
    pub(crate) fn patience(&self) -> Duration {
        self.options().acquire + self.options().statement * 2
    }

    /// Returns a session for writing.
    pub(crate) async fn writer(&self) -> Result<Session, StoreError> {
        self.check_tables().await?;
        self.writer_of_any_tables().await
    }

    /// Returns a session for writing, whatever the state of the tables is.
    async fn writer_of_any_tables(&self) -> Result<Session, StoreError> {
        let turn = match &self.0.turns {
            Some(turns) => {
                let turn = tokio::time::timeout(self.options().acquire, Arc::clone(turns).acquire_owned());
                let turn = turn.await.map_err(|_| StoreError::overloaded())?;
                Some(turn.map_err(|error| StoreError::unavailable(error.to_string()))?)
            }
            None => None,
        };
        self.session(turn).await
    }

    /// Runs one changing statement. Returns the number of rows that it changed.
    pub(crate) async fn change(&self, statement: Statement) -> Result<u64, StoreError> {
        retried(|| async { self.writer().await?.execute(statement.clone()).await }).await
    }

    /// Repeats a statement that changes up to `at_once` rows until none are left. Between two statements, other writers
    /// get their turn. Returns the number of rows that it changed.
    pub(crate) async fn change_all(&self, statement: &Statement, at_once: u32) -> Result<u64, StoreError> {
        let mut changed = 0;
        loop {
            let now = self.change(statement.clone()).await?;
            changed += now;
            if now < u64::from(at_once) {
                return Ok(changed);
            }
        }
    }

    /// Returns a session for writing, in a transaction.
    pub(crate) async fn transaction(&self) -> Result<Session, StoreError> {
        let mut session = self.writer().await?;
        session.begin().await?;
        Ok(session)
    }

    /// Removes deleted data from a SQLite file's log, which contains old versions of pages. While a reader uses old
    /// versions, the data stays. The next deletion removes it, or the close of the last connection.
    pub(crate) async fn wipe(&self) {
        if self.options().target.is_file()
            && let Ok(mut session) = self.writer().await
        {
            let _ = session.cut_log(self.options().statement).await;
        }
    }

    /// Brings the tables up to date, if the database was opened without its server. One call does it. The others fail at
    /// once.
    async fn check_tables(&self) -> Result<(), StoreError> {
        let tables = &self.0.tables;
        if tables.are_ready.load(Ordering::Acquire) {
            return Ok(());
        }
        let waiting =
            || StoreError::unavailable("the database was opened without its server, which is not ready");
        let mut tried = tables.tried.try_lock().map_err(|_| waiting())?;
        if tables.are_ready.load(Ordering::Acquire) {
            return Ok(());
        }
        if tried.is_some_and(|tried| tried.elapsed() < BETWEEN_TRIES) {
            return Err(waiting());
        }
        let done = migrate::bring_up_to_date(self).await;
        *tried = Some(Instant::now());
        done.map_err(|error| StoreError::unavailable(error.to_string()))?;
        tables.are_ready.store(true, Ordering::Release);
        Ok(())
    }

    async fn session(&self, turn: Option<OwnedSemaphorePermit>) -> Result<Session, StoreError> {
        let lent = self.0.pool.lend().await?;
        Ok(Session::new(lent, turn, self.options().statement + GRACE))
    }

    fn options(&self) -> &DatabaseOptions {
        &self.0.pool.options
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({})", self.name())
    }
}

/// The maximum number of attempts for a transaction that the database rolls back in favour of others.
const TRIES: u32 = 8;

/// Repeats a transaction that the database rolled back in favour of others.
pub(crate) async fn retried<T, W>(work: impl Fn() -> W) -> Result<T, StoreError>
where
    W: Future<Output = Result<T, StoreError>>,
{
    for turn in 1..TRIES {
        match work().await {
            Err(error) if is_rolled_back(&error) => {
                // A random pause, so that transactions that conflicted do not conflict again at once.
                let pause = crate::amount::random() % (u64::from(turn) * 5);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            done => return done,
        }
    }
    work().await
}

/// Runs work to its end even if the caller stops waiting, for example when the client disconnects: nothing is left half
/// done.
pub(crate) fn carried_through<T: Send + 'static>(
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> StoreFuture<T> {
    StoreFuture::boxed(async move {
        let runtime = tokio::runtime::Handle::try_current();
        let runtime = runtime.map_err(|error| StoreError::unavailable(error.to_string()))?;
        runtime.spawn(work).await.map_err(|error| StoreError::unavailable(error.to_string()))?
    })
}
