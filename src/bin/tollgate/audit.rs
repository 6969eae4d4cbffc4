//! Who did what, kept in a file: a JSON object a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use tollgate::audit::{AuditEvent, AuditSink};

use crate::Fault;

/// A file that audit events are added to, for its owner's eyes alone.
#[derive(Debug, Clone)]
pub(crate) struct AuditFile(Arc<Mutex<Lines>>);

#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: File,
    /// What is not written yet.
    held: Vec<u8>,
    at_once: bool,
    fault: Option<io::Error>,
}

impl AuditFile {
    /// Opens the file before anything is done: what cannot be audited is not begun.
    pub(crate) fn open(path: &Path) -> Result<Self, Fault> {
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(|error| format!("--audit: {}: {error}", path.display()))?;
        let lines = Lines { path: path.to_owned(), file, held: Vec::new(), at_once: false, fault: None };
        Ok(Self(Arc::new(Mutex::new(lines))))
    }

    /// Writes each event as it comes: for a store that keeps a change at once. Otherwise they are held until the end, since a
    /// command that fails before has changed nothing.
    pub(crate) fn write_at_once(&self) {
        self.lines().at_once = true;
    }

    /// Writes what is held, and says whether all is written.
    pub(crate) fn finish(&self) -> Result<(), String> {
        let mut lines = self.lines();
        lines.write();
        let written = lines.fault.take().map_or_else(|| lines.file.sync_all(), Err);
        written.map_err(|error| {
            format!("it was done, but the audit could not be written to {}: {error}", lines.path.display())
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
    /// It may wait for the disk: nobody else waits for this process.
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
