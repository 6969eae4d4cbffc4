//! A row of an answer.

use sqlx::Row as _;

use super::either;
use crate::error::StoreError;

/// A row of either database.
pub(crate) enum Row {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::sqlite::SqliteRow),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::postgres::PgRow),
}

impl Row {
    /// Returns the number in a column that is never null.
    pub(crate) fn int(&self, column: usize) -> Result<i64, StoreError> {
        either!(Row, self, row => row.try_get(column)).map_err(|error| unreadable(&error))
    }

    /// Returns the number in a column, or `None` if it is null.
    pub(crate) fn maybe_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        either!(Row, self, row => row.try_get(column)).map_err(|error| unreadable(&error))
    }

    /// Returns the text in a column that is never null.
    pub(crate) fn text(&self, column: usize) -> Result<&str, StoreError> {
        either!(Row, self, row => row.try_get(column)).map_err(|error| unreadable(&error))
    }

    /// Returns the text in a column, or `None` if it is null.
    pub(crate) fn maybe_text(&self, column: usize) -> Result<Option<&str>, StoreError> {
        either!(Row, self, row => row.try_get(column)).map_err(|error| unreadable(&error))
    }

    /// Returns the bytes in a column, or `None` if it is null. Fails unless there are exactly `N` bytes.
    pub(crate) fn maybe_bytes<const N: usize>(&self, column: usize) -> Result<Option<[u8; N]>, StoreError> {
        let bytes: Option<&[u8]> =
            either!(Row, self, row => row.try_get(column)).map_err(|error| unreadable(&error))?;
        let exact =
            |bytes: &[u8]| bytes.try_into().map_err(|_| StoreError::corrupt("an id has an invalid length"));
        bytes.map(exact).transpose()
    }
}

/// Converts an error. Only its text is kept, since sqlx's error may contain values.
fn unreadable(error: &sqlx::Error) -> StoreError {
    StoreError::corrupt(error.to_string())
}
