//! The parts that only PostgreSQL needs: the settings of a connection, its check, and the server's error codes.

use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgSeverity};
use sqlx::{ConnectOptions as _, Executor as _, PgConnection, Row as _};

use super::error::Loss;

/// Adds the settings of a connection.
pub(super) fn prepared(target: &PgConnectOptions) -> PgConnectOptions {
    // PgBouncer rejects parameters that it does not know. No column here is a float.
    target.clone().extra_float_digits(None).disable_statement_logging()
}

/// Checks a connection. Returns true if its server takes writes.
pub(super) async fn takes_writes(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let answer = connection.fetch_one(sqlx::raw_sql("SHOW transaction_read_only")).await?;
    answer.try_get::<&str, _>(0).map(|read_only| read_only == "off")
}

/// Returns the effect of a server's error on its connection.
pub(super) fn loss(database_error: &PgDatabaseError) -> Loss {
    match database_error.code() {
        // A read-only transaction; a function that is not allowed during recovery.
        "25006" => Loss::Writes,
        // Failed connections, shutdowns, and other errors that end a session.
        code if code.starts_with("08") || code.starts_with("57P") => Loss::Server,
        _ if matches!(database_error.severity(), PgSeverity::Fatal | PgSeverity::Panic) => Loss::Server,
        _ => Loss::Nothing,
    }
}
