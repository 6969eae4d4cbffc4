//! Audit entries in SQLite or PostgreSQL.

use std::fmt;

use crate::audit::{Actor, AuditEntry, AuditId, AuditPage, AuditQuery, AuditStore};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::key::KeyId;
use crate::name::AccountId;
use crate::sql::{Database, Statement, Value, pieces};

/// The largest number of entries that one statement inserts.
const ROWS: usize = 256;

/// The largest number of entries that one statement deletes, so that others do not wait for long.
const FORGOTTEN: u32 = 1_000;

/// A store of audit entries in a [`Database`]. It keeps every entry until [`forget`](AuditStore::forget) removes it.
///
/// Each condition of a query has an index, so that a query reads about as many rows as its page has. A query with several
/// conditions uses one of their indexes and compares the rest.
///
/// # Example
///
/// ```
/// use tollgate::audit::{SqlAuditStore, StoredAudit};
/// use tollgate::{Gate, GateBuilder};
///
/// fn audited(builder: GateBuilder, database: &tollgate::sql::Database) -> GateBuilder {
///     builder.audit(StoredAudit::new(SqlAuditStore::new(database)))
/// }
/// ```
#[derive(Clone)]
pub struct SqlAuditStore {
    database: Database,
}

impl SqlAuditStore {
    /// Creates a store in this database.
    pub fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }
}

impl AuditStore for SqlAuditStore {
    fn append(&self, entries: &[AuditEntry]) -> StoreFuture<()> {
        let rows: Result<Vec<_>, _> = entries.iter().map(row).collect();
        let rows = match rows {
            Ok(rows) if rows.is_empty() => return StoreFuture::ready(()),
            Ok(rows) => rows,
            Err(error) => return StoreFuture::failed(error),
        };
        let database = self.database.clone();
        crate::sql::carried_through(async move { insert(&database, &rows).await })
    }

    fn query(&self, query: &AuditQuery) -> StoreFuture<AuditPage> {
        let (database, query) = (self.database.clone(), query.clone());
        StoreFuture::boxed(async move {
            let rows = database.reader().await?.rows(selection(&query)).await?;
            let entries = rows.iter().map(|row| entry(row.text(0)?)).collect::<Result<_, StoreError>>()?;
            Ok(AuditPage::new(&query, entries))
        })
    }

    fn forget(&self, before: Timestamp) -> StoreFuture<u64> {
        let database = self.database.clone();
        let bound = AuditId::lower_bound(before);
        StoreFuture::boxed(async move {
            let delete = Statement::new(
                "DELETE FROM tollgate_audit WHERE id IN \
                 (SELECT id FROM tollgate_audit WHERE id < $1 ORDER BY id LIMIT $2)",
            );
            let delete = delete.with(bound.as_bytes()).with(i64::from(FORGOTTEN));
            database.change_all(&delete, FORGOTTEN).await
        })
    }
}

/// Inserts all rows in one transaction, except those that are stored already.
async fn insert(database: &Database, rows: &[[Value; 6]]) -> Result<(), StoreError> {
    crate::sql::retried(|| async {
        let mut session = database.transaction().await?;
        for rows in pieces(rows, ROWS) {
            let insert = "INSERT INTO tollgate_audit (id, account, key, actor, action, record) VALUES ";
            let insert = Statement::new(insert).push_rows(rows.iter().cloned());
            session.execute(insert.push(" ON CONFLICT (id) DO NOTHING")).await?;
        }
        session.commit().await
    })
    .await
}

fn row(entry: &AuditEntry) -> Result<[Value; 6], StoreError> {
    let event = &entry.event;
    let record = serde_json::to_string(entry).map_err(StoreError::rejected)?;
    Ok([
        entry.id.as_bytes().into(),
        event.account.as_ref().map(|account| account.as_str().to_owned()).into(),
        event.key.as_ref().map(KeyId::as_bytes).copied().into(),
        event.actor.label().into(),
        event.action.name().into(),
        record.into(),
    ])
}

fn entry(record: &str) -> Result<AuditEntry, StoreError> {
    // The error of the parser may contain parts of the entry.
    serde_json::from_str(record).map_err(|_| StoreError::corrupt("an audit entry cannot be read"))
}

/// Returns the statement that selects one entry more than the page has.
fn selection(query: &AuditQuery) -> Statement {
    let mut page = Statement::new("SELECT record FROM tollgate_audit WHERE 1 = 1");
    if let Some(account) = query.account.as_ref().map(AccountId::as_str) {
        page = page.push_value(" AND account = ", account);
    }
    if let Some(key) = &query.key {
        page = page.push_value(" AND key = ", key.as_bytes());
    }
    page = match query.actor.as_ref().map(Actor::label) {
        Some(Some(actor)) => page.push_value(" AND actor = ", actor),
        Some(None) => page.push(" AND actor IS NULL"),
        None => page,
    };
    if let Some(action) = query.action {
        page = page.push_value(" AND action = ", action.name());
    }
    if let Some(floor) = query.floor() {
        page = page.push_value(" AND id >= ", floor.as_bytes());
    }
    if let Some(ceiling) = query.ceiling() {
        page = page.push_value(" AND id < ", ceiling.as_bytes());
    }
    let limit = i64::try_from(query.limit.saturating_add(1)).unwrap_or(i64::MAX);
    page.push_value(" ORDER BY id DESC LIMIT ", limit)
}

impl fmt::Debug for SqlAuditStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlAuditStore({})", self.database.name())
    }
}
