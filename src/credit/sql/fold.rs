//! Folding of old entries into one entry for each bucket of an account.

use crate::clock::Timestamp;
use crate::credit::fold::{OldEntry, kept};
use crate::error::StoreError;
use crate::name::AccountId;
use crate::sql::{Database, Statement, retried};

/// The number of accounts that are examined in one statement.
const ACCOUNTS: u16 = 256;

/// The number of entries that are folded in one transaction. Other transactions can run between two of them.
const ENTRIES: u16 = 2_048;

pub(super) async fn forget_entries(database: &Database, before: Timestamp) -> Result<u64, StoreError> {
    let (mut gone, mut after) = (0, String::new());
    loop {
        // An account whose second entry is not old has nothing to fold.
        let statement = Statement::new(
            "SELECT b.account, (SELECT e.at FROM tollgate_entries e WHERE e.account = b.account \
             ORDER BY e.number LIMIT 1 OFFSET 1) FROM tollgate_balances b",
        );
        let statement = statement.push_value(" WHERE b.account > ", after.as_str());
        let statement = statement.push_value(" ORDER BY b.account LIMIT ", i64::from(ACCOUNTS));
        let page = database.reader().await?.rows(statement).await?;
        for row in &page {
            if row.maybe_int(1)?.is_some_and(|second| second < before.as_millis()) {
                gone += fold(database, &row.text(0)?.into(), before).await?;
            }
        }
        match page.last() {
            Some(last) if page.len() == usize::from(ACCOUNTS) => last.text(0)?.clone_into(&mut after),
            _ => break,
        }
    }
    if gone > 0 {
        database.wipe().await;
    }
    Ok(gone)
}

async fn fold(database: &Database, account: &AccountId, before: Timestamp) -> Result<u64, StoreError> {
    let mut gone = 0;
    loop {
        let now = retried(|| fold_some(database, account, before)).await?;
        gone += now;
        if now == 0 {
            return Ok(gone);
        }
    }
}

/// Folds the oldest entries of an account, up to [`ENTRIES`] of them.
///
/// Returns the number of removed entries.
async fn fold_some(database: &Database, account: &AccountId, before: Timestamp) -> Result<u64, StoreError> {
    let mut session = database.transaction().await?;
    // The balance row is the lock: no two folds run at once, and no other transaction erases the account during a fold.
    let statement = Statement::new("SELECT 1 FROM tollgate_balances");
    let lock = session.lock();
    session.rows(statement.push_value(" WHERE account = ", account).push(lock)).await?;
    let statement = Statement::new(
        "SELECT number, at, bucket, coalesce(rest, balance, 0), balance FROM tollgate_entries",
    );
    let statement = statement.push_value(" WHERE account = ", account);
    let statement = statement.push_value(" ORDER BY number LIMIT ", i64::from(ENTRIES));
    let mut old = Vec::new();
    for row in session.rows(statement).await? {
        if row.int(1)? >= before.as_millis() {
            break;
        }
        let bucket = row.maybe_text(2)?.map(str::to_owned);
        old.push(OldEntry { number: row.int(0)?, bucket, left: row.int(3)?, balance: row.maybe_int(4)? });
    }
    let kept = kept(&old);
    let Some(last) = kept.last().filter(|_| kept.len() < old.len()) else {
        session.roll_back().await?;
        return Ok(0);
    };
    let statement = Statement::new("DELETE FROM tollgate_entries").push_value(" WHERE account = ", account);
    let statement = statement.push_value(" AND number < ", last.number).push(" AND number NOT IN ");
    let gone = session.execute(statement.push_list(kept.iter().map(|kept| kept.number))).await?;
    let statement = Statement::new(
        "UPDATE tollgate_entries SET kind = 'folded', charge = NULL, adjustment = NULL, amount = v.column2, \
         balance = v.column3 FROM ",
    );
    let rows = kept.iter().map(|kept| [kept.number.into(), kept.amount.into(), kept.balance.into()]);
    let statement = statement.push_table(rows).push_value(" WHERE tollgate_entries.account = ", account);
    session.execute(statement.push(" AND tollgate_entries.number = v.column1")).await?;
    session.commit().await?;
    Ok(gone)
}
