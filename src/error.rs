//! The errors besides denials: a faulty configuration, and a back end that could not decide.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A fault in the configuration, found at start-up: its place, the value found and the value expected.
///
/// # Example
///
/// ```
/// use tollgate::account::QuotaPolicy;
///
/// let error = "0 per minute".parse::<QuotaPolicy>().unwrap_err();
/// assert_eq!(error.value(), "0 per minute");
/// assert!(error.to_string().contains("60 per minute"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError(Box<ConfigFault>);

#[derive(Clone, PartialEq, Eq)]
struct ConfigFault {
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    member: String,
    value: String,
    problem: String,
    expected: String,
    /// The other member of a conflict, and its line.
    other: Option<(String, Option<usize>)>,
}

impl ConfigError {
    /// Creates an error from a value, its problem and the remedy.
    ///
    /// Messages are lower case and state what was attempted. `expected` completes "write …".
    pub fn new(value: impl Into<String>, problem: impl Into<String>, expected: impl Into<String>) -> Self {
        Self(Box::new(ConfigFault {
            file: None,
            line: None,
            column: None,
            member: String::new(),
            value: value.into(),
            problem: problem.into(),
            expected: expected.into(),
            other: None,
        }))
    }

    /// Sets the member at fault. A member that is set already becomes a part of this one: `quotas` in `plans.pro`
    /// becomes `plans.pro.quotas`.
    #[must_use]
    pub fn in_member(mut self, member: impl Into<String>) -> Self {
        let table = member.into();
        self.0.member = within(&table, &self.0.member);
        if let Some((other, _)) = &mut self.0.other {
            *other = within(&table, other);
        }
        self
    }

    /// Sets the other member of a conflict. Like the member at fault, it may be a part of a table that
    /// [`in_member`](Self::in_member) sets later.
    #[must_use]
    pub(crate) fn beside(mut self, other: impl Into<String>) -> Self {
        self.0.other = Some((other.into(), None));
        self
    }

    /// Sets the file.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<String>) -> Self {
        self.0.file = Some(file.into());
        self
    }

    /// Sets the line, counted from 1. A line that is set already is kept.
    #[must_use]
    pub fn at_line(mut self, line: usize) -> Self {
        self.0.line.get_or_insert(line);
        self
    }

    /// Sets the column, counted from 1 in characters. A column that is set already is kept.
    #[must_use]
    pub fn at_column(mut self, column: usize) -> Self {
        self.0.column.get_or_insert(column);
        self
    }

    /// The other member of a conflict.
    pub(crate) fn other(&self) -> Option<&str> {
        self.0.other.as_ref().map(|(other, _)| other.as_str())
    }

    /// Sets the line of the other member.
    pub(crate) fn other_at_line(mut self, line: usize) -> Self {
        if let Some((_, at)) = &mut self.0.other {
            *at = Some(line);
        }
        self
    }

    /// The configuration file, if one was read.
    pub fn file(&self) -> Option<&str> {
        self.0.file.as_deref()
    }

    /// The line in the file, counted from 1.
    pub fn line(&self) -> Option<usize> {
        self.0.line
    }

    /// The column in the line, counted from 1 in characters.
    pub fn column(&self) -> Option<usize> {
        self.0.column
    }

    /// The member at fault, as a dotted path. Empty if there is none.
    pub fn member(&self) -> &str {
        &self.0.member
    }

    /// The value that was found. It is never a secret.
    pub fn value(&self) -> &str {
        &self.0.value
    }

    /// The reason that the value is invalid.
    pub fn problem(&self) -> &str {
        &self.0.problem
    }

    /// The remedy.
    pub fn expected(&self) -> &str {
        &self.0.expected
    }
}

/// A writer that escapes control characters. The values of a file could otherwise control the terminal that an error is
/// printed to.
struct Escaping<'w, W>(&'w mut W);

impl<W: fmt::Write> fmt::Write for Escaping<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.split_inclusive(char::is_control).try_for_each(|piece| match piece.chars().next_back() {
            Some(last) if last.is_control() => {
                self.0.write_str(piece.strip_suffix(last).unwrap_or_default())?;
                write!(self.0, "{}", last.escape_debug())
            }
            _ => self.0.write_str(piece),
        })
    }
}

/// Writes the error in one line. Control characters are escaped.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(&mut Escaping(f))
    }
}

impl ConfigError {
    fn write_to(&self, f: &mut impl fmt::Write) -> fmt::Result {
        match (&self.0.file, self.0.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}:")?,
            (Some(file), None) => write!(f, "{file}:")?,
            (None, Some(line)) => write!(f, "line {line}:")?,
            (None, None) => {}
        }
        if let (Some(_), Some(column)) = (self.0.line, self.0.column) {
            write!(f, "{column}:")?;
        }
        if self.0.file.is_some() || self.0.line.is_some() {
            f.write_str(" ")?;
        }
        if !self.0.member.is_empty() {
            write!(f, "`{}`: ", self.0.member)?;
        }
        if !self.0.value.is_empty() {
            write!(f, "found `{}`: ", self.0.value)?;
        }
        f.write_str(&self.0.problem)?;
        match &self.0.other {
            Some((other, Some(line))) => write!(f, " (the other is `{other}` in line {line})")?,
            Some((other, None)) => write!(f, " (the other is `{other}`)")?,
            None => {}
        }
        write!(f, "; {}", self.0.expected)
    }
}

/// Writes the same text as `Display`, because a `main` that returns this error prints its `Debug` output.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns a member's path within a table.
fn within(table: &str, member: &str) -> String {
    // An index such as `[2]` follows its list without a dot.
    let dot = if table.is_empty() || member.is_empty() || member.starts_with('[') { "" } else { "." };
    format!("{table}{dot}{member}")
}

impl Error for ConfigError {}

/// Returns the beginning of a value that is too long to print.
pub(crate) fn shortened(value: &str) -> String {
    value.chars().take(60).chain(['…']).collect()
}

/// An error of a back end that could not decide. The gate answers 503, never 401, and never admits the request because
/// of it. A panic of a back end is answered with 500.
///
/// An absent, exhausted or insufficient item is a value, not an error.
///
/// # Example
///
/// ```
/// use tollgate::StoreError;
///
/// let error = StoreError::unavailable(std::io::Error::other("connection refused"));
/// assert!(!error.is_timeout());
/// ```
#[derive(Debug, Clone)]
pub struct StoreError(Arc<Fault>);

#[derive(Debug)]
struct Fault {
    kind: FaultKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FaultKind {
    Unavailable,
    TimedOut,
    Overloaded,
    Corrupt,
    Rejected,
    Panicked,
}

impl StoreError {
    /// Creates an error for a back end that is unreachable or has failed. The source must not contain a secret.
    pub fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::of(FaultKind::Unavailable, Some(source.into()))
    }

    /// Creates an error for a back end that did not answer in time. The call may still have taken effect.
    pub fn timed_out() -> Self {
        Self::of(FaultKind::TimedOut, None)
    }

    /// Creates an error for a back end that is temporarily overloaded.
    pub fn overloaded() -> Self {
        Self::of(FaultKind::Overloaded, None)
    }

    /// Creates an error for an overloaded back end, with its source.
    pub(crate) fn overloaded_by(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::of(FaultKind::Overloaded, Some(source.into()))
    }

    /// Creates an error for an answer that cannot be correct, such as the record of another key.
    pub fn corrupt(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::of(FaultKind::Corrupt, Some(source.into()))
    }

    /// Creates an error for a call that the back end rejects permanently, because the call cannot be correct, such as a
    /// charge after its own refund. A circuit breaker does not count it as a failure, because other calls are not
    /// affected.
    pub fn rejected(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::of(FaultKind::Rejected, Some(source.into()))
    }

    /// Creates an error for a back end that panicked.
    pub(crate) fn panicked() -> Self {
        Self::of(FaultKind::Panicked, None)
    }

    /// The name of the error's kind in a metric.
    pub(crate) fn name(&self) -> &'static str {
        match self.0.kind {
            FaultKind::Unavailable => "unavailable",
            FaultKind::TimedOut => "timed_out",
            FaultKind::Overloaded => "overloaded",
            FaultKind::Corrupt => "corrupt",
            FaultKind::Rejected => "rejected",
            FaultKind::Panicked => "panicked",
        }
    }

    /// Returns true if the back end panicked. The request is answered with 500.
    pub fn is_panic(&self) -> bool {
        self.0.kind == FaultKind::Panicked
    }

    /// Returns true if the back end did not answer in time.
    pub fn is_timeout(&self) -> bool {
        self.0.kind == FaultKind::TimedOut
    }

    /// Returns true if the back end gave an answer that cannot be correct.
    pub fn is_corrupt(&self) -> bool {
        self.0.kind == FaultKind::Corrupt
    }

    /// Returns true if the back end rejected the call.
    pub fn is_rejected(&self) -> bool {
        self.0.kind == FaultKind::Rejected
    }

    /// Returns true if the back end answered, even if the answer is unusable. It is reachable, and a retry changes
    /// nothing.
    pub(crate) fn is_answer(&self) -> bool {
        self.is_corrupt() || self.is_rejected()
    }

    fn of(kind: FaultKind, source: Option<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::new(Fault { kind, source }))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.kind {
            FaultKind::Unavailable => "the back end is unavailable",
            FaultKind::TimedOut => "the back end did not answer in time",
            FaultKind::Overloaded => "the back end is overloaded",
            FaultKind::Corrupt => "the back end returned an invalid answer",
            FaultKind::Rejected => "the back end rejected the call",
            FaultKind::Panicked => "the back end panicked",
        })
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
