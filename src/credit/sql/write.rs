//! Database writes: the changes of a batch.

use std::collections::BTreeSet;

use super::rows;
use crate::credit::decide::Batch;
use crate::credit::{BucketId, Entry};
use crate::error::StoreError;
use crate::name::AccountId;
use crate::sql::{Session, Statement, Value, pieces};

/// The maximum number of rows in one statement.
const AT_ONCE: usize = 512;

/// The condition that leaves out the rows that pad a table.
const THERE: &str = " WHERE v.column1 IS NOT NULL";

/// Writes the changes of a batch.
///
/// Returns true if the decisions are still valid. If another node was faster, it returns false, and the transaction
/// must be rolled back.
pub(super) async fn batch(session: &mut Session, batch: &Batch) -> Result<bool, StoreError> {
    if !balances(session, batch).await? {
        return Ok(false);
    }
    entries(session, batch).await?;
    charges(session, batch).await?;
    budgets(session, batch).await?;
    adjustments(session, batch).await?;
    Ok(true)
}

async fn entries(session: &mut Session, batch: &Batch) -> Result<(), StoreError> {
    let mut entries: Vec<_> = batch.entries.iter().collect();
    // Inserts in the table's own order are faster. The entries of an account are already in order.
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    for piece in entries.chunks(AT_ONCE) {
        let statement = Statement::new(
            "INSERT INTO tollgate_entries (account, number, at, kind, charge, adjustment, amount, balance, bucket, rest) \
             SELECT v.column1, v.column2, v.column3, v.column4, v.column5, v.column6, v.column7, v.column8, v.column9, \
             v.column10 FROM ",
        );
        let rows = piece.iter().map(|(account, entry)| entry_row(Value::from(account), entry));
        session.execute(statement.push_table(rows).push(THERE)).await?;
    }
    Ok(())
}

async fn charges(session: &mut Session, batch: &Batch) -> Result<(), StoreError> {
    let mut charges: Vec<_> = batch.charges.iter().filter(|(_, taken)| taken.changed).collect();
    charges.sort_unstable_by(|((account, id), _), ((other, behind), _)| {
        account.cmp(other).then_with(|| id.to_bytes().cmp(&behind.to_bytes()))
    });
    for piece in charges.chunks(AT_ONCE) {
        // Use the database's own time: the clocks of nodes may differ, and housekeeping depends on these times.
        let statement = Statement::new(
            "INSERT INTO tollgate_charges (account, id, amount, opened_at, closed_at, committed, draws, budget, turn) \
             SELECT v.column1, v.column2, v.column3, ",
        );
        let statement = statement.push(session.now()).push(", CASE WHEN v.column4 = 1 THEN ");
        let statement =
            statement.push(session.now()).push(" END, v.column5, v.column6, v.column7, v.column8 FROM ");
        let rows = piece.iter().map(|((account, id), taken)| {
            let (key, turn) = taken.budget.unzip();
            [
                account.into(),
                (*id).into(),
                taken.draws.amount.cast_signed().into(),
                i64::from(taken.closed).into(),
                taken.committed.into(),
                taken.stored_draws.clone().into(),
                key.map(|key| *key.as_bytes()).into(),
                turn.map(i64::from).into(),
            ]
        });
        let closed = " ON CONFLICT (account, id) DO UPDATE SET closed_at = excluded.closed_at, \
                      committed = excluded.committed";
        session.execute(statement.push_table(rows).push(THERE).push(closed)).await?;
    }
    Ok(())
}

async fn budgets(session: &mut Session, batch: &Batch) -> Result<(), StoreError> {
    let accounts: BTreeSet<&AccountId> = batch.budgets.iter().collect();
    let accounts =
        accounts.into_iter().filter_map(|account| Some((account, batch.account_states.get(account)?)));
    let budgets: Vec<_> = accounts
        .flat_map(|(account, state)| {
            state.model.budgets_to_store().map(move |(key, stored)| (account, key, stored))
        })
        .collect();
    for piece in budgets.chunks(AT_ONCE) {
        let statement = Statement::new(
            "INSERT INTO tollgate_budgets (account, key, spent, turn, opened, due, period, again, floor, idle_from, moved) \
             SELECT v.column1, v.column2, v.column3, v.column4, v.column5, v.column6, v.column7, v.column8, v.column9, \
             v.column10, v.column11 FROM ",
        );
        let rows = piece.iter().map(|(account, key, stored)| {
            [
                Value::from(*account),
                key.as_bytes().into(),
                stored.spent.cast_signed().into(),
                i64::from(stored.turn).into(),
                i64::from(stored.open).into(),
                stored.due.at.into(),
                stored.due.period.into(),
                stored.due.again.into(),
                stored.due.floor.map(|floor| floor.at).into(),
                stored.idle_from.into(),
                stored.due.floor.map(|floor| i64::from(floor.moved)).into(),
            ]
        });
        let known = " ON CONFLICT (account, key) DO UPDATE SET spent = excluded.spent, turn = excluded.turn, \
                     opened = excluded.opened, due = excluded.due, period = excluded.period, \
                     again = excluded.again, floor = excluded.floor, idle_from = excluded.idle_from, \
                     moved = excluded.moved";
        session.execute(statement.push_table(rows).push(THERE).push(known)).await?;
    }
    Ok(())
}

async fn adjustments(session: &mut Session, batch: &Batch) -> Result<(), StoreError> {
    for piece in pieces(&batch.adjusted, AT_ONCE) {
        let statement = Statement::new(
            "INSERT INTO tollgate_adjustments (account, id, kind, amount, terms, balance) VALUES ",
        );
        let rows = piece.iter().filter_map(|key| {
            let (made, balance) = batch.adjustments.get(key)?;
            let [kind, amount, terms] = rows::written(made);
            Some([(&key.0).into(), key.1.as_str().into(), kind, amount, terms, (*balance).into()])
        });
        session.execute(statement.push_rows(rows)).await?;
    }
    Ok(())
}

/// Writes the changed balances, which decides whether the batch is valid.
///
/// The update changes only balances whose version is the one that was read. Returns true if all of them were changed:
/// only then are the decisions valid.
async fn balances(session: &mut Session, batch: &Batch) -> Result<bool, StoreError> {
    let changed = batch.account_states.iter().filter(|(_, account_state)| account_state.changed);
    let (mut there, mut new) = (Vec::new(), Vec::new());
    for (account, account_state) in changed {
        let (model, number) = (&account_state.model, account_state.number.cast_signed());
        let (numbers, buckets) = (model.stored_numbers(), model.stored_buckets());
        let floor = numbers.due.and_then(|due| due.floor);
        let row = |version: i64| {
            [
                Value::from(account),
                version.into(),
                numbers.balance.cast_signed().into(),
                numbers.open.cast_signed().into(),
                i64::from(numbers.unlimited).into(),
                numbers.due.map(|due| due.at).into(),
                numbers.seen.into(),
                number.into(),
                numbers.lent.cast_signed().into(),
                numbers.due.map_or(0, |due| due.period).into(),
                numbers.due.and_then(|due| due.again).into(),
                floor.map(|floor| floor.at).into(),
                buckets.as_str().into(),
                numbers.beside.into(),
                floor.map(|floor| i64::from(floor.moved)).into(),
            ]
        };
        match account_state.version {
            Some(version) => there.push(row(version)),
            // A balance that is created anew must not start at a version that it had before.
            None => new.push(row((crate::amount::random() >> 2).cast_signed())),
        }
    }
    for piece in there.chunks(AT_ONCE) {
        let statement = Statement::new(
            "UPDATE tollgate_balances SET version = version + 1, balance = v.column3, held = v.column4, \
             unlimited = v.column5, due = v.column6, seen = v.column7, entries = v.column8, \
             lent = v.column9, period = v.column10, again = v.column11, floor = v.column12, buckets = v.column13, \
             beside = v.column14, moved = v.column15 FROM ",
        );
        let statement = statement.push_table(piece.iter().cloned());
        let statement = statement
            .push(" WHERE tollgate_balances.account = v.column1 AND tollgate_balances.version = v.column2");
        if session.execute(statement).await? != piece.len() as u64 {
            return Ok(false);
        }
    }
    for piece in new.chunks(AT_ONCE) {
        let statement = Statement::new(
            "INSERT INTO tollgate_balances \
             (account, version, balance, held, unlimited, due, seen, entries, lent, period, again, floor, buckets, beside, moved) \
             SELECT v.column1, v.column2, v.column3, v.column4, v.column5, v.column6, v.column7, v.column8, v.column9, \
             v.column10, v.column11, v.column12, v.column13, v.column14, v.column15 FROM ",
        );
        let statement =
            statement.push_table(piece.iter().cloned()).push(THERE).push(" ON CONFLICT DO NOTHING");
        if session.execute(statement).await? != piece.len() as u64 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn entry_row(account: Value, entry: &Entry) -> [Value; 10] {
    let charge = entry.kind.charge().map(crate::amount::ChargeId::to_bytes);
    let adjustment = entry.kind.adjustment().map(|id| id.as_str().to_owned());
    [
        account,
        entry.number.cast_signed().into(),
        entry.at.into(),
        entry.kind.name().into(),
        charge.into(),
        adjustment.into(),
        entry.amount.into(),
        entry.balance.into(),
        (entry.bucket != BucketId::Main).then(|| entry.bucket.stored()).into(),
        entry.left.into(),
    ]
}
