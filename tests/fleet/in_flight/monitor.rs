//! A count of the requests that all processes work on.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::services::scratch;

/// A handler keeps a connection to the monitor as long as it works. The operating system closes the connections of a process
/// that is killed.
pub(super) struct Monitor {
    path: PathBuf,
    load: Arc<Mutex<Load>>,
}

#[derive(Default)]
struct Load {
    open: Vec<UnixStream>,
    most: usize,
}

impl Load {
    /// Forgets the connections that are closed.
    fn refresh(&mut self) {
        let is_open = |connection: &mut UnixStream| {
            let read = connection.read(&mut [0]);
            read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        self.open.retain_mut(is_open);
    }
}

impl Monitor {
    pub(super) fn start() -> Self {
        let path = scratch("monitor").join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let load = Arc::<Mutex<Load>>::default();
        let counted = Arc::clone(&load);
        std::thread::spawn(move || {
            while let Ok((mut connection, _)) = listener.accept() {
                connection.set_nonblocking(true).unwrap();
                let mut load = counted.lock().unwrap();
                load.refresh();
                load.open.push(connection.try_clone().unwrap());
                load.most = load.most.max(load.open.len());
                // The handler may have gone.
                let _ = connection.write_all(b"!");
            }
        });
        Self { path, load }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn load(&self) -> MutexGuard<'_, Load> {
        let mut load = self.load.lock().unwrap();
        load.refresh();
        load
    }

    /// Returns the number of requests that are worked on now.
    pub(super) fn now(&self) -> usize {
        self.load().open.len()
    }

    /// Returns the most that were ever worked on at once.
    pub(super) fn most(&self) -> usize {
        self.load().most
    }
}
