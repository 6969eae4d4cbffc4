//! The tables, and their versions. Nodes that start at once take turns; a schema that is newer than this build is left
//! alone.

use std::time::{Duration, Instant};

use super::Target;
use super::{Database, OpenError, Session, Statement};
use crate::error::StoreError;

/// What leads from each version of the tables to the next, the first from none. A step that was once published is never
/// changed: what comes later is a step of its own.
const STEPS: [&str; 4] = [
    include_str!("schema/1_keys.sql"),
    include_str!("schema/2_credits.sql"),
    include_str!("schema/3_grants.sql"),
    include_str!("schema/4_issuers.sql"),
];

/// The version that the last step leads to.
#[expect(clippy::cast_possible_wrap, reason = "there are few steps")]
const KNOWN: i64 = STEPS.len() as i64;

/// The name of this work among PostgreSQL's advisory locks: `tollgate` as eight bytes.
const LOCK: i64 = i64::from_be_bytes(*b"tollgate");

/// How long a node waits for another that is at this work.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) async fn bring_up_to_date(database: &Database) -> Result<(), OpenError> {
    let begun = Instant::now();
    loop {
        let found = match upgrade(database).await {
            Ok(found) => found,
            // Several processes that make one SQLite file at once are told at once that it is busy.
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

/// What was being done to a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Looking,
    Changing,
}

/// Takes the steps that are missing; says which version there was. Privileges and locks are asked for only then.
async fn upgrade(database: &Database) -> Result<i64, (Work, StoreError)> {
    let found = current(database).await.map_err(|error| (Work::Looking, error))?;
    match found {
        Some(found) if found >= KNOWN => Ok(found),
        _ => change(database).await.map_err(|error| (Work::Changing, error)),
    }
}

/// The version of the tables, if they are there, in a database that takes writes.
async fn current(database: &Database) -> Result<Option<i64>, StoreError> {
    if database.options().target.is_file() {
        let mut session = database.transaction().await?;
        let version = version(&mut session).await?;
        if version.is_some() {
            // A file that may only be read opens as well as any, even for a writer: a change shows it, if of no row.
            let change = "UPDATE tollgate_schema SET version = version WHERE version < 0";
            session.execute(Statement::new(change)).await?;
        }
        session.roll_back().await?;
        return Ok(version);
    }
    let mut session = database.reader().await?;
    let asked = Statement::new("SELECT current_setting('transaction_read_only')");
    if let Some(row) = session.row(asked).await?
        && row.text(0)? != "off"
    {
        return Err(StoreError::unavailable(
            "the server takes no writes: it is a standby, or set to read-only",
        ));
    }
    version(&mut session).await
}

/// The version of the tables, if they are there.
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

/// Takes the steps that are missing, all or none; says which version there was.
async fn change(database: &Database) -> Result<i64, StoreError> {
    let mut session = database.transaction().await?;
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
        // Text is compared by its bytes, whatever the database's language.
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
    let hint = match (&database.options().target, work) {
        _ if error.is_timeout() => "",
        #[cfg(feature = "sqlite")]
        (Target::Sqlite(_), _) => " (may this process write to the file and to its folder?)",
        #[cfg(feature = "postgres")]
        (Target::Postgres(_), Work::Changing) => {
            " (its tables are made, or brought up to date: open it once as a role that may create tables)"
        }
        #[cfg(feature = "postgres")]
        (Target::Postgres(_), Work::Looking) => " (is the server running, and is this its address?)",
    };
    OpenError::Unavailable { database: database.name(), problem: format!("{error}{said}{hint}") }
}
