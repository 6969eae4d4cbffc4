//! Database writes: batches, retention and the removal of accounts.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::table;
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::name::AccountId;
use crate::sql::{Database, Session, Statement, Value, retried};
use crate::usage::record::outcome_name;
use crate::usage::{BATCH_IDS_KEPT, UsageBatch, UsageCounts, UsageRetention, UsageRow, UsageStep, Written};

/// The maximum number of rows in one statement.
const AT_ONCE: usize = 512;

/// The number of rows that one statement removes.
const REMOVED_AT_ONCE: u32 = 4_096;

/// The largest number of a column.
const MOST: i64 = i64::MAX;

/// The condition that leaves out the rows that pad a table.
const THERE: &str = " WHERE v.column1 IS NOT NULL";

/// The id of a series.
type SeriesId = [u8; 16];

/// The rows of a batch in the order in which all nodes write them, which prevents deadlocks.
struct Rows<'b> {
    series: BTreeMap<SeriesId, &'b UsageRow>,
    /// The counts of each step, by series and start.
    steps: [BTreeMap<(SeriesId, i64), UsageCounts>; 4],
}

impl<'b> Rows<'b> {
    fn of(batch: &'b UsageBatch) -> Self {
        let mut rows = Self { series: BTreeMap::new(), steps: Default::default() };
        for row in batch.rows() {
            let id = series_id(row);
            rows.series.insert(id, row);
            for (counts, step) in rows.steps.iter_mut().zip(UsageStep::ALL) {
                let place = (id, step.start_of(row.minute).as_millis());
                counts.entry(place).and_modify(|counts| counts.add(&row.counts)).or_insert(row.counts);
            }
        }
        rows
    }
}

/// Returns the id of a row's series: a hash of its parts, each after its length.
fn series_id(row: &UsageRow) -> SeriesId {
    let key = row.key.as_ref().map_or(&[][..], |key| key.as_bytes());
    let account = row.account.as_ref().map_or("", AccountId::as_str);
    let mut hash = Sha256::new();
    for part in [key, account.as_bytes(), row.rule.as_bytes(), outcome_name(row.outcome).as_bytes()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let mut id = SeriesId::default();
    id.copy_from_slice(&hash[..16]);
    id
}

/// Adds a batch in one transaction.
pub(super) async fn write(database: &Database, batch: &UsageBatch) -> Result<Written, StoreError> {
    let rows = Rows::of(batch);
    retried(|| async {
        let mut session = database.transaction().await?;
        if !note(&mut session, batch).await? {
            session.roll_back().await?;
            return Ok(Written::Repeated);
        }
        add_series(&mut session, &rows).await?;
        // An erasure that removed a series in the meantime has ended by now. The series is then added again.
        while !hold_series(&mut session, &rows).await? {
            add_series(&mut session, &rows).await?;
        }
        for (counts, step) in rows.steps.iter().zip(UsageStep::ALL) {
            add_counts(&mut session, counts, *step).await?;
        }
        session.commit().await?;
        Ok(Written::Added)
    })
    .await
}

/// Stores the id of a batch. Returns false if it is stored already.
async fn note(session: &mut Session, batch: &UsageBatch) -> Result<bool, StoreError> {
    let id = batch.id();
    let statement = Statement::new("INSERT INTO tollgate_usage_batches (node, number, at) VALUES (");
    let statement = statement.push_value("", &id.node).push_value(", ", id.number.cast_signed());
    let statement = statement.push(", ").push(session.now()).push(") ON CONFLICT DO NOTHING");
    Ok(session.execute(statement).await? == 1)
}

async fn add_series(session: &mut Session, rows: &Rows<'_>) -> Result<(), StoreError> {
    let series: Vec<_> = rows.series.iter().collect();
    for piece in series.chunks(AT_ONCE) {
        let statement = Statement::new(
            "INSERT INTO tollgate_usage_series (id, key, account, rule, outcome) \
             SELECT v.column1, v.column2, v.column3, v.column4, v.column5 FROM ",
        );
        let table = piece.iter().map(|(id, row)| {
            [
                Value::from(*id),
                row.key.map(|key| *key.as_bytes()).into(),
                row.account.as_ref().map(|account| account.as_str().to_owned()).into(),
                (&*row.rule).into(),
                outcome_name(row.outcome).into(),
            ]
        });
        session.execute(statement.push_table(table).push(THERE).push(" ON CONFLICT DO NOTHING")).await?;
    }
    Ok(())
}

/// Prevents that an erasure removes a series before the transaction ends. Returns false if one is missing.
async fn hold_series(session: &mut Session, rows: &Rows<'_>) -> Result<bool, StoreError> {
    // SQLite has one writer at a time.
    if !session.is_postgres() {
        return Ok(true);
    }
    let series: Vec<_> = rows.series.keys().collect();
    for piece in series.chunks(AT_ONCE) {
        let ids = piece.iter().map(|id| [Value::from(*id)]);
        let statement = Statement::new("SELECT s.id FROM tollgate_usage_series s JOIN ").push_table(ids);
        let statement = statement.push(" ON v.column1 = s.id ORDER BY s.id FOR KEY SHARE OF s");
        if session.rows(statement).await?.len() < piece.len() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn add_counts(
    session: &mut Session,
    counts: &BTreeMap<(SeriesId, i64), UsageCounts>,
    step: UsageStep,
) -> Result<(), StoreError> {
    let counts: Vec<_> = counts.iter().collect();
    let table = table(step);
    for piece in counts.chunks(AT_ONCE) {
        let statement = Statement::new("INSERT INTO ").push(table).push(
            " AS c (series, start, requests, credits, units, bytes, last_seen) \
             SELECT v.column1, v.column2, v.column3, v.column4, v.column5, v.column6, v.column7 FROM ",
        );
        let rows = piece.iter().map(|((series, start), counts)| {
            let number = |number: u64| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
            [
                Value::from(series),
                (*start).into(),
                number(counts.requests),
                number(counts.credits),
                number(counts.units),
                number(counts.bytes),
                counts.last_seen.as_millis().into(),
            ]
        });
        let sum = |name: &str| {
            // The largest number stays the largest one: an overflow would reject the whole batch.
            format!(
                "CASE WHEN c.{name} > {MOST} - excluded.{name} THEN {MOST} ELSE c.{name} + excluded.{name} END"
            )
        };
        let sums = ["requests", "credits", "units", "bytes"]
            .map(|name| format!("{name} = {}", sum(name)))
            .join(", ");
        let add = format!(
            " ON CONFLICT (series, start) DO UPDATE SET {sums}, last_seen = \
             CASE WHEN excluded.last_seen > c.last_seen THEN excluded.last_seen ELSE c.last_seen END"
        );
        session.execute(statement.push_table(rows).push(THERE).push(&add)).await?;
    }
    Ok(())
}

/// Removes old counts, and the ids of old batches.
pub(super) async fn prune(
    database: &Database,
    keep: &UsageRetention,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let (mut removed, database_now) = (0, database_now(database).await?);
    for step in UsageStep::ALL {
        // A node whose clock is ahead must not remove the counts of the others.
        let Some(before) = keep.before(*step, now.min(database_now)) else { continue };
        let table = table(*step);
        let statement =
            Statement::new("DELETE FROM ").push(table).push(" WHERE (series, start) IN (SELECT series, ");
        let statement =
            statement.push("start FROM ").push(table).push_value(" WHERE start < ", before.as_millis());
        let statement = statement.push_value(" LIMIT ", i64::from(REMOVED_AT_ONCE)).push(")");
        removed += database.change_all(&statement, REMOVED_AT_ONCE).await?;
    }
    let kept = i64::try_from(BATCH_IDS_KEPT.as_millis()).unwrap_or(i64::MAX);
    let own_now = database.reader().await?.now();
    let old = Statement::new(
        "DELETE FROM tollgate_usage_batches WHERE (node, number) IN (SELECT node, number FROM ",
    );
    let old = old.push("tollgate_usage_batches WHERE at < ").push(own_now).push_value(" - ", kept);
    let old = old.push_value(" LIMIT ", i64::from(REMOVED_AT_ONCE)).push(")");
    database.change_all(&old, REMOVED_AT_ONCE).await?;
    Ok(removed)
}

/// Returns the time of the database.
async fn database_now(database: &Database) -> Result<Timestamp, StoreError> {
    let mut session = database.reader().await?;
    let now = session.row(Statement::new("SELECT ").push(session.now())).await?;
    let now = now.ok_or_else(|| StoreError::corrupt("the database returned no time"))?;
    Ok(Timestamp::from_millis(now.int(0)?))
}

/// Removes all counts of an account, in one transaction. The series go first: this waits for the batches that are being
/// added to them.
pub(super) async fn erase_account(database: &Database, account: &AccountId) -> Result<bool, StoreError> {
    let erased = retried(|| async {
        let mut session = database.transaction().await?;
        let delete = "DELETE FROM tollgate_usage_series WHERE account = $1 RETURNING id";
        let statement = Statement::new(delete).with(account.as_str());
        let series = session.rows(statement).await?;
        let series: Vec<SeriesId> =
            series.iter().filter_map(|row| row.maybe_bytes(0).transpose()).collect::<Result<_, _>>()?;
        for piece in series.chunks(AT_ONCE) {
            for step in UsageStep::ALL {
                let statement = Statement::new("DELETE FROM ")
                    .push(table(*step))
                    .push(" WHERE series IN (SELECT v.column1 FROM ");
                let statement = statement.push_table(piece.iter().map(|id| [Value::from(id)]));
                session.execute(statement.push(THERE).push(")")).await?;
            }
        }
        session.commit().await?;
        Ok(!series.is_empty())
    })
    .await?;
    if erased {
        database.wipe().await;
    }
    Ok(erased)
}
