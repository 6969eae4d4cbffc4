//! The connections, and how each of them is set up.

#[cfg(feature = "postgres")]
use std::time::Duration;

use sqlx::ConnectOptions as _;

use super::options::DatabaseOptions;
#[cfg(feature = "sqlite")]
use super::options::Durability;

#[cfg(feature = "sqlite")]
pub(super) fn sqlite(
    target: &sqlx::sqlite::SqliteConnectOptions,
    options: &DatabaseOptions,
) -> sqlx::SqlitePool {
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
    let target = target.busy_timeout(options.statement).foreign_keys(true).disable_statement_logging();
    let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(options.connections);
    // Connections to a file do not go stale.
    let pool = pool.acquire_timeout(options.acquire).test_before_acquire(false).max_lifetime(None);
    pool.connect_lazy_with(target)
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
pub(super) fn postgres(target: &sqlx::postgres::PgConnectOptions, options: &DatabaseOptions) -> sqlx::PgPool {
    /// A connection that lay idle for longer is asked whether it is still one.
    const FRESH: Duration = Duration::from_secs(1);
    let millis = options.statement.as_millis().max(1).to_string();
    // A node that stops in the middle of a transaction must not keep the others from its rows.
    let limits = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];
    let target = target.clone().options(limits.map(|limit| (limit, millis.clone())));
    let target = target.disable_statement_logging();
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(options.connections);
    let pool = pool.acquire_timeout(options.acquire).test_before_acquire(false);
    let pool = pool.before_acquire(|connection, idle| {
        Box::pin(async move {
            if idle.idle_for > FRESH {
                sqlx::Connection::ping(connection).await?;
            }
            Ok(true)
        })
    });
    pool.connect_lazy_with(target)
}
