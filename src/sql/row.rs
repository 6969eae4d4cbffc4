//! A row of an answer.

use sqlx::Row as _;

use super::either;
use crate::error::StoreError;

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

    /// The text in a column, if there is one.
    pub(crate) fn maybe_text(&self, column: usize) -> Result<Option<&str>, StoreError> {
        either!(Row, self, row => row.try_get(column)).map_err(|error| unreadable(&error))
    }

    /// The bytes in a column, if there are any: as many as they have to be.
    pub(crate) fn maybe_bytes<const N: usize>(&self, column: usize) -> Result<Option<[u8; N]>, StoreError> {
        let bytes: Option<&[u8]> =
            either!(Row, self, row => row.try_get(column)).map_err(|error| unreadable(&error))?;
        let exact =
            |bytes: &[u8]| bytes.try_into().map_err(|_| StoreError::corrupt("an id has another length"));
        bytes.map(exact).transpose()
    }
}

/// The text alone: what `sqlx` shows with it may hold values.
fn unreadable(error: &sqlx::Error) -> StoreError {
    StoreError::corrupt(error.to_string())
}
