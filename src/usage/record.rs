//! Counted requests: rows, and the batches in which a node writes them.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::denial::DenialKind;
use crate::key::KeyId;
use crate::name::AccountId;
use crate::telemetry::DecisionOutcome;

/// The rule of a row whose detail was folded because of a bound on memory. It is not the route of any rule.
pub const OTHER: &str = "other";

/// Sums over requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageCounts {
    /// The number of requests.
    pub requests: u64,
    /// The credits that were settled, in the currency [`Currency::CREDITS`](crate::credit::Currency::CREDITS). Other currencies
    /// are not counted.
    pub credits: u64,
    /// The units of metered costs. Zero if no rule has a cost per unit.
    pub units: u64,
    /// The bytes of responses. Zero if no adapter reports them.
    pub bytes: u64,
    /// The time of the last request.
    pub last_seen: Timestamp,
}

impl UsageCounts {
    /// Creates the counts of no request, last seen at `last_seen`.
    pub fn none(last_seen: Timestamp) -> Self {
        Self { requests: 0, credits: 0, units: 0, bytes: 0, last_seen }
    }

    /// Creates the counts of one request at `time` for which `credits` were settled.
    pub fn of_request(time: Timestamp, credits: u64) -> Self {
        Self { requests: 1, credits, ..Self::none(time) }
    }

    /// Adds other counts. A sum that does not fit stays at the largest number.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.credits = self.credits.saturating_add(other.credits);
        self.units = self.units.saturating_add(other.units);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.last_seen = self.last_seen.max(other.last_seen);
    }
}

/// The requests of one key for one rule with one outcome in one minute.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageRow {
    /// The key. `None` for requests that were denied before a key was found, and for folded detail.
    pub key: Option<KeyId>,
    /// The account that owns the key. `None` if there is no key.
    pub account: Option<AccountId>,
    /// The route of the rule, as in `GET /v1/candles`. Empty for requests that no rule matched, and [`OTHER`] for folded
    /// detail.
    pub rule: Arc<str>,
    /// The outcome.
    pub outcome: DecisionOutcome,
    /// The start of the minute.
    pub minute: Timestamp,
    /// The sums over the requests.
    pub counts: UsageCounts,
}

impl UsageRow {
    /// Creates a row. `minute` is a time in its minute.
    pub fn new(
        key: Option<(KeyId, AccountId)>,
        rule: impl Into<Arc<str>>,
        outcome: DecisionOutcome,
        minute: Timestamp,
        counts: UsageCounts,
    ) -> Self {
        let (key, account) = key.map_or((None, None), |(key, account)| (Some(key), Some(account)));
        let minute = super::UsageStep::Minute.start_of(minute);
        Self { key, account, rule: rule.into(), outcome, minute, counts }
    }
}

/// The id of a batch: the node that wrote it, and its number among the node's batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId {
    /// The node. A node chooses it at random when it starts.
    pub node: [u8; 16],
    /// The number of the batch.
    pub number: u64,
}

/// Rows that a node writes together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageBatch {
    id: BatchId,
    rows: Arc<Vec<UsageRow>>,
}

impl UsageBatch {
    /// Creates a batch.
    pub fn new(id: BatchId, rows: Vec<UsageRow>) -> Self {
        Self { id, rows: Arc::new(rows) }
    }

    /// The id.
    pub fn id(&self) -> BatchId {
        self.id
    }

    /// The rows. Two rows may be of the same key, rule, outcome and minute: their counts are added.
    pub fn rows(&self) -> &[UsageRow] {
        &self.rows
    }
}

/// The result of writing a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The batch was added.
    Added,
    /// The batch had been added before. Nothing was changed.
    Repeated,
}

/// Returns the name under which an outcome is stored.
pub(crate) fn outcome_name(outcome: DecisionOutcome) -> &'static str {
    match outcome {
        DecisionOutcome::Admitted => "admitted",
        DecisionOutcome::Denied(kind) => kind.name(),
        DecisionOutcome::Abandoned => "abandoned",
    }
}

/// Returns the outcome with a name, or `None` for an outcome that only a newer version knows.
pub(crate) fn outcome_of(name: &str) -> Option<DecisionOutcome> {
    match name {
        "admitted" => Some(DecisionOutcome::Admitted),
        "abandoned" => Some(DecisionOutcome::Abandoned),
        _ => DenialKind::ALL.iter().copied().find(|kind| kind.name() == name).map(DecisionOutcome::Denied),
    }
}
