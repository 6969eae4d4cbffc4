//! Crossings and waiting alerts in SQLite or PostgreSQL.

use std::fmt;
use std::time::Duration;

use crate::alert::{Alert, AlertId, AlertKind, AlertStore, Crossing, Delivery, WRONG_BY};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::name::AccountId;
use crate::sql::{Database, Row, Statement, Value, carried_through, retried};
use crate::trace;

/// A store of crossings and waiting alerts in a [`Database`], which the nodes of a fleet share.
///
/// A crossing and its alerts are written in one transaction. An alert survives the death of the process at any time
/// after that.
///
/// # Example
///
/// ```
/// use tollgate::GateBuilder;
/// use tollgate::alert::SqlAlertStore;
///
/// fn with_alerts(builder: GateBuilder, database: &tollgate::sql::Database) -> GateBuilder {
///     builder.alert_store(SqlAlertStore::new(database))
/// }
/// ```
#[derive(Clone)]
pub struct SqlAlertStore {
    database: Database,
}

impl SqlAlertStore {
    /// Creates a store in this database.
    pub fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }
}

/// The upsert changes no row if the crossing, or one of a later period, is remembered, unless its time is that of a wrong
/// clock.
const CLAIM: &str = "INSERT INTO tollgate_crossings (kind, subject, threshold, period, claimed_at, account) \
     VALUES ($1, $2, $3, $4, $5, $7) ON CONFLICT (kind, subject, threshold) \
     DO UPDATE SET period = excluded.period, claimed_at = excluded.claimed_at, account = excluded.account \
     WHERE tollgate_crossings.period < excluded.period OR tollgate_crossings.claimed_at > $6";

/// The number of deliveries that are forwarded in one transaction.
const FORWARDED_AT_ONCE: i64 = 100;

impl AlertStore for SqlAlertStore {
    fn claim(&self, crossing: &Crossing, alert: &Alert, sinks: &[String]) -> StoreFuture<bool> {
        let text = match serde_json::to_string(alert) {
            Ok(text) => text,
            Err(error) => return StoreFuture::failed(StoreError::rejected(error)),
        };
        let claim = named(CLAIM, crossing).with(crossing.period).with(alert.time.as_millis());
        let claim = claim.with(alert.time.saturating_add(WRONG_BY).as_millis());
        let account = alert.account.as_ref().map(AccountId::to_string);
        let claim = claim.with(account.clone());
        let id = alert.id.to_string();
        let rows: Vec<_> =
            sinks.iter().map(|sink| row(&id, sink, &text, account.as_deref(), alert.time)).collect();
        let database = self.database.clone();
        carried_through(async move {
            retried(|| async {
                let mut session = database.transaction().await?;
                let is_new = session.execute(claim.clone()).await? == 1;
                if is_new && !rows.is_empty() {
                    session.execute(Statement::new(INSERT).push_rows(rows.iter().cloned())).await?;
                }
                session.commit().await?;
                Ok(is_new)
            })
            .await
        })
    }

    fn release(&self, crossing: &Crossing) -> StoreFuture<bool> {
        let delete = "DELETE FROM tollgate_crossings \
                      WHERE kind = $1 AND subject = $2 AND threshold = $3 AND period <= $4";
        let (database, delete) = (self.database.clone(), named(delete, crossing).with(crossing.period));
        StoreFuture::boxed(async move { Ok(database.change(delete).await? > 0) })
    }

    fn claimed(
        &self,
        kind: AlertKind,
        since: Timestamp,
        limit: usize,
    ) -> StoreFuture<Vec<(Crossing, Timestamp)>> {
        let database = self.database.clone();
        let select = Statement::new(
            "SELECT kind, subject, threshold, period, claimed_at FROM tollgate_crossings \
             WHERE kind = $1 AND claimed_at >= $2 ORDER BY claimed_at LIMIT $3",
        );
        let select = select.with(kind.name()).with(since.as_millis());
        let select = select.with(i64::try_from(limit).unwrap_or(i64::MAX));
        StoreFuture::boxed(async move {
            database.reader().await?.rows(select).await?.iter().map(crossing).collect()
        })
    }

    fn forward(&self, from: &str, sinks: &[String], now: Timestamp) -> StoreFuture<u64> {
        if sinks.is_empty() {
            return StoreFuture::ready(0);
        }
        let (database, from, sinks) = (self.database.clone(), [from.to_owned()], sinks.to_vec());
        carried_through(async move {
            let mut forwarded = 0;
            // Usually there is nothing to forward. Then no transaction is needed.
            while database.reader().await?.row(due(Statement::default(), &from, now, 1)).await?.is_some() {
                let page = retried(|| forward_page(&database, &from, &sinks, now)).await?;
                if page == 0 {
                    break;
                }
                forwarded += page;
            }
            Ok(forwarded)
        })
    }

    fn take_due(
        &self,
        sinks: &[String],
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> StoreFuture<Vec<Delivery>> {
        let (database, sinks, limit) =
            (self.database.clone(), sinks.to_vec(), i64::try_from(limit).unwrap_or(i64::MAX));
        let leased = now.saturating_add(lease).as_millis();
        if sinks.is_empty() {
            return StoreFuture::ready(Vec::new());
        }
        let due = move |start: Statement| due(start, &sinks, now, limit);
        carried_through(async move {
            // Usually nothing is due. Then no transaction is needed.
            if database.reader().await?.row(due(Statement::default())).await?.is_none() {
                return Ok(Vec::new());
            }
            retried(|| async {
                let mut session = database.transaction().await?;
                let lock = if session.is_postgres() { " FOR UPDATE SKIP LOCKED" } else { "" };
                let take = Statement::new("UPDATE tollgate_alerts SET attempts = attempts + 1");
                let take = take.push_value(", due_at = ", leased).push(" WHERE (id, sink) IN (");
                let take = due(take).push(lock).push(") RETURNING alert, sink, attempts");
                let taken = session.rows(take).await?;
                session.commit().await?;
                Ok(taken.iter().filter_map(|row| delivery(row, now)).collect())
            })
            .await
        })
    }

    fn retry(&self, alert: AlertId, sink: &str, due: Timestamp) -> StoreFuture<()> {
        let set = Statement::new("UPDATE tollgate_alerts SET due_at = $1 WHERE id = $2 AND sink = $3");
        let set = set.with(due.as_millis()).with(alert.to_string()).with(sink);
        let database = self.database.clone();
        StoreFuture::boxed(async move { database.change(set).await.map(|_| ()) })
    }

    fn finish(&self, alert: AlertId, sink: &str) -> StoreFuture<()> {
        let delete = Statement::new("DELETE FROM tollgate_alerts WHERE id = $1 AND sink = $2");
        let (database, delete) = (self.database.clone(), delete.with(alert.to_string()).with(sink));
        StoreFuture::boxed(async move { database.change(delete).await.map(|_| ()) })
    }

    fn forget(&self, before: Timestamp, sinks: &[String]) -> StoreFuture<u64> {
        // The kinds lead to the index.
        let delete = Statement::new("DELETE FROM tollgate_crossings WHERE kind IN ");
        let delete = delete.push_list(AlertKind::ALL.map(AlertKind::name));
        let delete = delete.push_value(" AND claimed_at < ", before.as_millis());
        let unwanted = Statement::new("DELETE FROM tollgate_alerts");
        let unwanted = unwanted.push_value(" WHERE due_at < ", before.as_millis());
        let unwanted = match sinks {
            [] => unwanted,
            sinks => unwanted.push(" AND sink NOT IN ").push_list(sinks.iter().map(String::as_str)),
        };
        let database = self.database.clone();
        StoreFuture::boxed(async move {
            database.change(unwanted).await?;
            database.change(delete).await
        })
    }

    fn erase(&self, account: &AccountId) -> StoreFuture<bool> {
        let alerts = Statement::new("DELETE FROM tollgate_alerts WHERE account = $1").with(account.as_str());
        let crossings =
            Statement::new("DELETE FROM tollgate_crossings WHERE account = $1").with(account.as_str());
        let database = self.database.clone();
        StoreFuture::boxed(async move {
            let waiting = database.change(alerts).await?;
            Ok(database.change(crossings).await? + waiting > 0)
        })
    }
}

const INSERT: &str = "INSERT INTO tollgate_alerts (id, sink, alert, account, attempts, due_at) VALUES ";

/// Returns the row of a delivery that was not attempted yet.
fn row(id: &str, sink: &str, alert: &str, account: Option<&str>, due: Timestamp) -> [Value; 6] {
    [
        id.into(),
        sink.into(),
        alert.into(),
        account.map(str::to_owned).into(),
        0.into(),
        due.as_millis().into(),
    ]
}

/// Adds the query of the deliveries that are due for these sinks.
fn due(start: Statement, sinks: &[String], now: Timestamp, limit: i64) -> Statement {
    let wrong = now.saturating_add(WRONG_BY).as_millis();
    let due = start.push_value("SELECT id, sink FROM tollgate_alerts WHERE (due_at <= ", now.as_millis());
    let due = due.push_value(" OR due_at > ", wrong).push(") AND sink IN ");
    let due = due.push_list(sinks.iter().map(String::as_str));
    due.push_value(" ORDER BY due_at LIMIT ", limit)
}

/// Replaces some deliveries to a sink. Returns their number.
async fn forward_page(
    database: &Database,
    from: &[String],
    sinks: &[String],
    now: Timestamp,
) -> Result<u64, StoreError> {
    let mut session = database.transaction().await?;
    let lock = if session.is_postgres() { " FOR UPDATE SKIP LOCKED" } else { "" };
    let take = Statement::new("DELETE FROM tollgate_alerts WHERE (id, sink) IN (");
    let take = due(take, from, now, FORWARDED_AT_ONCE).push(lock).push(") RETURNING id, alert, account");
    let taken = session.rows(take).await?;
    let mut rows = Vec::new();
    for delivery in &taken {
        for sink in sinks {
            rows.push(row(delivery.text(0)?, sink, delivery.text(1)?, delivery.maybe_text(2)?, now));
        }
    }
    if !rows.is_empty() {
        let insert = Statement::new(INSERT).push_rows(rows).push(" ON CONFLICT (id, sink) DO NOTHING");
        session.execute(insert).await?;
    }
    session.commit().await?;
    Ok(u64::try_from(taken.len()).unwrap_or(u64::MAX))
}

/// Returns a statement whose first three values name a crossing.
fn named(text: &str, crossing: &Crossing) -> Statement {
    Statement::new(text)
        .with(crossing.kind.name())
        .with(crossing.subject.as_str())
        .with(crossing.threshold.as_str())
}

fn crossing(row: &Row) -> Result<(Crossing, Timestamp), StoreError> {
    let kind = row.text(0)?.parse().map_err(|_| StoreError::corrupt("a crossing has an unknown kind"))?;
    let crossing = Crossing::new(kind, row.text(1)?, row.text(2)?, row.int(3)?);
    Ok((crossing, Timestamp::from_millis(row.int(4)?)))
}

/// Reads a delivery. One that cannot be read, as that of a newer version, must not block the others.
fn delivery(row: &Row, now: Timestamp) -> Option<Delivery> {
    let read = || {
        let alert = serde_json::from_str(row.text(0)?);
        let alert = alert.map_err(|_| StoreError::corrupt("a waiting alert cannot be read"))?;
        Ok(Delivery::new(alert, row.text(1)?, u32::try_from(row.int(2)?).unwrap_or(u32::MAX), now))
    };
    read().inspect_err(trace::alert_unread).ok()
}

impl fmt::Debug for SqlAlertStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlAlertStore({})", self.database.name())
    }
}
