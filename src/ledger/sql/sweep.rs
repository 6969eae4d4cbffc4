//! Housekeeping: charges that nobody closed, charges that were closed long ago, and accounts that are gone.

use std::sync::Arc;

use super::ask::{Answer, Ask, Close};
use super::rows;
use super::writer::Writer;
use crate::sql::{Database, Row, Statement};
use crate::{Abandoned, AccountId, Clock as _, Credits, EntryKind, StoreError, SystemClock, Timestamp};

/// How many are looked at in one go.
const AT_ONCE: u16 = 256;

pub(super) async fn close_abandoned(
    database: &Database,
    writer: &Arc<Writer>,
    before: Timestamp,
    policy: Abandoned,
) -> Result<u64, StoreError> {
    let mut closed = 0;
    loop {
        let statement =
            Statement::new("SELECT account, id, amount FROM tollgate_charges WHERE closed_at IS NULL");
        let statement = statement.push_value(" AND opened_at < ", before);
        let statement = statement.push_value(" ORDER BY opened_at LIMIT ", i64::from(AT_ONCE));
        let found = database.reader().await?.rows(statement).await?;
        let mut work = tokio::task::JoinSet::new();
        for row in &found {
            let (writer, ask) = (Arc::clone(writer), close(row, policy)?);
            work.spawn(async move { Writer::submit(&writer, ask).await });
        }
        while let Some(done) = work.join_next().await {
            let answer = done.map_err(|error| StoreError::unavailable(error.to_string()))??;
            closed += u64::from(matches!(answer, Answer::Closed(true)));
        }
        if found.len() < usize::from(AT_ONCE) {
            return Ok(closed);
        }
    }
}

fn close(row: &Row, policy: Abandoned) -> Result<Ask, StoreError> {
    let (cost, kind): (Credits, fn(_) -> _) = match policy {
        Abandoned::Refund => (Credits::ZERO, EntryKind::Refund),
        Abandoned::Settle => (rows::credits(row.int(2)?)?, EntryKind::Settlement),
    };
    let (account, id) = (row.text(0)?.into(), rows::charge_id(row, 1)?);
    let at = SystemClock::new().now().wall();
    Ok(Ask::Close(Close { id, account, cost, kind, bars: false, abandoned: true, at }))
}

pub(super) async fn forget_closed(database: &Database, before: Timestamp) -> Result<u64, StoreError> {
    let mut forgotten = 0;
    loop {
        let statement = Statement::new(
            "DELETE FROM tollgate_charges WHERE (account, id) IN \
             (SELECT account, id FROM tollgate_charges WHERE closed_at IS NOT NULL AND closed_at < $1 LIMIT $2)",
        );
        let statement = statement.with(before).with(i64::from(AT_ONCE));
        let now = database.writer().await?.execute(statement).await?;
        forgotten += now;
        if now < u64::from(AT_ONCE) {
            return Ok(forgotten);
        }
    }
}

/// Removes an account's balance, entries, charges and adjustments; says whether there was a balance.
pub(super) async fn erase(database: &Database, account: &AccountId) -> Result<bool, StoreError> {
    let mut session = database.transaction().await?;
    // The balance is the lock: whoever works on the account has ended, or begins when all is gone.
    let statement = Statement::new("SELECT entries, due FROM tollgate_balances");
    let statement = statement.push_value(" WHERE account = ", account).push(session.lock());
    let Some(row) = session.row(statement).await? else {
        session.roll_back().await?;
        return Ok(false);
    };
    // A row that does nothing but bar a charge is no balance.
    let there = row.int(0)? > 0 || row.maybe_int(1)?.is_some();
    for table in ["balances", "charges", "entries", "adjustments"] {
        let statement =
            Statement::new("DELETE FROM tollgate_").push(table).push_value(" WHERE account = ", account);
        session.execute(statement).await?;
    }
    session.commit().await?;
    Ok(there)
}
