//! What is read: for a batch, and for those who ask.

use std::collections::BTreeSet;

use super::ask::Ask;
use super::batch::{Batch, Purse};
use super::rows;
use crate::account::Allowance;
use crate::clock::Timestamp;
use crate::credit::{Balance, Entry, EntryQuery};
use crate::error::StoreError;
use crate::name::AccountId;
use crate::sql::{Database, Row, Session, Statement, Value};

/// Reads all that is asked about, and locks its balances.
pub(super) async fn batch(session: &mut Session, asks: &[&Ask]) -> Result<Batch, StoreError> {
    let mut batch = Batch::default();
    let accounts: BTreeSet<&str> = asks.iter().map(|ask| ask.account().as_str()).collect();
    let statement =
        Statement::new("SELECT ").push(rows::PURSE).push(" FROM tollgate_balances WHERE account IN ");
    // All nodes take the locks in the same order, so that none waits for one that waits for it.
    let statement = statement.push_list(accounts).push(" ORDER BY account").push(session.lock());
    for row in session.rows(statement).await? {
        if let Some((account, purse)) = batch.readable(&row, rows::purse)? {
            batch.purses.insert(account, purse);
        }
    }
    let charges: Vec<_> = asks
        .iter()
        .filter_map(|ask| Some([Value::from(ask.account()), Value::from(ask.charge()?)]))
        .collect();
    if !charges.is_empty() {
        let statement = Statement::new("SELECT ").push(rows::TAKEN).push(" FROM (VALUES ");
        let statement = statement.push_rows(drawn_out(charges));
        let statement =
            statement.push(") AS v JOIN tollgate_charges c ON c.account = v.column1 AND c.id = v.column2");
        for row in session.rows(statement).await? {
            if let Some((account, (id, taken))) = batch.readable(&row, rows::taken)? {
                batch.charges.insert((account, id), taken);
            }
        }
    }
    let recalled: BTreeSet<&str> =
        asks.iter().filter(|ask| ask.recalls()).map(|ask| ask.account().as_str()).collect();
    if !recalled.is_empty() {
        let statement = Statement::new("SELECT ").push(rows::TAKEN).push(
            " FROM tollgate_charges c WHERE c.closed_at IS NULL AND c.committed IS NOT NULL AND c.account IN ",
        );
        for row in session.rows(statement.push_list(recalled)).await? {
            if let Some((account, (id, taken))) = batch.readable(&row, rows::taken)? {
                batch.charges.insert((account, id), taken);
            }
        }
    }
    let adjustments: Vec<_> = asks
        .iter()
        .filter_map(|ask| Some([Value::from(ask.account()), Value::from(ask.adjustment()?.as_str())]))
        .collect();
    if !adjustments.is_empty() {
        let statement = Statement::new("SELECT ").push(rows::MADE).push(" FROM (VALUES ");
        let statement = statement.push_rows(drawn_out(adjustments));
        let statement = statement
            .push(") AS v JOIN tollgate_adjustments a ON a.account = v.column1 AND a.id = v.column2");
        for row in session.rows(statement).await? {
            if let Some((account, (id, made))) = batch.readable(&row, rows::adjustment)? {
                batch.adjustments.insert((account, id), made);
            }
        }
    }
    Ok(batch)
}

impl Batch {
    /// What a row says of the account that it names first. What cannot be read fails what is asked of this account, and nothing
    /// else that is decided together with it.
    fn readable<T>(
        &mut self,
        row: &Row,
        read: impl FnOnce(&Row) -> Result<T, StoreError>,
    ) -> Result<Option<(AccountId, T)>, StoreError> {
        let account = AccountId::from(row.text(0)?);
        Ok(match read(row) {
            Ok(told) => Some((account, told)),
            Err(error) => {
                self.unreadable.insert(account, error);
                None
            }
        })
    }
}

/// Rows drawn out to a power of two by the last one, so that the database gets to see few texts.
fn drawn_out<const N: usize>(mut rows: Vec<[Value; N]>) -> Vec<[Value; N]> {
    if let Some(last) = rows.last().cloned() {
        rows.resize(rows.len().next_power_of_two(), last);
    }
    rows
}

pub(super) async fn balance_of(
    database: &Database,
    account: &AccountId,
    allowance: &Allowance,
    now: Timestamp,
) -> Result<Balance, StoreError> {
    let statement = Statement::new("SELECT ").push(rows::PURSE).push(" FROM tollgate_balances");
    let statement = statement.push_value(" WHERE account = ", account);
    let row = database.reader().await?.row(statement).await?;
    let purse = row.map_or_else(|| Ok(Purse::new()), |row| rows::purse(&row))?;
    Ok(purse.standing.balance_at(allowance, now))
}

pub(super) async fn entries(database: &Database, query: &EntryQuery) -> Result<Vec<Entry>, StoreError> {
    let statement =
        Statement::new("SELECT number, at, kind, charge, adjustment, amount, balance FROM tollgate_entries");
    let before = query.before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let statement = statement.push_value(" WHERE account = ", &query.account);
    let statement = statement.push_value(" AND number < ", before);
    let statement = statement.push_value(" ORDER BY number DESC LIMIT ", limit);
    database.reader().await?.rows(statement).await?.iter().map(rows::entry).collect()
}
