//! Database reads: the queries of usage.

use std::time::Duration;

use super::table;
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::key::KeyId;
use crate::sql::{Database, Row, Statement};
use crate::usage::record::outcome_of;
use crate::usage::{TopKey, TopOrder, TopQuery, UsageCounts, UsageFilter, UsagePart, UsageQuery, UsageRange};

/// The time limit of a query over all keys.
const PATIENCE: Duration = Duration::from_secs(30);

/// The number of bits of the lower part of a sum.
const LOWER: u32 = 32;

/// Appends the sums of counts. Each sum has two parts, since the sum itself may be larger than an integer of the database.
fn sums(mut statement: Statement) -> Statement {
    for name in ["requests", "credits", "units", "bytes"] {
        statement = statement.push(&format!(
            "CAST(sum(c.{name} >> {LOWER}) AS BIGINT), CAST(sum(c.{name} & 4294967295) AS BIGINT), "
        ));
    }
    statement.push("max(c.last_seen)")
}

/// The number of columns that [`sums`] appends.
const SUMS: usize = 9;

/// The number of denied requests.
const REFUSALS: &str =
    "CAST(sum(CASE WHEN s.outcome IN ('admitted', 'abandoned') THEN 0 ELSE c.requests END) AS BIGINT)";

/// Returns the counts of each step and outcome.
pub(super) async fn parts(database: &Database, query: &UsageQuery) -> Result<Vec<UsagePart>, StoreError> {
    let statement = sums(Statement::new("SELECT c.start, s.outcome, "));
    let statement = selected(statement, &query.filter, &query.range);
    let statement = statement.push(" GROUP BY c.start, s.outcome ORDER BY c.start, s.outcome");
    let mut session = if query.filter == UsageFilter::all() || query.filter.rule.is_some() {
        database.patient_reader(PATIENCE).await?
    } else {
        database.reader().await?
    };
    let rows = session.rows(statement).await?;
    rows.iter()
        .map(|row| {
            let start = Timestamp::from_millis(row.int(0)?);
            Ok(UsagePart::new(start, outcome_of(row.text(1)?), counts(row, 2)?))
        })
        .collect()
}

/// Returns the keys with the most usage.
pub(super) async fn top(database: &Database, query: &TopQuery) -> Result<Vec<TopKey>, StoreError> {
    let statement = sums(Statement::new("SELECT s.key, min(s.account), ")).push(", ").push(REFUSALS);
    let statement = selected(statement.push(" AS refusals"), &query.filter, &query.range);
    let order = match query.order {
        TopOrder::Requests => "sum(c.requests * 1.0)",
        TopOrder::Credits => "sum(c.credits * 1.0)",
        TopOrder::Refusals => "refusals",
    };
    let statement = statement.push(" AND s.key IS NOT NULL GROUP BY s.key ORDER BY ").push(order);
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let statement = statement.push_value(" DESC, s.key LIMIT ", limit);
    let rows = database.patient_reader(PATIENCE).await?.rows(statement).await?;
    rows.iter()
        .map(|row| {
            let key = row.maybe_bytes(0)?.ok_or_else(|| StoreError::corrupt("a key's id is missing"))?;
            let account = row.maybe_text(1)?.unwrap_or_default();
            Ok(TopKey::new(KeyId::from_bytes(key), account.into(), counts(row, 2)?, number(row, 2 + SUMS)?))
        })
        .collect()
}

/// Appends the tables, and the conditions of a filter and a range.
fn selected(statement: Statement, filter: &UsageFilter, range: &UsageRange) -> Statement {
    let statement = statement.push(" FROM tollgate_usage_series s JOIN ").push(table(range.step()));
    let statement = statement.push_value(" c ON c.series = s.id WHERE c.start >= ", range.from().as_millis());
    let mut statement = statement.push_value(" AND c.start < ", range.to().as_millis());
    if let Some(key) = &filter.key {
        statement = statement.push_value(" AND s.key = ", key.as_bytes());
    }
    if let Some(account) = &filter.account {
        statement = statement.push_value(" AND s.account = ", account.as_str());
    }
    if let Some(rule) = &filter.rule {
        statement = statement.push_value(" AND s.rule = ", &**rule);
    }
    statement
}

fn counts(row: &Row, from: usize) -> Result<UsageCounts, StoreError> {
    let mut counts = UsageCounts::none(Timestamp::from_millis(row.int(from + SUMS - 1)?));
    let members = [&mut counts.requests, &mut counts.credits, &mut counts.units, &mut counts.bytes];
    for (place, member) in members.into_iter().enumerate() {
        let (upper, lower) = (number(row, from + 2 * place)?, number(row, from + 2 * place + 1)?);
        let sum = (u128::from(upper) << LOWER) + u128::from(lower);
        *member = u64::try_from(sum).unwrap_or(u64::MAX);
    }
    Ok(counts)
}

fn number(row: &Row, column: usize) -> Result<u64, StoreError> {
    u64::try_from(row.int(column)?).map_err(StoreError::corrupt)
}
