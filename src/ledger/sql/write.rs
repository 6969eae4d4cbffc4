//! What a batch has changed, written down.

use super::batch::Batch;
use super::rows;
use crate::sql::{Session, Statement, Value, pieces};
use crate::{Entry, StoreError};

/// How many rows go into one statement.
const AT_ONCE: usize = 128;

/// Writes a batch down; says whether it still holds: another node may have been faster, and then nothing may stay.
pub(super) async fn batch(session: &mut Session, batch: &Batch) -> Result<bool, StoreError> {
    if !balances(session, batch).await? {
        return Ok(false);
    }
    for piece in pieces(&batch.entries, AT_ONCE) {
        let statement = Statement::new(
            "INSERT INTO tollgate_entries (account, number, at, kind, charge, adjustment, amount, balance) VALUES ",
        );
        let rows = piece.iter().map(|(account, entry)| entry_row(Value::from(account), entry));
        session.execute(statement.push_rows(rows)).await?;
    }
    let charges: Vec<_> = batch.charges.iter().filter(|(_, taken)| taken.changed).collect();
    for piece in pieces(&charges, AT_ONCE) {
        // The times are the database's own: those of nodes may differ, and housekeeping goes by them.
        let statement = Statement::new(
            "INSERT INTO tollgate_charges (account, id, amount, opened_at, closed_at, committed) \
             SELECT v.column1, v.column2, v.column3, ",
        );
        let statement = statement.push(session.now()).push(", CASE WHEN v.column4 = 1 THEN ");
        let statement = statement.push(session.now()).push(" END, v.column5 FROM (VALUES ");
        let rows = piece.iter().map(|((account, id), taken)| {
            [
                account.into(),
                (*id).into(),
                taken.amount.into(),
                i64::from(taken.closed).into(),
                taken.committed.into(),
            ]
        });
        let closed = ") AS v WHERE TRUE ON CONFLICT (account, id) DO UPDATE SET closed_at = excluded.closed_at, \
                      committed = excluded.committed";
        session.execute(statement.push_rows(rows).push(closed)).await?;
    }
    for piece in pieces(&batch.adjusted, AT_ONCE) {
        let statement =
            Statement::new("INSERT INTO tollgate_adjustments (account, id, kind, amount, balance) VALUES ");
        let rows = piece.iter().filter_map(|key| {
            let (made, balance) = batch.adjustments.get(key)?;
            let (kind, amount) = rows::written(*made);
            Some([(&key.0).into(), key.1.as_str().into(), kind.into(), amount, (*balance).into()])
        });
        session.execute(statement.push_rows(rows)).await?;
    }
    Ok(true)
}

/// The update that decides: it changes the balances whose version is the one that was read, and only if it has changed them
/// all, what was decided holds.
async fn balances(session: &mut Session, batch: &Batch) -> Result<bool, StoreError> {
    let changed = batch.purses.iter().filter(|(_, purse)| purse.changed);
    let (mut there, mut new) = (Vec::new(), Vec::new());
    for (account, purse) in changed {
        let (standing, number) = (&purse.standing, purse.number.cast_signed());
        let row = |version: i64| {
            [
                Value::from(account),
                version.into(),
                standing.balance.into(),
                standing.held.into(),
                i64::from(standing.unlimited).into(),
                standing.due.into(),
                standing.seen.into(),
                number.into(),
                standing.lent.into(),
            ]
        };
        match purse.version {
            Some(version) => there.push(row(version)),
            // A balance that begins anew does not begin at a version that was there before.
            None => new.push(row((crate::credit::random() >> 2).cast_signed())),
        }
    }
    for piece in pieces(&there, AT_ONCE) {
        let statement = Statement::new(
            "UPDATE tollgate_balances SET version = version + 1, balance = v.column3, held = v.column4, \
             unlimited = v.column5, due = v.column6, seen = v.column7, entries = v.column8, \
             lent = v.column9 FROM (VALUES ",
        );
        let statement = statement.push_rows(piece.iter().cloned());
        let statement = statement.push(
            ") AS v WHERE tollgate_balances.account = v.column1 AND tollgate_balances.version = v.column2",
        );
        if session.execute(statement).await? != piece.len() as u64 {
            return Ok(false);
        }
    }
    for piece in pieces(&new, AT_ONCE) {
        let statement = Statement::new(
            "INSERT INTO tollgate_balances (account, version, balance, held, unlimited, due, seen, entries, lent) VALUES ",
        );
        let statement = statement.push_rows(piece.iter().cloned()).push(" ON CONFLICT DO NOTHING");
        if session.execute(statement).await? != piece.len() as u64 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn entry_row(account: Value, entry: &Entry) -> [Value; 8] {
    let charge = entry.kind.charge().map(crate::ChargeId::to_bytes);
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
    ]
}
