//! One database, SQLite or PostgreSQL: connections, statements and the tables' versions. What the stores and the ledger
//! say to it reads the same in both dialects.

mod error;
#[cfg(feature = "sqlite")]
mod file;
mod migrate;
mod options;
mod pool;
mod row;
mod session;
mod statement;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

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

/// How much longer a statement is waited for than the database is told to take: it shall be the first to give up.
const GRACE: Duration = Duration::from_millis(250);

/// Does the same with either database.
macro_rules! either {
    ($enum:ident, $on:expr, $it:ident => $work:expr) => {
        match $on {
            #[cfg(feature = "sqlite")]
            $enum::Sqlite($it) => $work,
            #[cfg(feature = "postgres")]
            $enum::Postgres($it) => $work,
        }
    };
}
use either;

/// A SQLite file or a PostgreSQL database, and the connections to it: what a [`SqlStore`](crate::store::SqlStore) and a
/// [`SqlLedger`](crate::credit::SqlLedger) share. A clone is the same database.
///
/// Its tables begin with `tollgate_`, and are brought up to date when it is opened, by one of all the nodes that start.
///
/// A SQLite file is kept in WAL mode: readers and the one writer do not wait for each other. Several processes may share
/// one. [`Durability`] says what a commit survives. A file that is made is its owner's alone (mode 0600), and what is erased
/// leaves no trace in it. A PostgreSQL server keeps what was erased in its own files until it cleans up.
///
/// A SQLite file is made when the database is opened, and at no other time. Where it is deleted or replaced while it is in
/// use, every call fails, and the log says so, until the file is back or the database is opened anew. The files that
/// SQLite lays beside it (`-wal`, `-shm`) are part of it.
///
/// # The role in PostgreSQL
///
/// Whoever opens the database first, and whoever opens it first with a newer version of this crate, needs the privilege
/// `CREATE` on the schema, to make the tables. All others need no more than this, granted after the tables are there:
///
/// ```sql
/// GRANT USAGE ON SCHEMA public TO gate;
/// GRANT SELECT ON tollgate_schema TO gate;
/// GRANT SELECT, INSERT, UPDATE, DELETE ON tollgate_accounts, tollgate_keys, tollgate_hashes, tollgate_balances,
///     tollgate_entries, tollgate_charges, tollgate_adjustments TO gate;
/// ```
///
/// # Encryption
///
/// PostgreSQL is spoken to without encryption, unless your own crate turns on one of sqlx's features for it, such as
/// `tls-rustls`.
///
/// # Example
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
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
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    pool: Arc<Pool>,
    /// The turns of the writers of a SQLite file: they wait here in line, rather than ask again and again.
    turns: Option<Arc<Semaphore>>,
}

impl Database {
    /// Opens the database behind `sqlite:PATH` or `postgres://…`, with everything as it is if nothing is said:
    /// [`DatabaseOptions`] says it.
    ///
    /// # Errors
    ///
    /// A URL that names no database, one that cannot be reached, or one that a newer version of this crate has set up.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        DatabaseOptions::new(url)?.open().await
    }

    /// Lets what was begun end, and closes all connections. Calls that come later fail.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }

    pub(super) async fn open(options: DatabaseOptions) -> Result<Self, OpenError> {
        let turns = options.target.is_file().then(|| Arc::new(Semaphore::new(1)));
        let database = Self(Arc::new(Inner { pool: Arc::new(Pool::new(options)), turns }));
        migrate::bring_up_to_date(&database).await?;
        Ok(database)
    }

    /// Which database, without user and password.
    pub(crate) fn name(&self) -> String {
        self.options().target.to_string()
    }

    /// A connection to read by.
    pub(crate) async fn reader(&self) -> Result<Session, StoreError> {
        self.session(None).await
    }

    /// A connection to read by, in a transaction whose statements may take so long.
    pub(crate) async fn patient_reader(&self, limit: Duration) -> Result<Session, StoreError> {
        let lent = self.0.pool.lend_beside().await?;
        let mut session = Session::new(lent, None, limit + GRACE);
        session.begin_patiently(limit).await?;
        Ok(session)
    }

    /// How long a caller waits for a transaction of a few statements.
    pub(crate) fn patience(&self) -> Duration {
        self.options().acquire + self.options().statement * 2
    }

    /// A connection to write by.
    pub(crate) async fn writer(&self) -> Result<Session, StoreError> {
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

    /// Makes one change, and says how many rows it has changed.
    pub(crate) async fn change(&self, statement: Statement) -> Result<u64, StoreError> {
        retried(|| async { self.writer().await?.execute(statement.clone()).await }).await
    }

    /// A connection to write by, in a transaction.
    pub(crate) async fn transaction(&self) -> Result<Session, StoreError> {
        let mut session = self.writer().await?;
        session.begin().await?;
        Ok(session)
    }

    /// Sees that what was removed leaves a SQLite file: its log holds the pages as they were. While somebody reads what was, it
    /// stays; what is removed next takes it along, and so does the end of the last connection.
    #[cfg_attr(not(feature = "sqlite"), expect(clippy::unused_async, reason = "a file is wiped with I/O"))]
    pub(crate) async fn wipe(&self) {
        #[cfg(feature = "sqlite")]
        if self.options().target.is_file()
            && let Ok(mut session) = self.writer().await
        {
            let _ = session.cut_log(self.options().statement).await;
        }
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

/// How often a transaction is begun that the database undoes in favour of others.
const TRIES: u32 = 8;

/// Does a transaction again that the database has undone in favour of others.
pub(crate) async fn retried<T, W>(work: impl Fn() -> W) -> Result<T, StoreError>
where
    W: Future<Output = Result<T, StoreError>>,
{
    for turn in 1..TRIES {
        match work().await {
            Err(error) if is_rolled_back(&error) => {
                // Those that met do not meet again at once.
                let pause = crate::amount::random() % (u64::from(turn) * 5);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            done => return done,
        }
    }
    work().await
}

/// Work that goes on to its end where nobody waits for it any longer, as when the client leaves: nothing stays half done.
pub(crate) fn carried_through<T: Send + 'static>(
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> StoreFuture<T> {
    StoreFuture::boxed(async move {
        let runtime = tokio::runtime::Handle::try_current();
        let runtime = runtime.map_err(|error| StoreError::unavailable(error.to_string()))?;
        runtime.spawn(work).await.map_err(|error| StoreError::unavailable(error.to_string()))?
    })
}
