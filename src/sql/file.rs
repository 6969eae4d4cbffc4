//! The file of a SQLite database: created once, and monitored while it is in use.

use std::fs::{Metadata, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::StoreError;
use crate::trace;

/// The file that a database was opened with.
pub(super) struct DatabaseFile {
    path: PathBuf,
    /// The identity of the file; `None` if its metadata could not be read. Opening the database then reports the
    /// reason.
    identity: Option<Identity>,
    /// True if the last check found another file, or none.
    gone: AtomicBool,
}

/// The identity that distinguishes a file from another with the same name. A deleted file retains its inode number
/// while it is open.
#[cfg(unix)]
type Identity = (u64, u64);
#[cfg(not(unix))]
type Identity = Option<std::time::SystemTime>;

impl DatabaseFile {
    /// Remembers the file at this path.
    pub(super) fn at(path: &Path) -> Self {
        let identity = path.metadata().ok().map(|found| identity(&found));
        Self { path: path.to_owned(), identity, gone: AtomicBool::new(false) }
    }

    /// Checks that the file is still in its place. Data that is written to a deleted file is lost.
    pub(super) fn look(&self) -> Result<(), StoreError> {
        let found = self.path.metadata().ok().map(|found| identity(&found));
        let gone = self.identity.is_some() && found != self.identity;
        if self.gone.load(Ordering::Relaxed) != gone && self.gone.swap(gone, Ordering::Relaxed) != gone {
            trace::database_file(&self.path, gone);
        }
        if gone { Err(StoreError::unavailable("the database file was deleted or replaced")) } else { Ok(()) }
    }
}

#[cfg(unix)]
fn identity(file: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;
    (file.dev(), file.ino())
}

#[cfg(not(unix))]
fn identity(file: &Metadata) -> Identity {
    file.created().ok()
}

/// Creates the file if it does not exist, with access only for its owner. SQLite gives the files that it creates beside
/// it the same mode. If this fails, opening the file reports the reason.
pub(super) fn make_private(path: &Path) {
    let mut file = OpenOptions::new();
    file.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    drop(file.open(path));
}
