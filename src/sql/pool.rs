//! The connections to a database: opened when one is needed, lent to one session at a time, and kept for the next.
//!
//! sqlx's own pool is not used: it waits without a bound for a sign of life from each connection that is returned, and
//! holds the connection's place meanwhile. Here whatever waits for a server has a time limit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::error::{fault, will_pass};
use super::options::DatabaseOptions;
#[cfg(feature = "sqlite")]
use super::options::Durability;
use super::{Target, either};
use crate::StoreError;

/// A connection to a server that was idle for longer is asked for a sign of life before it is lent.
const FRESH: Duration = Duration::from_secs(1);

/// The longest wait for that sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// A connection to a server that was idle for longer is closed: firewalls drop such connections without a word.
const IDLE: Duration = Duration::from_mins(10);

/// The longest use of one connection to a server: what a server keeps for a connection grows.
const LIFETIME: Duration = Duration::from_mins(30);

/// The shortest time between two replacements of all connections because the server takes no writes.
const BETWEEN_REPLACEMENTS: Duration = Duration::from_secs(2);

/// The longest wait for a connection that is closed with its pool.
const FAREWELL: Duration = Duration::from_secs(5);

pub(super) enum Connection {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::SqliteConnection),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgConnection),
}

pub(super) struct Pool {
    pub(super) options: DatabaseOptions,
    /// The target with all settings of a connection.
    target: Target,
    places: Arc<Semaphore>,
    kept: Mutex<Kept>,
    closed: AtomicBool,
}

struct Kept {
    /// The one that was used last stands last.
    idle: Vec<Idle>,
    /// No connection that is older is lent again.
    replaced: Instant,
}

struct Idle {
    connection: Connection,
    born: Instant,
    used: Instant,
}

/// A connection in use.
pub(super) struct Lent {
    pub(super) connection: Connection,
    born: Instant,
    pool: Arc<Pool>,
    /// The connection's place among those of the pool; none for a connection beside them.
    place: Option<OwnedSemaphorePermit>,
}

impl Pool {
    pub(super) fn new(options: DatabaseOptions) -> Self {
        let target = match &options.target {
            #[cfg(feature = "sqlite")]
            Target::Sqlite(target) => Target::Sqlite(Box::new(sqlite(target, &options))),
            #[cfg(feature = "postgres")]
            Target::Postgres(target) => Target::Postgres(Box::new(postgres(target))),
        };
        let places = Arc::new(Semaphore::new(usize::try_from(options.connections).unwrap_or(usize::MAX)));
        let kept = Mutex::new(Kept { idle: Vec::new(), replaced: Instant::now() });
        Self { options, target, places, kept, closed: AtomicBool::new(false) }
    }

    /// Lends a connection within the pool's time limit.
    pub(super) async fn lend(self: &Arc<Self>) -> Result<Lent, StoreError> {
        let deadline = Instant::now() + self.options.acquire;
        let place = timeout_at(deadline, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.map_err(|_| StoreError::overloaded())?.map_err(|_| closed())?;
        if self.is_closed() {
            return Err(closed());
        }
        let (connection, born) = match self.kept_connection().await {
            Some(kept) => kept,
            None => self.connect(deadline).await?,
        };
        Ok(Lent { connection, born, pool: Arc::clone(self), place: Some(place) })
    }

    /// Opens a connection beside those of the pool, which ends with its use: what takes minutes keeps nobody's place.
    pub(super) async fn lend_beside(self: &Arc<Self>) -> Result<Lent, StoreError> {
        if self.is_closed() {
            return Err(closed());
        }
        let (connection, born) = self.connect(Instant::now() + self.options.acquire).await?;
        Ok(Lent { connection, born, pool: Arc::clone(self), place: None })
    }

    /// Ends what is kept: one connection has failed, and the others lead to the same server.
    pub(super) fn distrust(&self) {
        let idle = std::mem::take(&mut self.kept().idle);
        drop(idle);
    }

    /// Replaces all connections, those in use when they come back: they lead to a server that takes no writes.
    pub(super) fn replace(&self) {
        let mut kept = self.kept();
        if kept.replaced.elapsed() >= BETWEEN_REPLACEMENTS {
            kept.replaced = Instant::now();
            let idle = std::mem::take(&mut kept.idle);
            drop(kept);
            drop(idle);
        }
    }

    /// Waits for the connections in use, and closes all.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let _places = self.places.acquire_many(self.options.connections).await;
        self.places.close();
        let idle = std::mem::take(&mut self.kept().idle);
        for idle in idle {
            let farewell = async { either!(Connection, idle.connection, connection => connection.close().await) };
            // A server that is gone needs none.
            let _ = timeout(FAREWELL, farewell).await;
        }
    }

    /// A kept connection that is alive.
    async fn kept_connection(&self) -> Option<(Connection, Instant)> {
        let mut idle = self.pop()?;
        match &mut idle.connection {
            #[cfg(feature = "postgres")]
            Connection::Postgres(connection) if idle.used.elapsed() > FRESH => {
                let most = SIGN_OF_LIFE.min(self.options.acquire / 4);
                if !matches!(timeout(most, connection.ping()).await, Ok(Ok(()))) {
                    self.distrust();
                    return None;
                }
            }
            _ => {}
        }
        Some((idle.connection, idle.born))
    }

    /// The connection that was used last, if it may be used again.
    fn pop(&self) -> Option<Idle> {
        let mut kept = self.kept();
        // Those that were idle for too long stand first.
        let is_server = !self.options.target.is_file();
        let stale = kept.idle.partition_point(|idle| is_server && idle.used.elapsed() > IDLE);
        let stale: Vec<Idle> = kept.idle.drain(..stale).collect();
        let idle = kept.idle.pop();
        drop(kept);
        drop(stale);
        idle.filter(|idle| !is_server || idle.born.elapsed() <= LIFETIME)
    }

    async fn connect(&self, deadline: Instant) -> Result<(Connection, Instant), StoreError> {
        let mut pause = Duration::from_millis(10);
        let mut told = StoreError::timed_out();
        loop {
            let born = Instant::now();
            match timeout_at(deadline, self.connect_once()).await {
                Ok(Ok(connection)) => return Ok((connection, born)),
                Ok(Err(error)) => {
                    told = fault(&error);
                    if !will_pass(&error) {
                        return Err(told);
                    }
                }
                Err(_) => return Err(told),
            }
            if timeout_at(deadline, sleep(pause)).await.is_err() {
                return Err(told);
            }
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    async fn connect_once(&self) -> Result<Connection, sqlx::Error> {
        match &self.target {
            #[cfg(feature = "sqlite")]
            Target::Sqlite(target) => target.connect().await.map(Connection::Sqlite),
            #[cfg(feature = "postgres")]
            Target::Postgres(target) => {
                let mut connection = target.connect().await?;
                let settings = super::session::settings(self.options.statement, "SET");
                sqlx::raw_sql(sqlx::AssertSqlSafe(settings)).execute(&mut connection).await?;
                Ok(Connection::Postgres(connection))
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Keeps the connection for the next session.
    pub(super) fn give_back(self) {
        let Self { connection, born, pool, place } = self;
        let mut kept = pool.kept();
        if place.is_some() && born >= kept.replaced {
            kept.idle.push(Idle { connection, born, used: Instant::now() });
        }
        drop(kept);
        // Whoever gets the place finds the connection.
        drop(place);
    }
}

fn closed() -> StoreError {
    StoreError::unavailable("the database was closed")
}

#[cfg(feature = "sqlite")]
fn sqlite(
    target: &sqlx::sqlite::SqliteConnectOptions,
    options: &DatabaseOptions,
) -> sqlx::sqlite::SqliteConnectOptions {
    use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
    let synchronous = match options.durability {
        Durability::PowerLoss => SqliteSynchronous::Full,
        Durability::ProcessCrash => SqliteSynchronous::Normal,
    };
    let target = target.clone().journal_mode(SqliteJournalMode::Wal).synchronous(synchronous);
    // What is removed is overwritten, not merely forgotten.
    let target = target.pragma("secure_delete", "ON");
    // Up to 32 MiB of pages, half as many in the log before they are carried over, and nothing in files that come and go: what
    // a statement would undo is a few pages.
    let target = target.pragma("cache_size", "-32768").pragma("wal_autocheckpoint", "4096");
    let target = target.pragma("temp_store", "MEMORY");
    make_private(target.get_filename());
    target.busy_timeout(options.statement).foreign_keys(true).disable_statement_logging()
}

/// Makes the file, if it is not there, for its owner alone: what SQLite lays beside it has the same mode. Where it cannot be
/// made, opening it says why.
#[cfg(feature = "sqlite")]
fn make_private(path: &std::path::Path) {
    let mut file = std::fs::OpenOptions::new();
    file.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    drop(file.open(path));
}

#[cfg(feature = "postgres")]
fn postgres(target: &sqlx::postgres::PgConnectOptions) -> sqlx::postgres::PgConnectOptions {
    // PgBouncer refuses a parameter that it does not know, and no column here is a float.
    target.clone().extra_float_digits(None).disable_statement_logging()
}
