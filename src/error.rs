//! The two ways things go wrong outside a refusal: the operator's configuration, and a back end that could
//! not decide.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A fault in the configuration, found at start-up: where it stands, what is there and what would be right.
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
    /// The member that the one at fault clashes with, and its line.
    other: Option<(String, Option<usize>)>,
}

impl ConfigError {
    /// Says that `value` will not do, why, and what would.
    ///
    /// Messages are lower case and say what was being attempted; `expected` completes "write …".
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

    /// Names the member at fault. One that is named already is a part of this one: `quotas` in `plans.pro` is
    /// `plans.pro.quotas`.
    #[must_use]
    pub fn in_member(mut self, member: impl Into<String>) -> Self {
        let table = member.into();
        self.0.member = within(&table, &self.0.member);
        if let Some((other, _)) = &mut self.0.other {
            *other = within(&table, other);
        }
        self
    }

    /// Names the other member that the one at fault clashes with. Like the one at fault it may be a part of a table that
    /// [`in_member`](Self::in_member) names later.
    #[must_use]
    pub(crate) fn beside(mut self, other: impl Into<String>) -> Self {
        self.0.other = Some((other.into(), None));
        self
    }

    /// Names the file.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<String>) -> Self {
        self.0.file = Some(file.into());
        self
    }

    /// Names the line, counted from 1; the first line given stays.
    #[must_use]
    pub fn at_line(mut self, line: usize) -> Self {
        self.0.line.get_or_insert(line);
        self
    }

    /// Names the column, counted from 1 in characters; the first column given stays.
    #[must_use]
    pub fn at_column(mut self, column: usize) -> Self {
        self.0.column.get_or_insert(column);
        self
    }

    /// The other member that the one at fault clashes with.
    #[cfg(feature = "config")]
    pub(crate) fn other(&self) -> Option<&str> {
        self.0.other.as_ref().map(|(other, _)| other.as_str())
    }

    /// Names the line of the other member.
    #[cfg(feature = "config")]
    pub(crate) fn other_at_line(mut self, line: usize) -> Self {
        if let Some((_, at)) = &mut self.0.other {
            *at = Some(line);
        }
        self
    }

    /// The configuration file, where one was read.
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

    /// The member at fault, as a dotted path; empty where there is none.
    pub fn member(&self) -> &str {
        &self.0.member
    }

    /// The value that was found. Never a secret.
    pub fn value(&self) -> &str {
        &self.0.value
    }

    /// Why the value will not do.
    pub fn problem(&self) -> &str {
        &self.0.problem
    }

    /// What would be right.
    pub fn expected(&self) -> &str {
        &self.0.expected
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// The same as `Display`: a `main` that returns this error prints its `Debug` output.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A member's path within a table.
fn within(table: &str, member: &str) -> String {
    // A place in a list, such as `[2]`, follows its list without a dot.
    let dot = if table.is_empty() || member.is_empty() || member.starts_with('[') { "" } else { "." };
    format!("{table}{dot}{member}")
}

impl Error for ConfigError {}

/// The beginning of a value that is too long to be said whole.
pub(crate) fn shortened(value: &str) -> String {
    value.chars().take(60).chain(['…']).collect()
}

/// A back end could not decide. The gate answers 503, never 401, and never lets the request through for it. A back end
/// that panics is answered 500.
///
/// What a store knows to be absent, exhausted or insufficient is a value, not an error.
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
    /// The back end cannot be reached or failed. The source must not carry a secret.
    pub fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::of(FaultKind::Unavailable, Some(source.into()))
    }

    /// The back end did not answer in time. What it was asked may still have happened.
    pub fn timed_out() -> Self {
        Self::of(FaultKind::TimedOut, None)
    }

    /// The back end has no room for more at the moment.
    pub fn overloaded() -> Self {
        Self::of(FaultKind::Overloaded, None)
    }

    /// The same, with its reason.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn overloaded_by(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::of(FaultKind::Overloaded, Some(source.into()))
    }

    /// The back end answered with something that cannot be right, such as another key's record.
    pub fn corrupt(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::of(FaultKind::Corrupt, Some(source.into()))
    }

    /// The back end is there, and will not do what it was asked, now or later: the call cannot be right, such as a charge that
    /// comes after its own refund. That says nothing of the calls of others: a circuit counts no failure.
    pub fn rejected(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::of(FaultKind::Rejected, Some(source.into()))
    }

    /// A back end that panicked.
    pub(crate) fn panicked() -> Self {
        Self::of(FaultKind::Panicked, None)
    }

    /// Whether the back end panicked: the request is answered 500.
    pub fn is_panic(&self) -> bool {
        self.0.kind == FaultKind::Panicked
    }

    /// Whether the back end did not answer in time.
    pub fn is_timeout(&self) -> bool {
        self.0.kind == FaultKind::TimedOut
    }

    /// Whether the back end answered with something that cannot be right.
    pub fn is_corrupt(&self) -> bool {
        self.0.kind == FaultKind::Corrupt
    }

    /// Whether the back end is there and will not do what it was asked.
    pub fn is_rejected(&self) -> bool {
        self.0.kind == FaultKind::Rejected
    }

    /// Whether the back end has answered, if only with what is of no use: it is there, and asking again changes nothing.
    #[cfg(feature = "fleet")]
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
            FaultKind::Overloaded => "the back end has no room",
            FaultKind::Corrupt => "the back end gave an answer that cannot be right",
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
