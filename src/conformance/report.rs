//! The results of a suite's checks.

use std::fmt;

use crate::conformance::Capability;

/// A failed check, with the expected and the actual result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub(super) check: &'static str,
    pub(super) problem: String,
}

impl Failure {
    /// Returns the name of the check.
    pub fn check(&self) -> &'static str {
        self.check
    }

    /// Returns the expected and the actual result.
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

/// The results of a suite's checks: passed, failed or left out.
///
/// # Example
///
/// ```
/// use tollgate::{MemoryLimiter, conformance};
///
/// # #[tokio::main]
/// # async fn main() {
/// let report = conformance::limits(MemoryLimiter::new()).run().await;
/// assert!(report.failures().is_empty(), "{report}");
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a report may tell of failures"]
pub struct Report {
    pub(super) suite: &'static str,
    pub(super) held: Vec<&'static str>,
    pub(super) failures: Vec<Failure>,
    pub(super) left_out: Vec<(&'static str, Capability)>,
}

impl Report {
    /// Returns the names of the checks that passed.
    pub fn held(&self) -> &[&'static str] {
        &self.held
    }

    /// Returns the checks that failed.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// Returns the names of the checks that were left out, each with the capability that it needs and the back end
    /// lacks.
    pub fn left_out(&self) -> &[(&'static str, Capability)] {
        &self.left_out
    }

    /// Panics if a check failed. Otherwise, if checks were left out, prints the report to standard error.
    pub fn assert(&self) {
        assert!(self.failures.is_empty(), "{self}");
        if !self.left_out.is_empty() {
            eprintln!("{self}");
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (held, failed, left_out) = (self.held.len(), self.failures.len(), self.left_out.len());
        write!(f, "{}: {held} checks held, {failed} failed, {left_out} left out", self.suite)?;
        for Failure { check, problem } in &self.failures {
            write!(f, "\n  failed: {check}: {problem}")?;
        }
        for (check, lack) in &self.left_out {
            write!(f, "\n  left out: {check}: the owner declares no {lack:?}")?;
        }
        Ok(())
    }
}
