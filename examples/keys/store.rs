//! Stores, by URL.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use tollgate::MemoryStore;

use crate::Fault;
use crate::arguments::Usage;
use crate::file;

/// An open store, and where it is kept.
pub(crate) struct Store {
    pub(crate) keys: Arc<MemoryStore>,
    file: PathBuf,
    /// Held until the change is kept.
    _lock: File,
}

/// Opens the store that a URL names.
pub(crate) fn open(url: &str) -> Result<Store, Fault> {
    match url.split_once(':') {
        Some(("memory", path)) if !path.is_empty() => {
            let file = PathBuf::from(path);
            let lock = file::lock(&file)?;
            Ok(Store { keys: Arc::new(file::load(&file)?), file, _lock: lock })
        }
        _ => Err(Usage(format!("no store has the URL `{url}`: write it as in `memory:keys.json`")).into()),
    }
}

impl Store {
    /// Keeps what was changed.
    pub(crate) async fn close(self) -> Result<(), Fault> {
        file::save(&self.file, &self.keys).await
    }
}
