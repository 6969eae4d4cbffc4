//! Queries of usage.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::error::ConfigError;
use crate::key::KeyId;
use crate::name::AccountId;
use crate::telemetry::DecisionOutcome;
use crate::usage::{UsageCounts, UsageStep};
use crate::words;

/// The maximum number of steps in the range of a query.
pub const MOST_POINTS: u64 = 10_000;

/// The requests that a query is about. A member that is `None` does not restrict them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageFilter {
    /// The key.
    pub key: Option<KeyId>,
    /// The account.
    pub account: Option<AccountId>,
    /// The route of the rule, as in `GET /v1/candles`.
    pub rule: Option<Arc<str>>,
}

impl UsageFilter {
    /// Creates a filter that selects all requests, also those without a key.
    pub fn all() -> Self {
        Self::default()
    }

    /// Creates a filter for a key.
    pub fn key(key: KeyId) -> Self {
        Self { key: Some(key), ..Self::default() }
    }

    /// Creates a filter for all keys of an account.
    pub fn account(account: impl Into<AccountId>) -> Self {
        Self { account: Some(account.into()), ..Self::default() }
    }

    /// Creates a filter for a rule, by its [route](crate::Rule::route).
    pub fn rule(route: &str) -> Self {
        Self::default().with_rule(route)
    }

    /// Restricts the filter to a rule, by its [route](crate::Rule::route).
    #[must_use]
    pub fn with_rule(mut self, route: &str) -> Self {
        self.rule = Some(route.into());
        self
    }

    /// Returns true if the filter selects a series.
    pub(super) fn selects(&self, key: Option<KeyId>, account: Option<&AccountId>, rule: &str) -> bool {
        self.key.is_none_or(|wanted| key == Some(wanted))
            && self.account.as_ref().is_none_or(|wanted| account == Some(wanted))
            && self.rule.as_deref().is_none_or(|wanted| rule == wanted)
    }
}

/// The error of a query that is not valid. It names the member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{member}` {problem}")]
pub struct InvalidUsageQuery {
    member: &'static str,
    problem: String,
}

impl InvalidUsageQuery {
    pub(crate) fn new(member: &'static str, problem: impl Into<String>) -> Self {
        Self { member, problem: problem.into() }
    }

    /// The member that is not valid: `from`, `to`, `step` or `limit`.
    pub fn member(&self) -> &'static str {
        self.member
    }

    /// The problem, as the rest of a sentence that begins with the member.
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

/// A range of time, divided into steps.
///
/// The range begins with the step that contains `from`, and contains each step that starts before `to`.
///
/// # Example
///
/// ```
/// use tollgate::usage::{UsageRange, UsageStep};
///
/// let (from, to) = ("2026-04-30T12:30:00Z".parse()?, "2026-04-30T14:00:00Z".parse()?);
/// let range = UsageRange::new(UsageStep::Hour, from, to)?;
/// assert_eq!(range.from().to_string(), "2026-04-30T12:00:00Z");
/// assert_eq!(range.starts().count(), 2);
/// assert_eq!(UsageRange::new(UsageStep::Hour, to, from).unwrap_err().member(), "to");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageRange {
    step: UsageStep,
    from: Timestamp,
    to: Timestamp,
}

impl UsageRange {
    /// Creates a range.
    ///
    /// # Errors
    ///
    /// Returns an error if `to` is not after `from`, or if the range has more than [`MOST_POINTS`] steps.
    pub fn new(step: UsageStep, from: Timestamp, to: Timestamp) -> Result<Self, InvalidUsageQuery> {
        if to <= from {
            return Err(InvalidUsageQuery::new("to", "must be after `from`"));
        }
        if step.count(from, to) > MOST_POINTS {
            let problem =
                format!("gives more than {MOST_POINTS} points: choose a longer step or a shorter range");
            return Err(InvalidUsageQuery::new("step", problem));
        }
        Ok(Self { step, from: step.start_of(from), to })
    }

    /// Creates the usual range of a step up to now: the last 60 minutes, 24 hours, 30 days or 12 months.
    pub fn latest(step: UsageStep, now: Timestamp) -> Self {
        let to = step.after(now);
        Self { step, from: Self::usual_start(step, to), to }
    }

    /// Creates a range whose ends may be left out. `to` defaults to the end of the present step, and `from` to the usual
    /// range before `to`.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn between(
        step: UsageStep,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Self, InvalidUsageQuery> {
        let to = to.unwrap_or_else(|| step.after(now));
        Self::new(step, from.unwrap_or_else(|| Self::usual_start(step, to)), to)
    }

    fn usual_start(step: UsageStep, to: Timestamp) -> Timestamp {
        let steps = match step {
            UsageStep::Minute => 60,
            UsageStep::Hour => 24,
            UsageStep::Day => 30,
            UsageStep::Month => 12,
        };
        step.before(to, steps)
    }

    /// The step.
    pub fn step(&self) -> UsageStep {
        self.step
    }

    /// The start of the first step.
    pub fn from(&self) -> Timestamp {
        self.from
    }

    /// The end. It is not part of the range.
    pub fn to(&self) -> Timestamp {
        self.to
    }

    /// Returns the starts of the steps.
    pub fn starts(&self) -> impl Iterator<Item = Timestamp> + use<> {
        let (step, to) = (self.step, self.to);
        std::iter::successors(Some(self.from), move |start| {
            Some(step.after(*start)).filter(|next| next > start)
        })
        .take_while(move |start| *start < to)
    }
}

/// A query of usage over time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageQuery {
    /// The requests that are counted.
    pub filter: UsageFilter,
    /// The range of time.
    pub range: UsageRange,
}

impl UsageQuery {
    /// Creates a query.
    pub fn new(filter: UsageFilter, range: UsageRange) -> Self {
        Self { filter, range }
    }
}

/// The requests with one outcome in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsagePart {
    /// The start of the step.
    pub start: Timestamp,
    /// The outcome. `None` for a kind of denial that only a newer version of this crate knows.
    pub outcome: Option<DecisionOutcome>,
    /// The sums over the requests.
    pub counts: UsageCounts,
}

impl UsagePart {
    /// Creates a part.
    pub fn new(start: Timestamp, outcome: Option<DecisionOutcome>, counts: UsageCounts) -> Self {
        Self { start, outcome, counts }
    }
}

/// The order of the keys with the most usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum TopOrder {
    /// By the number of requests.
    #[default]
    Requests,
    /// By the credits that were settled.
    Credits,
    /// By the number of denied requests.
    Refusals,
}

impl TopOrder {
    /// All orders.
    pub const ALL: &'static [Self] = &[Self::Requests, Self::Credits, Self::Refusals];

    /// Returns the name, as [`Display`](fmt::Display) writes it and [`FromStr`] reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Credits => "credits",
            Self::Refusals => "refusals",
        }
    }
}

impl fmt::Display for TopOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TopOrder {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = Self::ALL.iter().map(|order| order.name());
        let unknown = || ConfigError::new(text, "unknown order", words::one_of(text, names));
        Self::ALL.iter().copied().find(|order| order.name() == text).ok_or_else(unknown)
    }
}

/// A query of the keys with the most usage in a range of time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopQuery {
    /// The requests that are counted.
    pub filter: UsageFilter,
    /// The range of time. The sums are those of its steps: a long step is faster, and exact for whole steps.
    pub range: UsageRange,
    /// The order.
    pub order: TopOrder,
    /// The maximum number of keys.
    pub limit: usize,
}

impl TopQuery {
    /// Creates a query of up to `limit` keys.
    pub fn new(filter: UsageFilter, range: UsageRange, order: TopOrder, limit: usize) -> Self {
        Self { filter, range, order, limit }
    }
}

/// The usage of a key in a range of time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopKey {
    /// The key.
    pub key: KeyId,
    /// The account that owns the key.
    pub account: AccountId,
    /// The sums over all requests.
    pub counts: UsageCounts,
    /// The number of denied requests among them.
    pub refusals: u64,
}

impl TopKey {
    /// Creates the usage of a key.
    pub fn new(key: KeyId, account: AccountId, counts: UsageCounts, refusals: u64) -> Self {
        Self { key, account, counts, refusals }
    }

    /// The number by which keys are ordered.
    pub fn rank(&self, order: TopOrder) -> u64 {
        match order {
            TopOrder::Requests => self.counts.requests,
            TopOrder::Credits => self.counts.credits,
            TopOrder::Refusals => self.refusals,
        }
    }
}
