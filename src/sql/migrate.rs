//! The tables and their schema versions. Nodes that start at once take turns. A schema that is newer than this build is
//! not changed.

use std::time::{Duration, Instant};

use super::{Database, OpenError, Session, Statement, Target, either};
use crate::error::StoreError;

/// The steps from each version of the schema to the next; the first step starts from an empty database. A published
/// step is never changed: later changes are new steps.
const STEPS: [&str; 11] = [
    include_str!("schema/1_keys.sql"),
    include_str!("schema/2_credits.sql"),
    include_str!("schema/3_grants.sql"),
    include_str!("schema/4_issuers.sql"),
    include_str!("schema/5_grant_floors.sql"),
    include_str!("schema/6_usage.sql"),
    include_str!("schema/7_audit.sql"),
    include_str!("schema/8_alerts.sql"),
    include_str!("schema/9_alert_accounts.sql"),
    include_str!("schema/10_buckets.sql"),
    include_str!("schema/11_withheld_grants.sql"),
];

/// The version after the last step.
#[expect(clippy::cast_possible_wrap, reason = "there are few steps")]
const KNOWN: i64 = STEPS.len() as i64;

/// The key of the migration among PostgreSQL's advisory locks: `tollgate` as eight bytes.
const LOCK: i64 = i64::from_be_bytes(*b"tollgate");

/// The time that a node waits for another node's migration.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) async fn bring_up_to_date(database: &Database) -> Result<(), OpenError> {
    let begun = Instant::now();
    loop {
        let found = match upgrade(database).await {
            Ok(found) => found,
            // SQLite reports "busy" at once, without waiting, to processes that create one file at the same time.
            Err((_, error)) if error.is_timeout() && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            Err((work, error)) => return Err(unavailable(database, work, &error)),
        };
        return if found > KNOWN {
            Err(OpenError::Newer { database: database.name(), found, known: KNOWN })
        } else {
            Ok(())
        };
    }
}

/// The phase of a migration in which an error occurred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Looking,
    Changing,
}

/// Runs the missing steps. Returns the version that was found. Privileges and locks are needed only if steps are
/// missing.
async fn upgrade(database: &Database) -> Result<i64, (Work, StoreError)> {
    let found = current(database).await.map_err(|error| (Work::Looking, error))?;
    match found {
        Some(found) if found >= KNOWN => Ok(found),
        _ => change(database).await.map_err(|error| (Work::Changing, error)),
    }
}

/// Returns the version of the schema, if there is one. Fails if the database takes no writes.
async fn current(database: &Database) -> Result<Option<i64>, StoreError> {
    if database.options().target.is_file() {
        let mut session = begun(database).await?;
        let version = version(&mut session).await?;
        if version.is_some() {
            // SQLite opens a read-only file without an error, even in a write transaction. Only a change reveals it,
            // even one of no row.
            let change = "UPDATE tollgate_schema SET version = version WHERE version < 0";
            session.execute(Statement::new(change)).await?;
        }
        session.roll_back().await?;
        return Ok(version);
    }
    let mut session = database.session(None).await?;
    let asked = Statement::new("SELECT current_setting('transaction_read_only')");
    if let Some(row) = session.row(asked).await?
        && row.text(0)? != "off"
    {
        return Err(StoreError::unavailable(
            "the server is read-only: it is a standby, or configured as read-only",
        ));
    }
    version(&mut session).await
}

/// Begins a transaction. Other callers wait until the tables are up to date.
async fn begun(database: &Database) -> Result<Session, StoreError> {
    let mut session = database.writer_of_any_tables().await?;
    session.begin().await?;
    Ok(session)
}

/// Returns the version of the schema, if there is one.
async fn version(session: &mut Session) -> Result<Option<i64>, StoreError> {
    let there = if session.is_postgres() {
        "SELECT count(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('tollgate_schema')"
    } else {
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'tollgate_schema'"
    };
    let there = session.row(Statement::new(there)).await?.map_or(Ok(0), |row| row.int(0))?;
    if there == 0 {
        return Ok(None);
    }
    let newest = session.row(Statement::new("SELECT max(version) FROM tollgate_schema")).await?;
    newest.map_or(Ok(None), |row| row.maybe_int(0))
}

/// Runs all missing steps in one transaction. Returns the version that was found.
async fn change(database: &Database) -> Result<i64, StoreError> {
    let mut session = begun(database).await?;
    if session.is_postgres() {
        let patience = PATIENCE.as_millis();
        session
            .script(format!("SET LOCAL statement_timeout = {patience}; SET LOCAL lock_timeout = {patience}"))
            .await?;
        session.rows(Statement::new("SELECT pg_advisory_xact_lock($1)").with(LOCK)).await?;
    }
    let table = "CREATE TABLE IF NOT EXISTS tollgate_schema (version BIGINT PRIMARY KEY)";
    session.script(table.to_owned()).await?;
    let found = version(&mut session).await?.unwrap_or(0);
    let missing = STEPS.iter().zip(1_i64..).filter(|(_, version)| *version > found);
    for (step, version) in missing {
        take(&mut session, step, version).await?;
    }
    session.commit().await?;
    Ok(found)
}

async fn take(session: &mut Session, step: &str, version: i64) -> Result<(), StoreError> {
    let words = if session.is_postgres() {
        // Text is compared by its bytes, whatever the database's locale.
        [("INT", "BIGINT"), ("BYTES", "BYTEA"), ("TEXT", "TEXT COLLATE \"C\""), ("TABLE", "")]
    } else {
        [("INT", "INTEGER"), ("BYTES", "BLOB"), ("TEXT", "TEXT"), ("TABLE", " STRICT, WITHOUT ROWID")]
    };
    let text =
        words.iter().fold(step.to_owned(), |text, (word, means)| text.replace(&format!("{{{word}}}"), means));
    session.script(text).await?;
    let note = Statement::new("INSERT INTO tollgate_schema (version) VALUES ($1)").with(version);
    session.execute(note).await.map(|_| ())
}

fn unavailable(database: &Database, work: Work, error: &StoreError) -> OpenError {
    let said = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    let hint = if error.is_timeout() {
        ""
    } else {
        either!(Target, &database.options().target,
        sqlite _ => " (check that this process has permission to write to the file and its folder)",
        postgres _ => match work {
            Work::Changing => {
                " (its tables must be created or migrated: open it once as a role with permission to create tables)"
            }
            Work::Looking => " (check that the server is running at this address)",
        })
    };
    OpenError::Unavailable { database: database.name(), problem: format!("{error}{said}{hint}") }
}
