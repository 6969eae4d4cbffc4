//! A row of an answer.

use sqlx::Row as _;

use super::either;
use crate::StoreError;

/// A row, of either database.
pub(crate) enum Row {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::sqlite::SqliteRow),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::postgres::PgRow),
}

impl Row {
    /// The number in a column that always has one.
    pub(crate) fn int(&self, column: usize) -> Result<i64, StoreError> {
        either!(Row, self, row => row.try_get(column)).map_err(|error| unreadable(&error))
    }

    /// The number in a column, if there is one.
    pub(crate) fn maybe_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        either!(Row, self, row => row.try_get(column)).map_err(|error| unreadable(&error))
    }

    /// The text in a column that always has one.
    pub(crate) fn text(&self, column: usize) -> Result<&str, StoreError> {
        either!(Row, self, row => row.try_get(column)).map_err(|error| unreadable(&error))
    }
}

/// The text alone: what `sqlx` shows with it may hold values.
fn unreadable(error: &sqlx::Error) -> StoreError {
    StoreError::corrupt(error.to_string())
}
