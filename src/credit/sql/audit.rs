//! The audit: recomputes balances from their entries.

use std::time::Duration;

use crate::error::StoreError;
use crate::name::AccountId;
use crate::sql::{Database, Row, Statement};

/// The number of accounts that are recomputed in one statement.
const AT_ONCE: u16 = 64;

/// The maximum duration of one audit statement: an account may have many entries.
const PATIENCE: Duration = Duration::from_mins(10);

/// An account whose stored balance or whose stored sum of open charges differs from the recomputed value, or whose
/// entries are inconsistent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disagreement {
    /// The account.
    pub account: AccountId,
    /// The stored balance; zero if there is no limit.
    pub balance: i64,
    /// The sum of the entries.
    pub entries: i64,
    /// The stored sum of the open charges.
    pub held: i64,
    /// The recomputed sum of the open charges.
    pub open: i64,
    /// The number of entries that are missing or do not follow from the previous entry.
    pub broken: i64,
}

pub(super) async fn audit(database: &Database) -> Result<Vec<Disagreement>, StoreError> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let mut session = database.patient_reader(PATIENCE).await?;
        let rows = session.rows(page(&after)).await?;
        session.roll_back().await?;
        for row in &rows {
            found.extend(judged(row)?);
        }
        match rows.last() {
            Some(last) if rows.len() == usize::from(AT_ONCE) => last.text(0)?.clone_into(&mut after),
            _ => return Ok(found),
        }
    }
}

/// Builds the query for one page of accounts, as one statement, so that everything is read as of one moment.
fn page(after: &str) -> Statement {
    let statement = Statement::new(
        "WITH page AS (SELECT account, balance, held, entries FROM tollgate_balances \
         WHERE account > $1 ORDER BY account LIMIT $2), \
         steps AS (SELECT e.account, e.number, e.kind, e.amount, coalesce(e.balance, 0) AS told, \
         sum(e.amount) OVER (PARTITION BY e.account ORDER BY e.number) AS summed \
         FROM page p JOIN tollgate_entries e ON e.account = p.account), \
         sums AS (SELECT account, CAST(sum(amount) AS BIGINT) AS moved, count(*) AS written, max(number) AS last, \
         coalesce(max(CASE WHEN kind = 'folded' THEN number - 1 END), 0) AS folded, \
         sum(CASE WHEN told = summed THEN 0 ELSE 1 END) AS wrong FROM steps GROUP BY account), \
         opens AS (SELECT c.account, CAST(sum(c.amount) AS BIGINT) AS held FROM page p \
         JOIN tollgate_charges c ON c.account = p.account WHERE c.closed_at IS NULL GROUP BY c.account) \
         SELECT p.account, p.balance, coalesce(s.moved, 0), p.held, coalesce(o.held, 0), \
         abs(p.entries - coalesce(s.folded + s.written, 0)) + abs(p.entries - coalesce(s.last, 0)) + coalesce(s.wrong, 0) \
         FROM page p LEFT JOIN sums s ON s.account = p.account LEFT JOIN opens o ON o.account = p.account \
         ORDER BY p.account",
    );
    statement.with(after).with(i64::from(AT_ONCE))
}

fn judged(row: &Row) -> Result<Option<Disagreement>, StoreError> {
    let sums = Disagreement {
        account: row.text(0)?.into(),
        balance: row.int(1)?,
        entries: row.int(2)?,
        held: row.int(3)?,
        open: row.int(4)?,
        broken: row.int(5)?,
    };
    let right = sums.balance == sums.entries && sums.held == sums.open && sums.broken == 0;
    Ok((!right).then_some(sums))
}
