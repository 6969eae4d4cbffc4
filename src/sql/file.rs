//! The file of a SQLite database: made once, and looked after while it is in use.

use std::fs::{Metadata, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::Target;
use crate::error::StoreError;
use crate::trace;

/// The file that a database was opened with.
pub(super) struct DatabaseFile {
    path: PathBuf,
    /// Unknown where the file could not be looked at: opening the database says why.
    identity: Option<Identity>,
    /// Whether the last look found another file, or none.
    gone: AtomicBool,
}

/// Tells one file from another that has its name. A file that is deleted keeps its number while it is open.
#[cfg(unix)]
type Identity = (u64, u64);
#[cfg(not(unix))]
type Identity = Option<std::time::SystemTime>;

impl DatabaseFile {
    pub(super) fn of(target: &Target) -> Option<Self> {
        match target {
            Target::Sqlite(target) => {
                let path = target.get_filename().to_owned();
                let identity = path.metadata().ok().map(|found| identity(&found));
                Some(Self { path, identity, gone: AtomicBool::new(false) })
            }
            #[cfg(feature = "postgres")]
            Target::Postgres(_) => None,
        }
    }

    /// Looks whether the file is still in its place. What is written to a deleted file nobody finds again.
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

/// Makes the file, if it is not there, for its owner alone: what SQLite lays beside it has the same mode. Where it cannot be
/// made, opening it says why.
pub(super) fn make_private(path: &Path) {
    let mut file = OpenOptions::new();
    file.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    drop(file.open(path));
}
