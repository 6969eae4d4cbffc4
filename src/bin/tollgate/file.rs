//! A store in memory that is saved to a JSON file between two commands. The file has hashes, never secrets.

use std::error::Error as _;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use tollgate::{MemoryStore, StoreError};

use crate::Fault;

/// Loads a store from a file. Returns an empty store if the file does not exist yet.
pub(crate) fn load(path: &Path) -> Result<MemoryStore, Fault> {
    let refuse =
        |problem: &dyn std::fmt::Display| -> Fault { format!("{}: {problem}", path.display()).into() };
    // The source names the problem. The error itself only tells that there is one.
    let unreadable = |error: StoreError| match error.source() {
        Some(source) => refuse(source),
        None => refuse(&error),
    };
    match fs::read_to_string(path) {
        Ok(text) => MemoryStore::from_json(&text).map_err(unreadable),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(MemoryStore::new()),
        Err(error) => Err(refuse(&error)),
    }
}

/// Writes a store to its file. It writes a new file beside it, which only its owner can read, and then renames that.
pub(crate) fn save(path: &Path, store: &MemoryStore) -> Result<(), Fault> {
    let text = store.to_json()?;
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = create(&beside)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path));
    Ok(written.inspect_err(|_| drop(fs::remove_file(&beside)))?)
}

/// Locks the file. Waits until no other command uses it.
pub(crate) fn lock(path: &Path) -> Result<File, Fault> {
    let beside = path.with_extension("lock");
    let refuse = |error: std::io::Error| -> Fault { format!("{}: {error}", beside.display()).into() };
    let file = OpenOptions::new().create(true).append(true).open(&beside).map_err(refuse)?;
    file.lock().map_err(refuse)?;
    Ok(file)
}

fn create(path: &Path) -> Result<File, Fault> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| format!("{}: {error}", path.display()).into())
}
