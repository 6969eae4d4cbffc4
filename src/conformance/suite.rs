//! A list of checks, and its execution.

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::conformance::report::{Failure, Report};
use crate::error::StoreError;

/// An ability that a back end may lack without breaking its contract. The back end's owner declares the lack with
/// [`Suite::without`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// The visibility of a key's use as soon as [`touch`](crate::store::KeyAdmin::touch) has returned. A store that
    /// writes uses later lacks this.
    PromptUses,
    /// A charge that arrives after its refund takes nothing. A charge that arrives again after it was settled or
    /// refunded also takes nothing. A ledger in memory lacks this: it has decided before its caller can ask for a
    /// refund.
    LateCharges,
    /// The balance in the result of a charge is the whole balance of the account, not a part of it. A ledger that
    /// leases lacks this.
    WholeBalances,
    /// A limiter uses the time in the arguments of its calls. A limiter that uses a server's own time lacks this. A few
    /// checks that wait for less than a second then replace those that are left out.
    InjectedTime,
    /// A limiter has limits on requests in flight.
    InFlight,
    /// A ledger has buckets with a priority and an expiry, beside the main bucket. A ledger with one balance lacks this.
    Buckets,
    /// A ledger draws charges from the budgets of keys.
    Budgets,
    /// A ledger charges a final cost above the charge. A ledger that lacks this takes no more than the charge.
    LateCosts,
    /// A ledger has balances in several currencies.
    Currencies,
}

/// The reason for which a check failed.
#[derive(Debug)]
pub(super) struct Fault(String);

impl Fault {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let source = std::error::Error::source(&error);
        Self(match source {
            Some(source) => format!("a call failed: {error}: {source}"),
            None => format!("a call failed: {error}"),
        })
    }
}

pub(super) type Verdict = Result<(), Fault>;

/// Compares the actual value with the expected value.
#[expect(clippy::needless_pass_by_value, reason = "checks read better without borrows")]
pub(super) fn same<T: fmt::Debug + PartialEq>(what: &str, found: T, expected: T) -> Verdict {
    if found == expected {
        return Ok(());
    }
    Err(Fault(format!("{what}: expected {expected:?}, found {found:?}")))
}

/// Returns an error unless the condition is true.
pub(super) fn holds(what: &str, so: bool) -> Verdict {
    if so { Ok(()) } else { Err(Fault(format!("{what}: it is not so"))) }
}

/// A check of one fact of a contract.
pub(super) struct Check {
    name: &'static str,
    needs: Option<Capability>,
    stands_in_for: Option<Capability>,
    run: Pin<Box<dyn Future<Output = Verdict> + Send>>,
}

impl Check {
    pub(super) fn new(name: &'static str, run: impl Future<Output = Verdict> + Send + 'static) -> Self {
        Self { name, needs: None, stands_in_for: None, run: Box::pin(run) }
    }

    pub(super) fn needing(mut self, capability: Capability) -> Self {
        self.needs = Some(capability);
        self
    }

    /// Makes the check run only if the back end lacks the capability.
    pub(super) fn standing_in_for(mut self, capability: Capability) -> Self {
        self.stands_in_for = Some(capability);
        self
    }

    /// Runs the check on a task of its own, so that a back end that panics or hangs fails only this check.
    async fn run(self) -> Verdict {
        let mut task = tokio::spawn(self.run);
        match tokio::time::timeout(LONGEST, &mut task).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(panicked)) => Err(Fault(format!("a call panicked: {panicked}"))),
            Err(_) => {
                task.abort();
                Err(Fault(format!("no answer in {LONGEST:?}")))
            }
        }
    }
}

/// The longest time that a check may take.
const LONGEST: Duration = Duration::from_mins(1);

/// A list of the checks of a contract. [`Suite::run`] runs them.
///
/// # Example
///
/// ```
/// use tollgate::conformance::{self, Capability};
/// use tollgate::MemoryLedger;
///
/// # #[tokio::main]
/// # async fn main() {
/// let suite = conformance::credits(MemoryLedger::new()).without(Capability::LateCharges);
/// let report = suite.run().await;
/// report.assert();
/// assert!(report.left_out().iter().all(|(_, lack)| *lack == Capability::LateCharges));
/// # }
/// ```
#[must_use = "a suite does nothing unless it is run"]
pub struct Suite {
    name: &'static str,
    checks: Vec<Check>,
    lacks: HashSet<Capability>,
}

impl Suite {
    pub(super) fn new(name: &'static str, parts: impl IntoIterator<Item = Vec<Check>>) -> Self {
        Self { name, checks: parts.into_iter().flatten().collect(), lacks: HashSet::new() }
    }

    /// Leaves out the checks that need this capability.
    pub fn without(mut self, lack: Capability) -> Self {
        self.lacks.insert(lack);
        self
    }

    /// Runs the checks one after another.
    pub async fn run(self) -> Report {
        let Self { name, checks, lacks } = self;
        let mut report = Report { suite: name, held: Vec::new(), failures: Vec::new(), left_out: Vec::new() };
        let called_for = |check: &Check| check.stands_in_for.is_none_or(|lack| lacks.contains(&lack));
        for check in checks.into_iter().filter(called_for) {
            let name = check.name;
            match check.needs.filter(|need| lacks.contains(need)) {
                Some(lack) => report.left_out.push((name, lack)),
                None => match check.run().await {
                    Ok(()) => report.held.push(name),
                    Err(Fault(problem)) => report.failures.push(Failure { check: name, problem }),
                },
            }
        }
        report
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.checks.iter().map(|check| check.name);
        f.debug_struct("Suite")
            .field("name", &self.name)
            .field("lacks", &self.lacks)
            .field("checks", &names.collect::<Vec<_>>())
            .finish()
    }
}
