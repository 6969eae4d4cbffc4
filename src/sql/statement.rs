//! A statement and its values, in the dialect that both databases read.

use std::fmt::Write as _;

/// A value to be bound.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl Value {
    /// Nothing, of the same type.
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

/// A statement. Its text is put together from this crate's own words alone: whatever comes from outside is bound.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statement {
    pub(super) text: String,
    pub(super) values: Vec<Value>,
    /// Whether its own words number values: then a value may be meant more than once.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "SQLite alone takes them without"))]
    numbered: bool,
}

impl Statement {
    /// A statement that names its values `$1`, `$2` and so on.
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), values: Vec::new(), numbered: text.contains('$') }
    }

    /// Binds the next value.
    pub(crate) fn with(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// More text.
    pub(crate) fn push(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// More text, with a value that stands behind it.
    pub(crate) fn push_value(mut self, text: &str, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self.text.push_str(text);
        let _ = write!(self.text, "${}", self.values.len());
        self
    }

    /// The text between other text.
    pub(crate) fn wrapped(mut self, before: &str, behind: &str) -> Self {
        self.text.insert_str(0, before);
        self.push(behind)
    }

    /// A list of values in brackets, for `IN`. It is drawn out to a power of two by its last value, so that a database
    /// gets to see few texts.
    pub(crate) fn push_list(mut self, values: impl IntoIterator<Item = impl Into<Value>>) -> Self {
        let from = self.values.len();
        self.values.extend(values.into_iter().map(Into::into));
        let wanted = (self.values.len() - from).next_power_of_two();
        if let Some(last) = self.values.last().cloned() {
            self.values.resize(from + wanted, last);
        }
        self.push_row(from)
    }

    /// Rows of values, `(…), (…)`, for `VALUES`.
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

    /// The same for a table of rows, `(VALUES …) AS v`, drawn out to a power of two by rows of nothing, which `column1` tells.
    pub(crate) fn push_table<const N: usize>(self, rows: impl IntoIterator<Item = [Value; N]>) -> Self {
        let mut rows: Vec<[Value; N]> = rows.into_iter().collect();
        if let Some(last) = rows.last() {
            let blank = last.each_ref().map(Value::blank);
            rows.resize(rows.len().next_power_of_two(), blank);
        }
        self.push("(VALUES ").push_rows(rows).push(") AS v")
    }

    /// The text as SQLite takes it: values in their order have no numbers there, since it looks for each number in a list of
    /// them all.
    #[cfg(feature = "sqlite")]
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

    /// The numbers of the values from a place on, in brackets.
    fn push_row(mut self, from: usize) -> Self {
        for number in from + 1..=self.values.len() {
            self.text.push(if number == from + 1 { '(' } else { ',' });
            let _ = write!(self.text, "${number}");
        }
        self.text.push(')');
        self
    }
}

/// Cuts rows into pieces of as many as a power of two, the largest first, so that a database gets to see few texts.
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
    fn lists_and_rows_come_in_few_sizes() {
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

    #[cfg(feature = "sqlite")]
    #[test]
    fn values_in_their_order_have_no_numbers() {
        let statement = Statement::new("a = ").push_value("", 1).push(" AND b IN ").push_list([1, 2]);
        assert_eq!(statement.into_unnumbered().text, "a = ? AND b IN (?,?)");
        let statement = Statement::new("a = $1 OR a > $1 AND b = ").push_value("", 1);
        assert_eq!(statement.into_unnumbered().text, "a = $1 OR a > $1 AND b = $1");
    }
}
