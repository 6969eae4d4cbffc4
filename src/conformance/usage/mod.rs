//! The conformance checks for usage stores.

mod queries;
mod removal;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::conformance::fresh;
use crate::conformance::suite::{Check, Fault, Suite};
use crate::key::KeyId;
use crate::name::AccountId;
use crate::telemetry::DecisionOutcome;
use crate::usage::{
    BatchId, UsageBatch, UsageCounts, UsageFilter, UsagePart, UsageQuery, UsageRange, UsageRow, UsageStep,
    UsageStore,
};

type Store = Arc<dyn UsageStore>;

pub(super) fn suite(store: &Store) -> Suite {
    let parts: [Vec<Check>; 3] = [writes::checks(store), queries::checks(store), removal::checks(store)];
    Suite::new("usage", parts)
}

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// A key that no other check uses, its account, a rule, and the start of a day.
#[derive(Debug, Clone)]
struct TestKey {
    store: Store,
    key: KeyId,
    account: AccountId,
    rule: String,
    day: Timestamp,
}

impl TestKey {
    fn new(store: Store) -> Self {
        // A month before now: no check waits for the end of a step, and retention keeps it.
        let day = UsageStep::Day.start_of(fresh::now().saturating_sub(30 * DAY));
        let rule = format!("GET /{}", fresh::name());
        Self { store, key: KeyId::generate(), account: fresh::account().id, rule, day }
    }

    /// Returns another key of the same account.
    fn sibling(&self) -> Self {
        Self { key: KeyId::generate(), ..self.clone() }
    }

    /// Returns a row of requests at a time after the start of the day, each of which cost two credits.
    fn row(&self, after: Duration, outcome: DecisionOutcome, requests: u64) -> UsageRow {
        let time = self.day.saturating_add(after);
        UsageRow::new(
            Some((self.key, self.account.clone())),
            &*self.rule,
            outcome,
            time,
            counts(time, requests),
        )
    }

    /// Returns a row of admitted requests.
    fn admitted(&self, after: Duration, requests: u64) -> UsageRow {
        self.row(after, DecisionOutcome::Admitted, requests)
    }

    /// Writes rows in a new batch.
    async fn write(&self, rows: Vec<UsageRow>) -> Result<UsageBatch, Fault> {
        let batch = batch(rows);
        let _ = self.store.write(&batch).await?;
        Ok(batch)
    }

    /// Returns the counts of this key in the day and the one after.
    async fn read(&self, step: UsageStep) -> Result<Vec<UsagePart>, Fault> {
        self.read_by(UsageFilter::key(self.key), step).await
    }

    async fn read_by(&self, filter: UsageFilter, step: UsageStep) -> Result<Vec<UsagePart>, Fault> {
        Ok(self.store.read(&UsageQuery::new(filter, range(self.day, step, 2 * DAY)?)).await?)
    }

    /// Returns the number of requests of this key by each step of the day and the one after.
    async fn requests(&self, step: UsageStep) -> Result<Vec<u64>, Fault> {
        Ok(requests(&self.read(step).await?))
    }
}

fn batch(rows: Vec<UsageRow>) -> UsageBatch {
    UsageBatch::new(BatchId { node: fresh::charge().to_bytes(), number: 1 }, rows)
}

fn counts(time: Timestamp, requests: u64) -> UsageCounts {
    let mut counts = UsageCounts::none(time);
    (counts.requests, counts.credits) = (requests, 2 * requests);
    (counts.units, counts.bytes) = (3 * requests, 100 * requests);
    counts
}

fn range(from: Timestamp, step: UsageStep, length: Duration) -> Result<UsageRange, Fault> {
    let to = from.saturating_add(length);
    UsageRange::new(step, from, to).map_err(|error| Fault::new(error.to_string()))
}

fn requests(parts: &[UsagePart]) -> Vec<u64> {
    parts.iter().map(|part| part.counts.requests).collect()
}
