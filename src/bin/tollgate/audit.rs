//! The `audit` commands, which need a database, and an audit log in a file: one JSON object per line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::{Value, json};
use tollgate::audit::{
    Action, AuditEntry, AuditEvent, AuditPage, AuditQuery, AuditSink, AuditStore, SqlAuditStore,
};
use tollgate::clock::Timestamp;

use crate::Fault;
use crate::arguments::{Arguments, Usage, problem_with, read};
use crate::commands::Operator;
use crate::print::Answer;

/// Runs an `audit` command.
pub(crate) async fn run(verb: &str, arguments: &mut Arguments, operator: &Operator) -> Result<Answer, Fault> {
    let Some(store) = operator.store.database().map(SqlAuditStore::new) else {
        return Err("this store does not keep audit events; use `sqlite:PATH` or `postgres://…`".into());
    };
    if verb == "forget" {
        return forget(arguments, operator, &store).await;
    }
    let mut query = AuditQuery::default();
    query.account = arguments.option("account").map(Into::into);
    query.key = arguments.read("key")?;
    query.actor = arguments.read("actor")?;
    query.action = arguments.read("action")?;
    query.from = arguments.read("from")?;
    query.to = arguments.read("to")?;
    query.cursor = arguments.read("cursor")?;
    query.limit = arguments.limit()?.unwrap_or(query.limit);
    arguments.end()?;
    query.check().map_err(|error| Usage(problem_with(error.member(), &error)))?;
    Ok(Answer::Audit(store.query(&query).await?))
}

/// Removes the entries before a time. The removal is an event too.
async fn forget(
    arguments: &mut Arguments,
    operator: &Operator,
    store: &SqlAuditStore,
) -> Result<Answer, Fault> {
    let before: Timestamp = read("before", &arguments.required("before")?)?;
    arguments.end()?;
    let now = Timestamp::from(SystemTime::now());
    if before > now {
        return Err(Usage("`--before` is in the future; write a time in the past".into()).into());
    }
    let forgotten = store.forget(before).await?;
    let mut event = AuditEvent::new(now, Action::AuditForgotten, operator.actor.clone());
    event.detail = Some(format!("{forgotten} before {before}"));
    operator.record(&event);
    Ok(Answer::Forgotten(forgotten))
}

/// Returns a page of entries as JSON.
pub(crate) fn page_json(page: &AuditPage) -> Value {
    json!({ "entries": page.entries, "next": page.next.map(|next| next.to_string()) })
}

/// Returns a line of text for an entry. Names are escaped, because the line is printed to a terminal.
pub(crate) fn entry_line(entry: &AuditEntry) -> String {
    let event = &entry.event;
    let actor = event.actor.label().unwrap_or_else(|| "unknown".to_owned());
    let parts = [
        event.account.as_ref().map(|account| format!("account {}", account.as_str().escape_debug())),
        event.key.map(|key| format!("key {key}")),
        Some(format!("by {}", actor.escape_debug())),
        event.actor.address().map(|address| format!("from {address}")),
        event.detail.as_ref().map(|detail| detail.escape_debug().to_string()),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    format!("{}  {}  {}", event.at, event.action.name(), parts.join("  "))
}

/// A file to which audit events are appended. Only its owner can read it.
#[derive(Debug, Clone)]
pub(crate) struct AuditFile(Arc<Mutex<Lines>>);

#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: File,
    /// Lines that are not written yet.
    held: Vec<u8>,
    at_once: bool,
    fault: Option<io::Error>,
}

impl AuditFile {
    /// Opens the file. This precedes any change, so that no change is made that cannot be audited.
    pub(crate) fn open(path: &Path) -> Result<Self, Fault> {
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(|error| format!("--audit: {}: {error}", path.display()))?;
        let lines = Lines { path: path.to_owned(), file, held: Vec::new(), at_once: false, fault: None };
        Ok(Self(Arc::new(Mutex::new(lines))))
    }

    /// Writes each event at once, for a store that persists a change at once. For other stores the events are written
    /// at the end, because a command that fails earlier has changed nothing.
    pub(crate) fn write_at_once(&self) {
        self.lines().at_once = true;
    }

    /// Writes the pending events. Returns an error if an event could not be written.
    pub(crate) fn finish(&self) -> Result<(), String> {
        let mut lines = self.lines();
        lines.write();
        let written = lines.fault.take().map_or_else(|| lines.file.sync_all(), Err);
        written.map_err(|error| {
            format!(
                "the change was made, but the audit log could not be written to {}: {error}",
                lines.path.display()
            )
        })
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn write(&mut self) {
        let written = self.file.write_all(&self.held);
        self.held.clear();
        if let Err(error) = written {
            self.fault.get_or_insert(error);
        }
    }
}

impl AuditSink for AuditFile {
    /// Records an event. It may wait for the disk, because this process serves no other requests.
    fn record(&self, event: &AuditEvent) {
        let actor = &event.actor;
        let line = json!({
            "at": event.at.to_string(),
            "action": event.action.name(),
            "key": event.key.map(|id| id.to_string()),
            "account": event.account.as_ref().map(ToString::to_string),
            "actor": actor.name().or(actor.user_id()).map(str::to_owned).or(actor.key_id().map(|id| id.to_string())),
            "detail": event.detail,
        });
        let mut lines = self.lines();
        lines.held.extend_from_slice(format!("{line}\n").as_bytes());
        if lines.at_once {
            lines.write();
        }
    }
}
