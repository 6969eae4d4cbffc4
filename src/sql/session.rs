//! A session on one connection. A connection with an unfinished statement or transaction is closed and not reused, so
//! the database rolls it back.

use std::time::Duration;

use sqlx::AssertSqlSafe;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::error::{Loss, fault, loss};
use super::pool::{Connection, PooledConnection};
use super::statement::{Statement, Value};
use super::{Row, either};
use crate::error::StoreError;

pub(crate) struct Session {
    lent: Option<PooledConnection>,
    /// True if a pooler may send each transaction to another connection of the server.
    pooled: bool,
    /// The turn of this writer, if the database is a SQLite file.
    _turn: Option<OwnedSemaphorePermit>,
    limit: Duration,
    /// True if a statement was sent and its end was not seen.
    waiting: bool,
    /// True if a transaction is open.
    open: bool,
}

/// The statements require that each sees what was committed before it. The server's default isolation level may be
/// another.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; ";

/// Binds a statement's values.
macro_rules! query {
    ($statement:ident, $prepared:expr) => {{
        let query = sqlx::query(AssertSqlSafe($statement.text)).persistent($prepared);
        $statement.values.into_iter().fold(query, |query, value| match value {
            Value::Int(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    }};
}

impl Session {
    pub(super) fn new(lent: PooledConnection, turn: Option<OwnedSemaphorePermit>, limit: Duration) -> Self {
        let pooled = lent.pool().options.pooled;
        Self { lent: Some(lent), pooled, _turn: turn, limit, waiting: false, open: false }
    }

    /// Returns the rows of a statement's answer.
    pub(crate) async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        if self.is_alone() {
            self.begin().await?;
            let rows = self.fetch(statement).await?;
            self.end("COMMIT").await?;
            return Ok(rows);
        }
        self.fetch(statement).await
    }

    async fn fetch(&mut self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        let (statement, prepared) = (self.spelled(statement), !self.pooled);
        let connection = &mut self.lent.as_mut().ok_or_else(gone)?.connection;
        self.waiting = true;
        let work = async {
            either!(Connection, connection,
            sqlite connection => {
                let rows = query!(statement, prepared).fetch_all(&mut *connection).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            },
            postgres connection => {
                let rows = query!(statement, prepared).fetch_all(&mut *connection).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            })
        };
        let done = timeout(self.limit, work).await;
        self.judge(done)
    }

    /// Returns the first row of a statement's answer.
    pub(crate) async fn row(&mut self, statement: Statement) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(statement).await?.into_iter().next())
    }

    /// Runs a statement. Returns the number of rows that it changed.
    pub(crate) async fn execute(&mut self, statement: Statement) -> Result<u64, StoreError> {
        if self.is_alone() {
            self.begin().await?;
            let changed = self.change(statement).await?;
            self.end("COMMIT").await?;
            return Ok(changed);
        }
        self.change(statement).await
    }

    async fn change(&mut self, statement: Statement) -> Result<u64, StoreError> {
        let (statement, prepared) = (self.spelled(statement), !self.pooled);
        let connection = &mut self.lent.as_mut().ok_or_else(gone)?.connection;
        self.waiting = true;
        let work = async {
            either!(Connection, connection, connection => {
                query!(statement, prepared).execute(&mut *connection).await.map(|done| done.rows_affected())
            })
        };
        let done = timeout(self.limit, work).await;
        self.judge(done)
    }

    /// Runs several statements without values at once. Behind a pooler, use it only in a transaction.
    pub(super) async fn script(&mut self, text: String) -> Result<(), StoreError> {
        let connection = &mut self.lent.as_mut().ok_or_else(gone)?.connection;
        self.waiting = true;
        let work = async {
            either!(Connection, connection, connection => {
                sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *connection).await.map(|_| ())
            })
        };
        let done = timeout(self.limit, work).await;
        self.judge(done)
    }

    /// Begins a transaction. In SQLite it is the one writing transaction.
    pub(crate) async fn begin(&mut self) -> Result<(), StoreError> {
        let begin =
            if self.is_postgres() { self.beginning(self.limit) } else { "BEGIN IMMEDIATE".to_owned() };
        self.open = true;
        self.script(begin).await
    }

    /// Begins a read-only transaction whose statements have this time limit.
    pub(crate) async fn begin_patiently(&mut self, limit: Duration) -> Result<(), StoreError> {
        let begin = if self.is_postgres() {
            format!("{}SET LOCAL statement_timeout = {}", self.beginning(limit), limit.as_millis())
        } else {
            "BEGIN".to_owned()
        };
        self.open = true;
        self.script(begin).await
    }

    /// Returns the statement that begins a transaction in PostgreSQL. Behind a pooler it includes the session's
    /// settings.
    fn beginning(&self, limit: Duration) -> String {
        let settings = if self.pooled { settings(limit, "SET LOCAL") } else { String::new() };
        format!("{BEGIN}{settings}")
    }

    /// Returns true if a statement needs its own transaction: else a pooler may send its parts to different
    /// connections.
    fn is_alone(&self) -> bool {
        self.pooled && !self.open && self.is_postgres()
    }

    async fn end(&mut self, how: &str) -> Result<(), StoreError> {
        self.script(how.to_owned()).await?;
        self.open = false;
        Ok(())
    }

    /// Returns a statement in this database's dialect.
    fn spelled(&self, statement: Statement) -> Statement {
        if self.is_postgres() { statement } else { statement.into_unnumbered() }
    }

    /// Commits the transaction.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        self.end("COMMIT").await
    }

    /// Rolls the transaction back.
    pub(crate) async fn roll_back(mut self) -> Result<(), StoreError> {
        self.end("ROLLBACK").await
    }

    /// Copies SQLite's log into the file, and truncates the log. Waits for readers at most 250 ms.
    pub(super) async fn cut_log(&mut self, patience: Duration) -> Result<(), StoreError> {
        let cut = self.script("PRAGMA busy_timeout = 250; PRAGMA wal_checkpoint(TRUNCATE)".to_owned()).await;
        self.script(format!("PRAGMA busy_timeout = {}", patience.as_millis())).await?;
        cut
    }

    /// Returns true if the database is PostgreSQL.
    pub(crate) fn is_postgres(&self) -> bool {
        let connection = self.lent.as_ref().map(|lent| &lent.connection);
        connection
            .is_some_and(|connection| either!(Connection, connection, sqlite _ => false, postgres _ => true))
    }

    /// Returns an SQL expression for the database's own time, in milliseconds. For a SQLite file it is the time of this
    /// machine.
    pub(crate) fn now(&self) -> &'static str {
        if self.is_postgres() {
            "CAST(floor(extract(epoch FROM statement_timestamp()) * 1000) AS BIGINT)"
        } else {
            "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
        }
    }

    /// Returns the clause that locks the rows that a `SELECT` reads. SQLite needs none, since it has one writer.
    pub(crate) fn lock(&self) -> &'static str {
        if self.is_postgres() { " FOR NO KEY UPDATE" } else { "" }
    }

    /// Returns the clause that prevents the deletion of the rows that a `SELECT` reads, and nothing else.
    pub(crate) fn keep(&self) -> &'static str {
        if self.is_postgres() { " FOR KEY SHARE" } else { "" }
    }

    /// Converts the result of a statement, and decides if the connection can be used for the next one.
    fn judge<T>(
        &mut self,
        done: Result<Result<T, sqlx::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, StoreError> {
        let (loss, done) = match done {
            // The server itself ends a statement that takes too long. A statement that timed out here means that the
            // server is silent.
            Err(_) => (Loss::Server, Err(StoreError::timed_out())),
            Ok(Ok(answer)) => (Loss::Nothing, Ok(answer)),
            Ok(Err(error)) => (loss(&error), Err(fault(&error))),
        };
        self.waiting = loss != Loss::Nothing;
        if let Some(lent) = &self.lent {
            match loss {
                Loss::Nothing => {}
                Loss::Server => lent.pool().distrust(),
                Loss::Writes => drop(lent.pool().replace()),
            }
        }
        done
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.waiting
            && !self.open
            && let Some(lent) = self.lent.take()
        {
            lent.give_back();
        }
    }
}

/// Returns the settings of each session, or with `SET LOCAL` of each transaction. They override the server's and the
/// role's defaults.
pub(super) fn settings(limit: Duration, set: &str) -> String {
    // A node that stops during a transaction must not keep its rows locked.
    let limits = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];
    let millis = limit.as_millis().max(1);
    let mut settings = limits.map(|name| format!("{set} {name} = {millis}; ")).concat();
    if set == "SET" {
        settings.push_str("SET default_transaction_isolation = 'read committed'");
    }
    settings
}

fn gone() -> StoreError {
    StoreError::unavailable("the connection is closed")
}
