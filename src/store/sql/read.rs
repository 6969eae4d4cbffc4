//! Reading records from the database.

use std::collections::HashMap;
use std::sync::Arc;

use crate::account::Account;
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::key::{KeyHash, KeyId, KeyRecord, KeyStatus};
use crate::name::AccountId;
use crate::sql::{Database, Row, Session, Statement};
use crate::store::KeyQuery;
use crate::store::encoding;

/// Returns a status as it is stored.
pub(super) fn status_text(status: KeyStatus) -> &'static str {
    match status {
        KeyStatus::Active => "active",
        KeyStatus::Paused => "paused",
        KeyStatus::Revoked => "revoked",
    }
}

pub(super) async fn find(database: &Database, hash: KeyHash) -> Result<Option<Arc<KeyRecord>>, StoreError> {
    let statement = Statement::new(
        "SELECT k.record, k.last_used_at, a.record FROM tollgate_hashes h JOIN tollgate_keys k ON k.id = h.key \
         JOIN tollgate_accounts a ON a.id = k.account WHERE h.hash = $1",
    );
    let row = database.reader().await?.row(statement.with(hash.as_bytes())).await?;
    let record = row.map(|row| key(&row, &mut HashMap::new())).transpose()?;
    match record {
        Some(record) if !record.has_hash(&hash) => {
            Err(StoreError::corrupt("a key was found by the hash of another key"))
        }
        record => Ok(record),
    }
}

pub(super) async fn get(database: &Database, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
    let statement = Statement::new(
        "SELECT k.record, k.last_used_at, a.record FROM tollgate_keys k \
         JOIN tollgate_accounts a ON a.id = k.account WHERE k.id = $1",
    );
    let row = database.reader().await?.row(statement.with(id.as_bytes())).await?;
    row.map(|row| key(&row, &mut HashMap::new())).transpose()
}

/// Returns the keys that a query selects. Only `limit` rows are read, since an index has them in order.
pub(super) async fn list(database: &Database, query: &KeyQuery) -> Result<Vec<Arc<KeyRecord>>, StoreError> {
    let mut page = Statement::new("SELECT id, account, last_used_at, record FROM tollgate_keys WHERE 1 = 1");
    if let Some(account) = &query.account {
        page = page.push_value(" AND account = ", account.as_str());
    }
    if let Some(status) = query.status {
        page = page.push_value(" AND status = ", status_text(status));
    }
    if let Some(environment) = &query.environment {
        page = page.push_value(" AND environment = ", environment.as_str());
    }
    if let Some(issuer) = &query.issued_by {
        page = page.push_value(" AND issued_by = ", issuer.as_bytes());
    }
    if let Some(after) = query.after {
        page = page.push_value(" AND id > ", after.as_bytes());
    }
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let statement = page.push_value(" ORDER BY id LIMIT ", limit).wrapped(
        "SELECT k.record, k.last_used_at, a.record FROM (",
        ") AS k JOIN tollgate_accounts a ON a.id = k.account ORDER BY k.id",
    );
    let rows = database.reader().await?.rows(statement).await?;
    let mut accounts = HashMap::new();
    rows.iter().map(|row| key(row, &mut accounts)).collect()
}

pub(super) async fn account_of(
    session: &mut Session,
    id: &AccountId,
    lock: &str,
) -> Result<Option<Arc<Account>>, StoreError> {
    let statement = Statement::new("SELECT record FROM tollgate_accounts WHERE id = $1").with(id.as_str());
    let row = session.row(statement.push(lock)).await?;
    row.map(|row| encoding::decode_account(row.text(0)?).map(Arc::new)).transpose()
}

/// Reads the key in a row. Keys of one answer share their account objects.
fn key(row: &Row, accounts: &mut HashMap<String, Arc<Account>>) -> Result<Arc<KeyRecord>, StoreError> {
    let (text, account_text) = (row.text(0)?, row.text(2)?);
    let account = match accounts.get(account_text).map(Arc::clone) {
        Some(account) => account,
        None => Arc::new(encoding::decode_account(account_text)?),
    };
    accounts.entry(account_text.to_owned()).or_insert_with(|| Arc::clone(&account));
    let mut record = encoding::decode_key(text, account)?;
    // The time of last use is stored in its own column, not in the record.
    record.last_used_at = row.maybe_int(1)?.map(Timestamp::from_millis);
    Ok(Arc::new(record))
}
