//! The parts that only SQLite needs: the URL of a file, and the settings of a connection.

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use super::file::make_private;
use super::options::{DatabaseOptions, Durability};

/// Reads the URL of a file.
pub(super) fn target(url: &str) -> Result<SqliteConnectOptions, &'static str> {
    let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
    if path.is_empty() || path.starts_with(":memory:") || path.contains("mode=memory") {
        return Err("a SQLite database must be a file (use `MemoryStore` for keys in memory)");
    }
    let options = url.parse::<SqliteConnectOptions>().map_err(|_| "invalid file path")?;
    // Only the first connection may create the file.
    let path = std::path::absolute(options.get_filename()).map_err(|_| "invalid file path")?;
    Ok(options.filename(path).create_if_missing(false))
}

/// Adds the settings of a connection, and creates the file if there is none.
pub(super) fn prepared(target: &SqliteConnectOptions, options: &DatabaseOptions) -> SqliteConnectOptions {
    let synchronous = match options.durability {
        Durability::PowerLoss => SqliteSynchronous::Full,
        Durability::ProcessCrash => SqliteSynchronous::Normal,
    };
    let target = target.clone().journal_mode(SqliteJournalMode::Wal).synchronous(synchronous);
    // Overwrite deleted data in the file.
    let target = target.pragma("secure_delete", "ON");
    // The page cache is up to 32 MiB, and the log up to half as many pages before a checkpoint. Temporary data stays in
    // memory: the pages that a statement may have to undo are few.
    let target = target.pragma("cache_size", "-32768").pragma("wal_autocheckpoint", "4096");
    let target = target.pragma("temp_store", "MEMORY");
    make_private(target.get_filename());
    target.busy_timeout(options.statement).foreign_keys(true).disable_statement_logging()
}
