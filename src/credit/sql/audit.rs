//! The audit: recomputes balances from their entries.

use std::time::Duration;

use super::rows;
use crate::credit::Disagreement;
use crate::credit::model::Model;
use crate::error::StoreError;
use crate::sql::{Database, Row, Statement};

/// The number of accounts that are recomputed in one statement.
const AT_ONCE: u16 = 64;

/// The maximum duration of one audit statement: an account may have many entries.
const PATIENCE: Duration = Duration::from_mins(10);

pub(super) async fn audit(database: &Database) -> Result<Vec<Disagreement>, StoreError> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let mut session = database.patient_reader(PATIENCE).await?;
        let rows = session.rows(page(&after)).await?;
        session.roll_back().await?;
        let count = judge(&rows, &mut found)?;
        match rows.last() {
            Some(last) if count == usize::from(AT_ONCE) => last.text(0)?.clone_into(&mut after),
            _ => return Ok(found),
        }
    }
}

/// Builds the query for one page of accounts, as one statement, so that everything is read as of one moment. It returns a
/// row for each account, followed by a row for each of its buckets.
fn page(after: &str) -> Statement {
    let statement = Statement::new(
        "WITH page AS (SELECT account, balance, beside, held, entries, buckets FROM tollgate_balances \
         WHERE account > $1 ORDER BY account LIMIT $2), \
         steps AS (SELECT e.account, e.number, e.kind, e.amount, coalesce(e.bucket, 'main') AS bucket, \
         coalesce(e.balance, 0) AS told, sum(e.amount) OVER (PARTITION BY e.account ORDER BY e.number) AS summed, \
         CASE WHEN e.bucket = 'debt' THEN -1 ELSE 1 END * coalesce(e.rest, e.balance, 0) AS rest, \
         sum(e.amount) OVER (PARTITION BY e.account, coalesce(e.bucket, 'main') ORDER BY e.number) AS rests \
         FROM page p JOIN tollgate_entries e ON e.account = p.account), \
         sums AS (SELECT account, CAST(sum(amount) AS BIGINT) AS moved, max(number) AS last, \
         sum(CASE WHEN kind = 'folded' THEN 0 ELSE 1 END) AS written, \
         coalesce(max(CASE WHEN kind = 'folded' THEN number END), 0) AS folded, \
         sum(CASE WHEN told = summed AND rest = rests THEN 0 ELSE 1 END) AS wrong FROM steps GROUP BY account), \
         opens AS (SELECT c.account, CAST(sum(c.amount) AS BIGINT) AS held FROM page p \
         JOIN tollgate_charges c ON c.account = p.account \
         WHERE c.closed_at IS NULL AND coalesce(c.draws, '') <> '-' GROUP BY c.account) \
         SELECT p.account, CAST(0 AS BIGINT), p.balance + p.beside, coalesce(s.moved, 0), p.held, coalesce(o.held, 0), \
         abs(p.entries - coalesce(s.folded + s.written, 0)) + abs(p.entries - coalesce(s.last, 0)) \
         + coalesce(s.wrong, 0), p.buckets \
         FROM page p LEFT JOIN sums s ON s.account = p.account LEFT JOIN opens o ON o.account = p.account \
         UNION ALL SELECT account, CAST(1 AS BIGINT), 0, CAST(sum(amount) AS BIGINT), 0, 0, 0, bucket FROM steps \
         GROUP BY account, bucket ORDER BY 1, 2",
    );
    statement.with(after).with(i64::from(AT_ONCE))
}

/// Compares the accounts of a page. Returns their number.
fn judge(rows: &[Row], found: &mut Vec<Disagreement>) -> Result<usize, StoreError> {
    let (mut count, mut rows) = (0, rows.iter().peekable());
    while let Some(row) = rows.next() {
        count += 1;
        let (account, currency) = rows::parts(row.text(0)?)?;
        let mut sums = Disagreement {
            account,
            currency,
            balance: row.int(2)?,
            entries: row.int(3)?,
            held: row.int(4)?,
            open: row.int(5)?,
            broken: row.int(6)?,
            buckets: 0,
        };
        let mut stored = Model::stored_amounts(row.maybe_text(7)?, sums.balance)?;
        while let Some(bucket) = rows.next_if(|row| row.int(1).is_ok_and(|part| part == 1)) {
            let sum = bucket.int(3)?;
            sums.buckets += i64::from(stored.remove(bucket.text(7)?).unwrap_or(0) != sum);
        }
        sums.buckets += stored.values().map(|amount| i64::from(*amount != 0)).sum::<i64>();
        let agrees = sums.balance == sums.entries && sums.held == sums.open;
        if !agrees || sums.broken != 0 || sums.buckets != 0 {
            found.push(sums);
        }
    }
    Ok(count)
}
