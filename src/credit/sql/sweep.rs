//! Housekeeping: abandoned charges, charges that were closed long ago, and erased accounts.

use std::sync::Arc;
use std::time::Duration;

use super::rows;
use super::writer::Writer;
use crate::amount::Credits;
use crate::credit::decide::{Answer, Ask, Close};
use crate::credit::{Abandoned, EntryKind};
use crate::error::StoreError;
use crate::name::AccountId;
use crate::sql::{Database, Row, Statement, retried};

/// The number of charges that are processed in one step.
const AT_ONCE: u16 = 256;

pub(super) async fn close_abandoned(
    database: &Database,
    writer: &Arc<Writer>,
    open_for: Duration,
    policy: Abandoned,
) -> Result<u64, StoreError> {
    let latest = long_ago(database, open_for).await?;
    // Skip the charges that cannot be closed: they would be found again before all later ones.
    let (mut closed, mut passed, mut unreadable) = (0, 0_i64, None);
    loop {
        let statement =
            Statement::new("SELECT account, id, amount FROM tollgate_charges WHERE closed_at IS NULL");
        let statement = statement.push_value(" AND opened_at <= ", latest);
        let statement = statement.push_value(" ORDER BY opened_at, account, id LIMIT ", i64::from(AT_ONCE));
        let found = database.reader().await?.rows(statement.push_value(" OFFSET ", passed)).await?;
        let mut work = tokio::task::JoinSet::new();
        for row in &found {
            let (writer, ask) = (Arc::clone(writer), close(row, policy));
            work.spawn(async move { Writer::submit(&writer, ask?).await });
        }
        while let Some(done) = work.join_next().await {
            match done.map_err(|error| StoreError::unavailable(error.to_string()))? {
                Ok(answer) => closed += u64::from(matches!(answer, Answer::Closed(true))),
                Err(error) if error.is_corrupt() => {
                    passed += 1;
                    unreadable.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        if found.len() < usize::from(AT_ONCE) {
            return unreadable.map_or(Ok(closed), Err);
        }
    }
}

/// Returns the time that is `time` before now, by the database's own clock.
async fn long_ago(database: &Database, time: Duration) -> Result<i64, StoreError> {
    let mut session = database.reader().await?;
    let now = session.row(Statement::new("SELECT ").push(session.now())).await?;
    let now = now.ok_or_else(|| StoreError::corrupt("the database returned no time"))?.int(0)?;
    Ok(now.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
}

fn close(row: &Row, policy: Abandoned) -> Result<Ask, StoreError> {
    let (cost, kind): (Credits, fn(_) -> _) = match policy {
        Abandoned::Refund => (Credits::ZERO, EntryKind::Refund),
        Abandoned::Settle => (rows::credits(row.int(2)?)?, EntryKind::Settlement),
    };
    let (account, id) = (row.text(0)?.into(), rows::charge_id(row, 1)?);
    Ok(Ask::Close(Close::abandoned(account, id, cost, kind)))
}

pub(super) async fn forget_closed(database: &Database, closed_for: Duration) -> Result<u64, StoreError> {
    let (latest, mut forgotten) = (long_ago(database, closed_for).await?, 0);
    loop {
        let statement = Statement::new(
            "DELETE FROM tollgate_charges WHERE (account, id) IN \
             (SELECT account, id FROM tollgate_charges WHERE closed_at IS NOT NULL AND closed_at <= $1 LIMIT $2)",
        );
        let statement = statement.with(latest).with(i64::from(AT_ONCE));
        let now = database.change(statement).await?;
        forgotten += now;
        if now < u64::from(AT_ONCE) {
            return Ok(forgotten);
        }
    }
}

/// Removes an account's balances in all currencies, with their entries, charges, adjustments and budgets.
///
/// Returns true if there was a balance.
pub(super) async fn erase(database: &Database, account: &AccountId) -> Result<bool, StoreError> {
    let there = retried(|| erase_once(database, account)).await?;
    if there.is_some() {
        database.wipe().await;
    }
    Ok(there == Some(true))
}

/// Does the same in one transaction.
///
/// Returns true if there was a balance, false if the row was not a balance, and `None` if there was nothing.
async fn erase_once(database: &Database, account: &AccountId) -> Result<Option<bool>, StoreError> {
    let mut session = database.transaction().await?;
    // The balance row is the lock: every other transaction on the account has either ended, or starts after all rows
    // are removed.
    let [after, before] = rows::other_keys(account);
    let all = |statement: Statement| {
        let statement = statement.push_value(" WHERE account = ", account);
        let statement = statement.push_value(" OR (account > ", after.as_str());
        statement.push_value(" AND account < ", before.as_str()).push(")")
    };
    let statement = all(Statement::new("SELECT entries, due FROM tollgate_balances"));
    let found = session.rows(statement.push(" ORDER BY account").push(session.lock())).await?;
    if found.is_empty() {
        session.roll_back().await?;
        return Ok(None);
    }
    let mut there = false;
    for row in &found {
        // A row that only bars a charge is not a balance.
        there |= row.int(0)? > 0 || row.maybe_int(1)?.is_some();
    }
    for table in ["balances", "charges", "entries", "adjustments", "budgets"] {
        session.execute(all(Statement::new("DELETE FROM tollgate_").push(table))).await?;
    }
    session.commit().await?;
    Ok(Some(there))
}
