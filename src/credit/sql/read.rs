//! Database reads: the rows for a batch, and the reads of the write side.

use std::collections::BTreeSet;

use super::rows;
use crate::credit::decide::{AccountState, Ask, Batch, ChargeRow};
use crate::credit::model::Model;
use crate::credit::{Entry, EntryQuery};
use crate::error::StoreError;
use crate::key::KeyId;
use crate::name::AccountId;
use crate::sql::{Database, Row, Session, Statement, Value};

/// Reads all rows that the calls are about, and locks their balances.
pub(super) async fn batch(session: &mut Session, asks: &[&Ask]) -> Result<Batch, StoreError> {
    let mut batch = Batch::default();
    let accounts: BTreeSet<&str> = asks.iter().map(|ask| ask.account().as_str()).collect();
    let statement = Statement::new("SELECT ")
        .push(rows::BALANCE_SCRIPT)
        .push(" FROM tollgate_balances WHERE account IN ");
    // All nodes take the locks in the same order, which prevents deadlocks.
    let statement = statement.push_list(accounts).push(" ORDER BY account").push(session.lock());
    for row in session.rows(statement).await? {
        if let Some((account, account_state)) = batch.readable(&row, rows::account_state)? {
            batch.account_states.insert(account, account_state);
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
            batch.read_charge(&row)?;
        }
    }
    let recalled: BTreeSet<&str> =
        asks.iter().filter(|ask| ask.recalls()).map(|ask| ask.account().as_str()).collect();
    if !recalled.is_empty() {
        let statement = Statement::new("SELECT ").push(rows::TAKEN).push(
            " FROM tollgate_charges c WHERE c.closed_at IS NULL AND c.committed IS NOT NULL AND c.account IN ",
        );
        for row in session.rows(statement.push_list(recalled)).await? {
            batch.read_charge(&row)?;
        }
    }
    budgets(session, asks, &mut batch).await?;
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

/// Reads the budgets that the calls draw from, and those of the charges that they are about.
async fn budgets(session: &mut Session, asks: &[&Ask], batch: &mut Batch) -> Result<(), StoreError> {
    let drawn = asks.iter().filter_map(|ask| Some((ask.account().clone(), ask.budget()?)));
    let open = batch.charges.iter().filter(|(_, taken)| !taken.closed);
    let open = open.filter_map(|((account, _), taken)| Some((account.clone(), taken.budget?.0)));
    let keys: BTreeSet<(AccountId, KeyId)> = drawn.chain(open).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let keys =
        keys.iter().map(|(account, key)| [Value::from(account), Value::from(key.as_bytes())]).collect();
    let statement = Statement::new("SELECT ").push(rows::BUDGET).push(" FROM (VALUES ");
    let statement = statement.push_rows(drawn_out(keys));
    let statement =
        statement.push(") AS v JOIN tollgate_budgets b ON b.account = v.column1 AND b.key = v.column2");
    let mut known = BTreeSet::new();
    for row in session.rows(statement).await? {
        if let Some((account, (key, stored))) = batch.readable(&row, rows::budget)?
            && known.insert((account.clone(), key))
        {
            batch.account_state(&account).model.budgets().restore(key, &stored);
        }
    }
    let open = batch.charges.iter().filter(|(_, taken)| !taken.closed);
    let shares: Vec<_> =
        open.filter_map(|((account, id), taken)| Some((account.clone(), *id, taken.budget?))).collect();
    for (account, id, (key, turn)) in shares {
        batch.account_state(&account).model.budgets().restore_share(id, key, turn);
    }
    Ok(())
}

impl Batch {
    /// Reads a charge, and gives its draws to the account's credits.
    fn read_charge(&mut self, row: &Row) -> Result<(), StoreError> {
        let Some((account, stored)) = self.readable(row, rows::taken)? else { return Ok(()) };
        let key = (account.clone(), stored.id);
        if self.charges.contains_key(&key) {
            return Ok(());
        }
        let model = &mut self.account_state(&account).model;
        let (amount, has_budget) = (stored.amount.get(), stored.budget.is_some());
        match model.restore_draws(stored.id, amount, stored.draws.as_deref(), has_budget) {
            Err(error) => _ = self.unreadable.insert(account, error),
            Ok(draws) => {
                let row = ChargeRow {
                    draws,
                    stored_draws: stored.draws,
                    budget: stored.budget,
                    closed: stored.closed,
                    committed: stored.committed,
                    changed: false,
                };
                self.charges.insert(key, row);
            }
        }
        Ok(())
    }

    /// Reads a row, whose first column is the account.
    ///
    /// A row that cannot be read fails the calls about this account. It does not affect other calls of the same batch.
    fn readable<T>(
        &mut self,
        row: &Row,
        read: impl FnOnce(&Row) -> Result<T, StoreError>,
    ) -> Result<Option<(AccountId, T)>, StoreError> {
        let account = AccountId::from(row.text(0)?);
        Ok(match read(row) {
            Ok(state) => Some((account, state)),
            Err(error) => {
                self.unreadable.insert(account, error);
                None
            }
        })
    }
}

/// Pads rows to a power of two by repeating the last one, so that the database sees only a few different statement
/// texts.
fn drawn_out<const N: usize>(mut rows: Vec<[Value; N]>) -> Vec<[Value; N]> {
    if let Some(last) = rows.last().cloned() {
        rows.resize(rows.len().next_power_of_two(), last);
    }
    rows
}

/// Reads the credits of an account in one currency.
pub(super) async fn credits_of(database: &Database, key: &AccountId) -> Result<Model, StoreError> {
    let statement = Statement::new("SELECT ").push(rows::BALANCE_SCRIPT).push(" FROM tollgate_balances");
    let statement = statement.push_value(" WHERE account = ", key);
    let row = database.reader().await?.row(statement).await?;
    let account_state = row.map_or_else(|| Ok(AccountState::new()), |row| rows::account_state(&row))?;
    Ok(account_state.model)
}

/// Reads the credits of an account in one currency with nothing but the budget of a key.
pub(super) async fn budget_of(
    database: &Database,
    account: &AccountId,
    key: KeyId,
) -> Result<Model, StoreError> {
    let statement = Statement::new("SELECT ").push(rows::BUDGET).push(" FROM tollgate_budgets b");
    let statement = statement.push_value(" WHERE b.account = ", account);
    let statement = statement.push_value(" AND b.key = ", key.as_bytes());
    let mut model = Model::new();
    if let Some(row) = database.reader().await?.row(statement).await? {
        let (key, stored) = rows::budget(&row)?;
        model.budgets().restore(key, &stored);
    }
    Ok(model)
}

pub(super) async fn entries(database: &Database, query: &EntryQuery) -> Result<Vec<Entry>, StoreError> {
    let key = rows::key(&query.account, &query.currency)?;
    let statement = Statement::new("SELECT ").push(rows::ENTRY).push(" FROM tollgate_entries");
    let before = query.before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let statement = statement.push_value(" WHERE account = ", &key);
    let statement = statement.push_value(" AND number < ", before);
    let statement = statement.push_value(" ORDER BY number DESC LIMIT ", limit);
    database.reader().await?.rows(statement).await?.iter().map(rows::entry).collect()
}
