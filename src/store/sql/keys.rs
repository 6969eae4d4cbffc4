//! The write side of keys. Every change is one transaction or one statement.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{SqlStore, read};
use crate::account::Account;
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::key::{KeyHash, KeyId, KeyRecord};
use crate::name::AccountId;
use crate::sql::{Database, Session, Statement, Value, pieces, retried};
use crate::store::encoding;
use crate::store::{InsertKey, Inserted, KeyAdmin, KeyQuery, KeyStore as _, Replaced};

/// The number of keys that one statement marks as used, or deletes.
const AT_ONCE: u16 = 256;

impl KeyAdmin for SqlStore {
    fn insert(&self, insert: &InsertKey) -> StoreFuture<Inserted> {
        let insert = insert.clone();
        self.ask(async move |database| {
            retried(|| async {
                let mut session = database.transaction().await?;
                let inserted = put_in(&mut session, &insert).await?;
                end(session, inserted == Inserted::Done).await?;
                Ok(inserted)
            })
            .await
        })
    }

    fn find_now(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.find(hash)
    }

    fn get(&self, id: KeyId) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.ask(async move |database| read::get(&database, id).await)
    }

    fn account_of(&self, id: &AccountId) -> StoreFuture<Option<Arc<Account>>> {
        let id = id.clone();
        self.ask(async move |database| read::account_of(&mut database.reader().await?, &id, "").await)
    }

    fn replace(&self, record: &KeyRecord) -> StoreFuture<Replaced> {
        let record = record.clone();
        self.ask(async move |database| {
            retried(|| async {
                let mut session = database.transaction().await?;
                let replaced = put_in_place(&mut session, record.clone()).await?;
                end(session, replaced == Replaced::Done).await?;
                Ok(replaced)
            })
            .await
        })
    }

    fn list(&self, query: &KeyQuery) -> StoreFuture<Vec<Arc<KeyRecord>>> {
        let query = query.clone();
        self.ask(async move |database| read::list(&database, &query).await)
    }

    fn touch(&self, uses: &[(KeyId, Timestamp)]) -> StoreFuture<()> {
        // Keep only the latest use of each key. The order by id is the same on all nodes.
        let mut latest = BTreeMap::new();
        for (id, used) in uses {
            let noted = latest.entry(*id).or_insert(*used);
            *noted = (*noted).max(*used);
        }
        let uses: Vec<_> = latest.into_iter().collect();
        self.ask(async move |database| {
            for piece in pieces(&uses, AT_ONCE.into()) {
                retried(|| note(&database, piece)).await?;
            }
            Ok(())
        })
    }

    fn erase(&self, id: KeyId) -> StoreFuture<bool> {
        self.ask(async move |database| {
            let statement = Statement::new("DELETE FROM tollgate_keys WHERE id = $1").with(id.as_bytes());
            let erased = database.change(statement).await? > 0;
            database.wipe().await;
            Ok(erased)
        })
    }

    fn sweep(&self, before: Timestamp) -> StoreFuture<u64> {
        self.ask(async move |database| {
            let mut removed = 0;
            loop {
                let statement = Statement::new(
                    "DELETE FROM tollgate_keys WHERE id IN \
                     (SELECT id FROM tollgate_keys WHERE dead_at < $1 ORDER BY dead_at LIMIT $2)",
                );
                let statement = statement.with(before.as_millis()).with(i64::from(AT_ONCE));
                // Between two statements other writers get their turn.
                let now = database.change(statement).await?;
                removed += now;
                if now < AT_ONCE.into() {
                    database.wipe().await;
                    return Ok(removed);
                }
            }
        })
    }
}

/// Ends a transaction: commits it if the change was made, else rolls it back.
async fn end(session: Session, done: bool) -> Result<(), StoreError> {
    if done { session.commit().await } else { session.roll_back().await }
}

async fn put_in(session: &mut Session, insert: &InsertKey) -> Result<Inserted, StoreError> {
    let (record, account) = (&insert.record, &insert.record.account.id);
    // The lock on the account's row serializes insertions that check a maximum. Deletions of the account wait for all
    // insertions.
    let lock = if insert.max_active.is_some() { session.lock() } else { session.keep() };
    if read::account_of(session, account, lock).await?.is_none() {
        return Ok(Inserted::NoAccount);
    }
    if let Some(most) = insert.max_active
        && active_keys(session, account, insert.now).await? >= i64::from(most)
    {
        // `Taken` has precedence over `Full`.
        return Ok(if is_taken(session, record).await? { Inserted::Taken } else { Inserted::Full });
    }
    let statement = Statement::new(
        "INSERT INTO tollgate_keys (id, account, status, environment, version, expires_at, dead_at, last_used_at, record, issued_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
    );
    let statement = statement.with(record.id.as_bytes()).with(account.as_str());
    let there = session.execute(beside(statement, record)).await? == 1;
    Ok(if there && put_hashes(session, record).await? { Inserted::Done } else { Inserted::Taken })
}

async fn active_keys(session: &mut Session, account: &AccountId, now: Timestamp) -> Result<i64, StoreError> {
    let statement = Statement::new(
        "SELECT count(*) FROM tollgate_keys \
         WHERE account = $1 AND status <> 'revoked' AND (expires_at IS NULL OR expires_at > $2)",
    );
    let row = session.row(statement.with(account.as_str()).with(now.as_millis())).await?;
    row.map_or(Ok(0), |row| row.int(0))
}

async fn is_taken(session: &mut Session, record: &KeyRecord) -> Result<bool, StoreError> {
    let statement = Statement::new("SELECT 1 FROM tollgate_hashes WHERE hash IN ").push_list(hashes(record));
    let statement =
        statement.push_value(" UNION ALL SELECT 1 FROM tollgate_keys WHERE id = ", record.id.as_bytes());
    Ok(session.row(statement).await?.is_some())
}

/// Replaces the record that has the same id and version.
async fn put_in_place(session: &mut Session, mut record: KeyRecord) -> Result<Replaced, StoreError> {
    let statement = Statement::new("SELECT version, account FROM tollgate_keys WHERE id = $1");
    let statement = statement.with(record.id.as_bytes()).push(session.lock());
    let Some(stored) = session.row(statement).await? else { return Ok(Replaced::Gone) };
    if stored.int(0)? != record.version.cast_signed() {
        return Ok(Replaced::Stale);
    }
    if stored.text(1)? != record.account.id.as_str() {
        // A key cannot move to another account.
        record.account = Arc::new(Account::new(stored.text(1)?, ""));
    }
    let was = record.version.cast_signed();
    record.version += 1;
    let statement = Statement::new(
        "UPDATE tollgate_keys SET status = $3, environment = $4, version = $5, expires_at = $6, dead_at = $7, \
         last_used_at = CASE WHEN last_used_at IS NULL OR last_used_at < $8 THEN $8 ELSE last_used_at END, record = $9, \
         issued_by = $10 \
         WHERE id = $1 AND version = $2",
    );
    let statement = beside(statement.with(record.id.as_bytes()).with(was), &record);
    if session.execute(statement).await? != 1 {
        return Ok(Replaced::Stale);
    }
    let old = Statement::new("DELETE FROM tollgate_hashes WHERE key = $1 AND hash NOT IN ");
    session.execute(old.with(record.id.as_bytes()).push_list(hashes(&record))).await?;
    Ok(if put_hashes(session, &record).await? { Replaced::Done } else { Replaced::Taken })
}

/// Binds the columns beside a record's text, and the text.
fn beside(statement: Statement, record: &KeyRecord) -> Statement {
    let at = |moment: Option<Timestamp>| moment.map(Timestamp::as_millis);
    statement
        .with(read::status_text(record.status))
        .with(record.environment.as_str())
        .with(record.version.cast_signed())
        .with(at(record.expires_at))
        .with(at(record.revoked_at.into_iter().chain(record.expires_at).min()))
        .with(at(record.last_used_at))
        .with(encoding::encode_key(record))
        .with(record.issued_by.map(|issuer| *issuer.as_bytes()))
}

/// Returns the hashes by which a record is found.
fn hashes(record: &KeyRecord) -> impl Iterator<Item = &[u8; 32]> {
    let retiring =
        record.retiring.as_ref().map(|old| old.hash.as_bytes()).filter(|old| *old != record.hash.as_bytes());
    [Some(record.hash.as_bytes()), retiring].into_iter().flatten()
}

/// Inserts the hashes of a record. Returns true if no other key has one of them.
async fn put_hashes(session: &mut Session, record: &KeyRecord) -> Result<bool, StoreError> {
    let rows = hashes(record).map(|hash| [Value::from(hash), Value::from(record.id.as_bytes())]);
    let statement = Statement::new("INSERT INTO tollgate_hashes (hash, key) VALUES ").push_rows(rows);
    session.execute(statement.push(" ON CONFLICT DO NOTHING")).await?;
    let statement = Statement::new("SELECT count(*) FROM tollgate_hashes WHERE key = $1");
    let row = session.row(statement.with(record.id.as_bytes())).await?;
    let wanted = if hashes(record).count() == 2 { 2 } else { 1 };
    Ok(row.map_or(Ok(0), |row| row.int(0))? == wanted)
}

/// Records uses. The latest time is kept.
async fn note(database: &Database, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
    let mut session = database.transaction().await?;
    if session.is_postgres() {
        // All nodes take the locks in order of id, to prevent deadlocks. An update of many rows locks them in any
        // order.
        let ids = Statement::new("SELECT 1 FROM tollgate_keys WHERE id IN ");
        let ids = ids.push_list(uses.iter().map(|(id, _)| id.as_bytes())).push(" ORDER BY id");
        session.rows(ids.push(session.lock())).await?;
    }
    let rows = uses.iter().map(|(id, used)| [Value::from(id.as_bytes()), Value::from(used.as_millis())]);
    let statement =
        Statement::new("UPDATE tollgate_keys SET last_used_at = v.column2 FROM (VALUES ").push_rows(rows);
    let statement = statement.push(
        ") AS v WHERE tollgate_keys.id = v.column1 \
         AND (tollgate_keys.last_used_at IS NULL OR tollgate_keys.last_used_at < v.column2)",
    );
    session.execute(statement).await?;
    session.commit().await
}
