//! A statement and its values, in a dialect that both databases accept.

use std::fmt::Write as _;

/// A value to bind.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl Value {
    /// Returns a null value of the same type.
    fn blank(&self) -> Self {
        match self {
            Self::Int(_) => Self::Int(None),
            Self::Text(_) => Self::Text(None),
            Self::Bytes(_) => Self::Bytes(None),
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Bytes(Some(bytes.to_vec()))
    }
}

impl<const N: usize> From<Option<[u8; N]>> for Value {
    fn from(bytes: Option<[u8; N]>) -> Self {
        Self::Bytes(bytes.map(|bytes| bytes.to_vec()))
    }
}

/// A statement. Its text consists only of this crate's own words. Every value from outside is bound.
///
/// `sqlx::QueryBuilder` writes for one database that is known at compile time. A statement here is written once and sent
/// to the database that was opened, and its lists are padded so that few different statements are prepared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statement {
    pub(super) text: String,
    pub(super) values: Vec<Value>,
    /// True if the text numbers its values itself: a value may then be used more than once.
    numbered: bool,
}

impl Statement {
    /// Creates a statement that refers to its values as `$1`, `$2` and so on.
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), values: Vec::new(), numbered: text.contains('$') }
    }

    /// Binds the next value.
    pub(crate) fn with(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Appends text.
    pub(crate) fn push(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// Appends text, followed by a value.
    pub(crate) fn push_value(mut self, text: &str, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self.text.push_str(text);
        let _ = write!(self.text, "${}", self.values.len());
        self
    }

    /// Puts the text between other text.
    pub(crate) fn wrapped(mut self, before: &str, behind: &str) -> Self {
        self.text.insert_str(0, before);
        self.push(behind)
    }

    /// Appends a list of values in brackets, for `IN`. The list is padded to a power of two by repeating its last
    /// value, so that the database has to prepare few texts.
    pub(crate) fn push_list(mut self, values: impl IntoIterator<Item = impl Into<Value>>) -> Self {
        let from = self.values.len();
        self.values.extend(values.into_iter().map(Into::into));
        let wanted = (self.values.len() - from).next_power_of_two();
        if let Some(last) = self.values.last().cloned() {
            self.values.resize(from + wanted, last);
        }
        self.push_row(from)
    }

    /// Appends rows of values, `(…), (…)`, for `VALUES`.
    pub(crate) fn push_rows<const N: usize>(mut self, rows: impl IntoIterator<Item = [Value; N]>) -> Self {
        for (place, row) in rows.into_iter().enumerate() {
            if place > 0 {
                self.text.push_str(", ");
            }
            let from = self.values.len();
            self.values.extend(row);
            self = self.push_row(from);
        }
        self
    }

    /// Appends a table of rows, `(VALUES …) AS v`. It is padded to a power of two with rows of null values, which can
    /// be recognized by a null `column1`.
    pub(crate) fn push_table<const N: usize>(self, rows: impl IntoIterator<Item = [Value; N]>) -> Self {
        let mut rows: Vec<[Value; N]> = rows.into_iter().collect();
        if let Some(last) = rows.last() {
            let blank = last.each_ref().map(Value::blank);
            rows.resize(rows.len().next_power_of_two(), blank);
        }
        self.push("(VALUES ").push_rows(rows).push(") AS v")
    }

    /// Returns the statement for SQLite, without the numbers of values that are used in order. SQLite searches a list
    /// of all values for each number.
    pub(super) fn into_unnumbered(mut self) -> Self {
        if !self.numbered {
            let mut text = String::with_capacity(self.text.len());
            let mut words = self.text.split('$');
            text.push_str(words.next().unwrap_or_default());
            for word in words {
                text.push('?');
                text.push_str(word.trim_start_matches(|letter: char| letter.is_ascii_digit()));
            }
            self.text = text;
        }
        self
    }

    /// Appends the numbers of the values from a position on, in brackets.
    fn push_row(mut self, from: usize) -> Self {
        for number in from + 1..=self.values.len() {
            self.text.push(if number == from + 1 { '(' } else { ',' });
            let _ = write!(self.text, "${number}");
        }
        self.text.push(')');
        self
    }
}

/// Splits rows into slices whose lengths are powers of two, the largest first, so that the database has to prepare few
/// texts.
pub(crate) fn pieces<T>(rows: &[T], most: usize) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let size = 1 << rest.len().min(most).checked_ilog2()?;
        let (piece, behind) = rest.split_at(size);
        rest = behind;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_and_row_counts_are_rounded_up() {
        let statement = Statement::new("a = ").push_value("", 1).push(" AND b IN ").push_list([1, 2, 3]);
        assert_eq!(statement.text, "a = $1 AND b IN ($2,$3,$4,$5)");
        assert_eq!(statement.values.len(), 5);
        let rows = [[Value::from(1), Value::from("a")], [Value::from(2), Value::from("b")]];
        assert_eq!(Statement::new("VALUES ").push_rows(rows).text, "VALUES ($1,$2), ($3,$4)");
        let table = Statement::new("SELECT * FROM ").push_table(vec![[Value::from(1), Value::from("a")]; 3]);
        let text = "SELECT * FROM (VALUES ($1,$2), ($3,$4), ($5,$6), ($7,$8)) AS v";
        assert_eq!((table.text.as_str(), table.values.len()), (text, 8));
        assert!(matches!(table.values[6..], [Value::Int(None), Value::Text(None)]));
        let sizes: Vec<usize> = pieces(&[0; 77], 32).map(<[i32]>::len).collect();
        assert_eq!(sizes, [32, 32, 8, 4, 1]);
    }

    #[test]
    fn values_in_order_have_no_numbers() {
        let statement = Statement::new("a = ").push_value("", 1).push(" AND b IN ").push_list([1, 2]);
        assert_eq!(statement.into_unnumbered().text, "a = ? AND b IN (?,?)");
        let statement = Statement::new("a = $1 OR a > $1 AND b = ").push_value("", 1);
        assert_eq!(statement.into_unnumbered().text, "a = $1 OR a > $1 AND b = $1");
    }
}
