//! A pool of connections to a database. A connection is opened when one is needed, lent to one session at a time, and
//! reused.
//!
//! sqlx's own pool is not used. It waits without a time limit for a ping of each returned connection, and occupies the
//! connection's place meanwhile. Here every wait for a server has a time limit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::error::{fault, will_pass};
use super::file::DatabaseFile;
use super::options::DatabaseOptions;
use super::{Target, either};
use crate::error::StoreError;

/// The idle time after which a connection to a server is checked before it is lent.
const FRESH: Duration = Duration::from_secs(1);

/// The time after which a connection is checked even if it was not idle: its server may have stopped taking writes.
const CHECKED: Duration = Duration::from_secs(5);

/// The time limit of that check.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// The idle time after which a connection to a server is closed: firewalls drop such connections silently.
const IDLE: Duration = Duration::from_mins(10);

/// The maximum age of a connection to a server: the memory that a server uses for a connection grows.
const LIFETIME: Duration = Duration::from_mins(30);

/// The minimum time between two replacements of all connections because the server takes no writes.
const BETWEEN_REPLACEMENTS: Duration = Duration::from_secs(2);

/// The time limit for closing a connection when its pool is closed.
const FAREWELL: Duration = Duration::from_secs(5);

pub(super) enum Connection {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::SqliteConnection),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgConnection),
}

pub(super) struct Pool {
    pub(super) options: DatabaseOptions,
    /// The target, with all settings of a connection.
    target: Target,
    places: Arc<Semaphore>,
    connections: Mutex<Connections>,
    closed: AtomicBool,
    /// The file, if the database is one.
    file: Option<DatabaseFile>,
}

struct Connections {
    /// Idle connections, in order of last use; the most recent is last.
    idle: Vec<IdleConnection>,
    /// The time of the last replacement. Connections that are older are not lent again.
    replaced: Instant,
}

struct IdleConnection {
    connection: Connection,
    born: Instant,
    /// The time at which its server was last known to take writes.
    checked: Instant,
    used: Instant,
}

/// A connection in use.
pub(super) struct PooledConnection {
    pub(super) connection: Connection,
    born: Instant,
    checked: Instant,
    pool: Arc<Pool>,
    /// The connection's place in the pool; `None` for a connection outside the pool.
    place: Option<OwnedSemaphorePermit>,
}

impl Pool {
    pub(super) fn new(options: DatabaseOptions) -> Self {
        let target = either!(Target, &options.target,
            sqlite target => Target::Sqlite(Box::new(super::sqlite::prepared(target, &options))),
            postgres target => Target::Postgres(Box::new(super::postgres::prepared(target))));
        let file = either!(Target, &target,
            sqlite target => Some(DatabaseFile::at(target.get_filename())),
            postgres _ => None);
        let places = Arc::new(Semaphore::new(usize::try_from(options.connections).unwrap_or(usize::MAX)));
        let connections = Mutex::new(Connections { idle: Vec::new(), replaced: Instant::now() });
        Self { file, options, target, places, connections, closed: AtomicBool::new(false) }
    }

    /// Lends a connection within the pool's time limit.
    pub(super) async fn lend(self: &Arc<Self>) -> Result<PooledConnection, StoreError> {
        let deadline = Instant::now() + self.options.acquire;
        let place = timeout_at(deadline, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.map_err(|_| StoreError::overloaded())?.map_err(|_| closed())?;
        if self.is_closed() {
            return Err(closed());
        }
        self.file.as_ref().map_or(Ok(()), DatabaseFile::look)?;
        let idle = match self.kept_connection().await {
            Some(idle) => idle,
            None => self.connect(deadline).await?,
        };
        Ok(PooledConnection::new(idle, self, Some(place)))
    }

    /// Opens a connection outside the pool, which is closed after use. Work that takes minutes must not occupy a place
    /// in the pool.
    pub(super) async fn lend_beside(self: &Arc<Self>) -> Result<PooledConnection, StoreError> {
        if self.is_closed() {
            return Err(closed());
        }
        self.file.as_ref().map_or(Ok(()), DatabaseFile::look)?;
        let idle = self.connect(Instant::now() + self.options.acquire).await?;
        Ok(PooledConnection::new(idle, self, None))
    }

    /// Closes all idle connections: one connection failed, and the others lead to the same server.
    pub(super) fn distrust(&self) {
        let idle = std::mem::take(&mut self.connections().idle);
        drop(idle);
    }

    /// Replaces all connections, since they lead to a server that takes no writes. Connections in use are replaced when
    /// they are returned. Returns false if they were already replaced within [`BETWEEN_REPLACEMENTS`].
    pub(super) fn replace(&self) -> bool {
        let mut connections = self.connections();
        let replaces = connections.replaced.elapsed() >= BETWEEN_REPLACEMENTS;
        if replaces {
            connections.replaced = Instant::now();
            let idle = std::mem::take(&mut connections.idle);
            drop(connections);
            drop(idle);
        }
        replaces
    }

    /// Waits for the connections in use, and closes all.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let _places = self.places.acquire_many(self.options.connections).await;
        self.places.close();
        let idle = std::mem::take(&mut self.connections().idle);
        for idle in idle {
            let farewell =
                async { either!(Connection, idle.connection, connection => connection.close().await) };
            // A failure is ignored: the server may be gone.
            let _ = timeout(FAREWELL, farewell).await;
        }
    }

    /// Returns an idle connection that is alive.
    async fn kept_connection(&self) -> Option<IdleConnection> {
        let mut idle = self.pop()?;
        let is_fresh = || idle.used.elapsed() <= FRESH && idle.checked.elapsed() <= CHECKED;
        if self.target.is_file() || is_fresh() {
            return Some(idle);
        }
        let most = SIGN_OF_LIFE.min(self.options.acquire / 4);
        let check = async {
            either!(Connection, &mut idle.connection,
                sqlite _ => Ok::<_, sqlx::Error>(true),
                postgres connection => super::postgres::takes_writes(connection).await)
        };
        let takes_writes = timeout(most, check).await;
        match takes_writes {
            Ok(Ok(true)) => idle.checked = Instant::now(),
            Ok(Ok(false)) if self.replace() => return None,
            Ok(Ok(false)) => {}
            Ok(Err(_)) | Err(_) => {
                self.distrust();
                return None;
            }
        }
        Some(idle)
    }

    /// Returns the connection that was used last, if it may be used again.
    fn pop(&self) -> Option<IdleConnection> {
        let mut connections = self.connections();
        // Connections that were idle for too long are first.
        let is_server = !self.options.target.is_file();
        let stale = connections.idle.partition_point(|idle| is_server && idle.used.elapsed() > IDLE);
        let stale: Vec<IdleConnection> = connections.idle.drain(..stale).collect();
        let idle = connections.idle.pop();
        drop(connections);
        drop(stale);
        idle.filter(|idle| !is_server || idle.born.elapsed() <= LIFETIME)
    }

    async fn connect(&self, deadline: Instant) -> Result<IdleConnection, StoreError> {
        let mut pause = Duration::from_millis(10);
        let mut failure = StoreError::timed_out();
        loop {
            let born = Instant::now();
            match timeout_at(deadline, self.connect_once()).await {
                Ok(Ok(connection)) => {
                    return Ok(IdleConnection { connection, born, checked: born, used: born });
                }
                Ok(Err(error)) => {
                    failure = fault(&error);
                    if !will_pass(&error) {
                        return Err(failure);
                    }
                }
                Err(_) => return Err(failure),
            }
            if timeout_at(deadline, sleep(pause)).await.is_err() {
                return Err(failure);
            }
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    async fn connect_once(&self) -> Result<Connection, sqlx::Error> {
        either!(Target, &self.target,
        sqlite target => target.connect().await.map(Connection::Sqlite),
        postgres target => {
            let mut connection = target.connect().await?;
            if !self.options.pooled {
                let settings = super::session::settings(self.options.statement, "SET");
                sqlx::raw_sql(sqlx::AssertSqlSafe(settings)).execute(&mut connection).await?;
            }
            Ok(Connection::Postgres(connection))
        })
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PooledConnection {
    fn new(idle: IdleConnection, pool: &Arc<Pool>, place: Option<OwnedSemaphorePermit>) -> Self {
        let IdleConnection { connection, born, checked, .. } = idle;
        Self { connection, born, checked, pool: Arc::clone(pool), place }
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Returns the connection to the pool for the next session.
    pub(super) fn give_back(self) {
        let Self { connection, born, checked, pool, place } = self;
        let mut connections = pool.connections();
        if place.is_some() && born >= connections.replaced {
            connections.idle.push(IdleConnection { connection, born, checked, used: Instant::now() });
        }
        drop(connections);
        // Release the place last, so that the next session finds the connection.
        drop(place);
    }
}

fn closed() -> StoreError {
    StoreError::unavailable("the database was closed")
}
