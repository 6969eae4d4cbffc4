//! The options of a database.

use std::str::FromStr;
use std::time::Duration;

use super::{Database, OpenError, either};
use crate::error::ConfigError;

/// The durability of a commit to a SQLite file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// A commit survives a power loss: every commit waits for the disk (`synchronous = FULL`).
    #[default]
    PowerLoss,
    /// A commit survives the end of the process, killed or crashed, but may not survive the end of the machine. A power
    /// loss may lose the latest commits, each as a whole and the newest first. The file stays consistent (`synchronous
    /// = NORMAL`).
    ProcessCrash,
}

/// A database, identified by a URL, and the options for its use.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tollgate::sql::DatabaseOptions;
///
/// # #[cfg(feature = "postgres")] {
/// let options = DatabaseOptions::new("postgres://gate:secret@db.example/acme?sslmode=verify-full")?
///     .with_connections(20)
///     .with_statement_timeout(Duration::from_millis(500));
/// assert!(!format!("{options:?}").contains("secret"));
/// # }
/// assert!(DatabaseOptions::new("mysql://db.example/acme").is_err());
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct DatabaseOptions {
    pub(super) target: Target,
    pub(super) connections: u32,
    pub(super) acquire: Duration,
    pub(super) statement: Duration,
    /// True if a pooler lends a server's connection for one transaction at a time.
    pub(super) pooled: bool,
    pub(super) durability: Durability,
    /// True if the file of a SQLite database must exist.
    pub(super) must_exist: bool,
    /// True if the database is opened although its server cannot be reached.
    pub(super) starts_without_server: bool,
}

#[derive(Clone)]
pub(super) enum Target {
    #[cfg(feature = "sqlite")]
    Sqlite(Box<sqlx::sqlite::SqliteConnectOptions>),
    #[cfg(feature = "postgres")]
    Postgres(Box<sqlx::postgres::PgConnectOptions>),
}

impl Target {
    /// Returns true if the database is a file on this machine.
    pub(super) fn is_file(&self) -> bool {
        either!(Self, self, sqlite _ => true, postgres _ => false)
    }

    /// Returns true if the database is a file that does not exist.
    pub(super) fn is_missing(&self) -> bool {
        either!(Self, self, sqlite options => !options.get_filename().exists(), postgres _ => false)
    }
}

impl DatabaseOptions {
    /// Creates options for the database at `sqlite:PATH` or `postgres://USER:PASSWORD@HOST:PORT/NAME`. A SQLite file
    /// that does not exist is created when the database is opened. See [`Database`](Database#encryption) for the
    /// parameters of the URL that concern encryption.
    ///
    /// # Errors
    ///
    /// Fails if the URL cannot be read, if it leads to another machine in clear text, or if this build has no feature for
    /// its database.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        let target = Target::from_str(url)?;
        let connections = if target.is_file() { 4 } else { 10 };
        let (acquire, statement) = (Duration::from_secs(2), Duration::from_secs(5));
        let durability = Durability::default();
        let (pooled, must_exist, starts_without_server) = (false, false, false);
        Ok(Self {
            target,
            connections,
            acquire,
            statement,
            pooled,
            durability,
            must_exist,
            starts_without_server,
        })
    }

    /// Sets the maximum number of connections. Defaults to 10, or 4 for a SQLite file. The minimum is 2.
    #[must_use]
    pub fn with_connections(mut self, most: u32) -> Self {
        self.connections = most.max(2);
        self
    }

    /// Sets the time that a call waits for a connection before it fails as overloaded. Defaults to 2 seconds.
    #[must_use]
    pub fn with_acquire_timeout(mut self, most: Duration) -> Self {
        self.acquire = most;
        self
    }

    /// Sets the time that a statement may take before it fails as timed out. Defaults to 5 seconds. A connection whose
    /// server does not answer a statement is occupied for this time.
    #[must_use]
    pub fn with_statement_timeout(mut self, most: Duration) -> Self {
        self.statement = most;
        self
    }

    /// Enables use behind a pooler that lends a PostgreSQL connection for one transaction at a time, such as
    /// `PgBouncer` with `pool_mode = transaction`. Every statement then runs in a transaction that includes its
    /// settings, and no statement stays prepared. This takes three more round trips. It is not needed in session mode.
    #[must_use]
    pub fn with_transaction_pooling(mut self) -> Self {
        self.pooled = true;
        self
    }

    /// Sets the durability of a commit to a SQLite file. PostgreSQL has its own setting for this
    /// (`synchronous_commit`).
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Requires the file of a SQLite database to exist, so that a misspelt path is an error. It has no effect on
    /// PostgreSQL.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # if !cfg!(feature = "sqlite") {
    /// #     return Ok(());
    /// # }
    /// use tollgate::sql::{DatabaseOptions, OpenError};
    ///
    /// let opened = DatabaseOptions::new("sqlite:no/such/file.db")?.with_existing_file().open().await;
    /// assert!(matches!(opened, Err(OpenError::Missing { .. })));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_existing_file(mut self) -> Self {
        self.must_exist = true;
        self
    }

    /// Lets the database be opened while its server cannot be reached, so that a service starts before its database and
    /// answers 503 until it comes. The tables are brought up to date before the first call that reaches the server. Until
    /// then, each call tries to do so, one at a time and at most ten times a second, and fails with the error.
    ///
    /// A server that is reached and has a schema of a newer version of this crate is still an error of
    /// [`open`](Self::open).
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # if !cfg!(feature = "postgres") {
    /// #     return Ok(());
    /// # }
    /// use std::time::Duration;
    /// use tollgate::key::KeyHasher;
    /// use tollgate::sql::DatabaseOptions;
    /// use tollgate::store::SqlStore;
    /// use tollgate::KeyStore;
    ///
    /// let options = DatabaseOptions::new("postgres://gate@127.0.0.1:1/acme")?;
    /// let options = options.with_acquire_timeout(Duration::from_millis(50)).with_start_without_server();
    /// let store = SqlStore::new(&options.open().await?);
    /// assert!(store.find(&KeyHasher::sha256().hash(b"acme_secret")).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_start_without_server(mut self) -> Self {
        self.starts_without_server = true;
        self
    }

    /// Opens the database, and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// Fails if the database cannot be reached and [`with_start_without_server`](Self::with_start_without_server) is not set, if its file must exist and does not, or if a newer version of this crate has set up its tables.
    pub async fn open(self) -> Result<Database, OpenError> {
        Database::open(self).await
    }
}

impl FromStr for Target {
    type Err = ConfigError;

    fn from_str(url: &str) -> Result<Self, ConfigError> {
        // Report only the scheme: the rest may contain a password.
        let scheme = url.split(':').next().unwrap_or_default();
        let wrong = |problem: &str, expected: &str| {
            Err(ConfigError::new(
                format!("{}:…", scheme.chars().take(20).collect::<String>()),
                problem,
                expected,
            ))
        };
        match scheme {
            #[cfg(feature = "sqlite")]
            "sqlite" => match super::sqlite::target(url) {
                Ok(options) => Ok(Self::Sqlite(Box::new(options))),
                Err(problem) => wrong(problem, "write a path as in `sqlite:keys.db`"),
            },
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => match super::postgres::target(url)? {
                Some(options) => Ok(Self::Postgres(Box::new(options))),
                None => wrong(
                    "invalid URL of a PostgreSQL database",
                    "write it as in `postgres://user@host/name`",
                ),
            },
            #[cfg(not(feature = "sqlite"))]
            "sqlite" => wrong("this build does not support SQLite", "enable tollgate's feature `sqlite`"),
            #[cfg(not(feature = "postgres"))]
            "postgres" | "postgresql" => {
                wrong("this build does not support PostgreSQL", "enable tollgate's feature `postgres`")
            }
            _ => wrong("unknown kind of database", "write `sqlite:PATH` or `postgres://…`"),
        }
    }
}

impl std::fmt::Display for Target {
    /// Writes the database without user and password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        either!(Self, self,
        sqlite options => write!(f, "sqlite:{}", options.get_filename().display()),
        postgres options => {
            let (host, name) = (options.get_host(), options.get_database().unwrap_or_default());
            write!(f, "postgres://{host}:{}/{name}", options.get_port())
        })
    }
}

impl std::fmt::Debug for DatabaseOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseOptions")
            .field("database", &format_args!("{}", self.target))
            .field("connections", &self.connections)
            .field("acquire_timeout", &self.acquire)
            .field("statement_timeout", &self.statement)
            .finish_non_exhaustive()
    }
}
