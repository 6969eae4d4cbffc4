//! What goes wrong with a database: at start-up, and later.

use crate::error::{ConfigError, StoreError};

/// Why a database could not be opened, by whose fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration names no database that this build could use.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database is there and does not answer as it should: try again later.
    #[error("failed to open {database} since {problem}")]
    Unavailable {
        /// Which database, without user and password.
        database: String,
        /// What it said.
        problem: String,
    },
    /// The database was set up by a newer version of this crate, which alone knows how to keep it right.
    #[error(
        "failed to open {database} since its schema has version {found} and this build knows {known} at the most: use a newer tollgate"
    )]
    Newer {
        /// Which database, without user and password.
        database: String,
        /// The schema's version.
        found: i64,
        /// The newest version that this build knows.
        known: i64,
    },
}

/// The advice for statements that go to other connections of a server than those that they were prepared on.
const POOLER: &str = "behind a pooler in transaction mode, set `DatabaseOptions::with_transaction_pooling`";

/// The reason of an error: the database has undone the transaction in favour of others.
#[derive(Debug, thiserror::Error)]
#[error("the transaction was rolled back in favour of others")]
struct RolledBack;

/// Returns whether the database has undone a transaction in favour of others, so that it may be tried again.
pub(crate) fn is_rolled_back(error: &StoreError) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error + 'static>::is::<RolledBack>)
}

/// What a failure says of a store. Its text alone is kept: the rest may hold values.
pub(super) fn fault(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::corrupt(error.to_string()),
        sqlx::Error::Database(told) => match told.code().as_deref() {
            // Cancelled by `statement_timeout` or `lock_timeout`; SQLite's busy time-out, in its spellings.
            Some("57014" | "55P03" | "5" | "261" | "517" | "773") => StoreError::timed_out(),
            // A serialization failure, a deadlock: all of the transaction is undone.
            Some("40001" | "40P01") => StoreError::overloaded_by(RolledBack),
            // A prepared statement that is unknown, or there already: it was prepared on another of the server's connections.
            Some("26000" | "42P05") => StoreError::unavailable(format!("{}; {POOLER}", told.message())),
            // Too many connections.
            Some("53300") => StoreError::overloaded(),
            Some(code) if is_about_what_was_asked(code) => StoreError::rejected(told.message().to_owned()),
            _ => StoreError::unavailable(told.message().to_owned()),
        },
        _ => StoreError::unavailable(error.to_string()),
    }
}

/// Whether a code tells of values that the database cannot take: PostgreSQL's classes 22 (data) and 23 (constraints);
/// SQLite's "too big", "constraint" and "mismatch", with whatever stands above their low byte.
fn is_about_what_was_asked(code: &str) -> bool {
    let postgres = code.len() == 5 && (code.starts_with("22") || code.starts_with("23"));
    let sqlite = code.len() < 5 && code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20));
    postgres || sqlite
}

/// What an error has made of the connection that it came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// It is good for the next statement.
    Nothing,
    /// It is gone, and others to the same server may be.
    Server,
    /// It leads to a server that takes no writes, as after a fail-over.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "PostgreSQL alone has servers"))]
    Writes,
}

pub(super) fn loss(error: &sqlx::Error) -> Loss {
    let sqlx::Error::Database(told) = error else { return Loss::Server };
    #[cfg(feature = "postgres")]
    if let Some(told) = told.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        use sqlx::postgres::PgSeverity;
        return match told.code() {
            // A read-only transaction; a function that is not to be used during recovery.
            "25006" => Loss::Writes,
            // Failed connections, shutdowns, and whatever ends a session.
            code if code.starts_with("08") || code.starts_with("57P") => Loss::Server,
            _ if matches!(told.severity(), PgSeverity::Fatal | PgSeverity::Panic) => Loss::Server,
            _ => Loss::Nothing,
        };
    }
    let _ = told;
    Loss::Nothing
}

/// Whether a server that refuses a connection so is about to take one: it starts, ends, or has too many just now.
pub(super) fn will_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(told) => matches!(told.code().as_deref(), Some("53300" | "57P01" | "57P03")),
        _ => false,
    }
}
