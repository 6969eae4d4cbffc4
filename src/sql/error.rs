//! Errors of a database: when it is opened, and later.

use crate::error::{ConfigError, StoreError};

/// The error of opening a database, classified by its cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration names no database that this build can use.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database does not answer as it should. Try again later.
    #[error("failed to open {database} since {problem}")]
    Unavailable {
        /// The database, without user and password.
        database: String,
        /// The text of the problem.
        problem: String,
    },
    /// The file of the database does not exist, and the options require it to exist.
    #[error("failed to open {database} since the file does not exist")]
    Missing {
        /// The database.
        database: String,
    },
    /// A newer version of this crate has set up the database. Only that version can use it correctly.
    #[error(
        "failed to open {database} since its schema has version {found} and this build supports at most {known}: use a newer tollgate"
    )]
    Newer {
        /// The database, without user and password.
        database: String,
        /// The schema's version.
        found: i64,
        /// The newest version that this build knows.
        known: i64,
    },
}

/// The advice for statements that arrive at another connection of the server than the one they were prepared on.
const POOLER: &str = "behind a pooler in transaction mode, set `DatabaseOptions::with_transaction_pooling`";

/// The source of an error: the database rolled back the transaction in favour of others.
#[derive(Debug, thiserror::Error)]
#[error("the transaction was rolled back because of a conflict with others")]
struct RolledBack;

/// Returns true if the database rolled back a transaction in favour of others, so that it may be tried again.
pub(crate) fn is_rolled_back(error: &StoreError) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error + 'static>::is::<RolledBack>)
}

/// Converts an error of sqlx. Only its text is kept, since the rest may contain values.
pub(super) fn fault(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::corrupt(error.to_string()),
        sqlx::Error::Database(database_error) => match database_error.code().as_deref() {
            // Cancelled by `statement_timeout` or `lock_timeout`; the codes of SQLite's busy timeout.
            Some("57014" | "55P03" | "5" | "261" | "517" | "773") => StoreError::timed_out(),
            // A serialization failure or a deadlock: the whole transaction is rolled back.
            Some("40001" | "40P01") => StoreError::overloaded_by(RolledBack),
            // A prepared statement is unknown or already exists: it was prepared on another of the server's
            // connections.
            Some("26000" | "42P05") => {
                StoreError::unavailable(format!("{}; {POOLER}", database_error.message()))
            }
            // Too many connections.
            Some("53300") => StoreError::overloaded(),
            Some(code) if is_about_what_was_asked(code) => {
                StoreError::rejected(database_error.message().to_owned())
            }
            _ => StoreError::unavailable(database_error.message().to_owned()),
        },
        _ => StoreError::unavailable(error.to_string()),
    }
}

/// Returns true if a code means that the database cannot accept the values: PostgreSQL's classes 22 (data) and 23
/// (constraints), or SQLite's "too big", "constraint" and "mismatch", with any extended code above their low byte.
fn is_about_what_was_asked(code: &str) -> bool {
    let postgres = code.len() == 5 && (code.starts_with("22") || code.starts_with("23"));
    let sqlite = code.len() < 5 && code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20));
    postgres || sqlite
}

/// The effect of an error on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// The connection can be used for the next statement.
    Nothing,
    /// The connection is lost, and other connections to the same server may be lost too.
    Server,
    /// The connection leads to a server that takes no writes, for example after a fail-over.
    Writes,
}

pub(super) fn loss(error: &sqlx::Error) -> Loss {
    let sqlx::Error::Database(database_error) = error else { return Loss::Server };
    #[cfg(feature = "postgres")]
    if let Some(database_error) = database_error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        return super::postgres::loss(database_error);
    }
    let _ = database_error;
    Loss::Nothing
}

/// Returns true if a server that refuses a connection with this error may accept one soon: it is starting or stopping,
/// or has too many connections.
pub(super) fn will_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(database_error) => {
            matches!(database_error.code().as_deref(), Some("53300" | "57P01" | "57P03"))
        }
        _ => false,
    }
}
