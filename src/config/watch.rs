//! A watcher of the configuration file, which reloads a gate when the file changes.

use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use crate::config::Config;
use crate::error::ConfigError;
use crate::gate::{Configuration, Gate, GateBuilder};
use crate::panics::guard;

/// The default interval.
const INTERVAL: Duration = Duration::from_secs(1);

/// The settings of a watcher of a configuration file. [`Config::watch`] creates them.
#[must_use]
pub struct ConfigWatch {
    path: PathBuf,
    /// The bytes of the configuration that the gate was built from.
    in_force: Vec<u8>,
    interval: Duration,
    prepare: Prepare,
    told: Told,
}

type Prepare = Box<dyn Fn(GateBuilder) -> GateBuilder + Send>;

type Told = Box<dyn FnMut(&Result<Configuration, ConfigError>) + Send>;

/// A watcher at work. It ends when this is dropped.
#[must_use]
pub struct Watching(#[expect(dead_code, reason = "the thread ends when this is dropped")] SyncSender<()>);

impl Config {
    /// Returns a watcher of this file, which [reloads](Gate::reload) the gate that was built from this configuration when the
    /// file changes.
    ///
    /// The watcher is a thread that reads the file once each [interval](ConfigWatch::every), and compares its content. It thus
    /// sees every kind of change: a file that is written in place, a file that takes the place of another by a rename, as of an
    /// editor, a symbolic link that leads elsewhere, as in a volume of Kubernetes, and a file on a network file system. A content
    /// is taken when it was read twice in succession, so that a file is not read while it is being written. A change is therefore
    /// taken after one to two intervals.
    ///
    /// A content with a fault is told once. The old configuration stays in force. A change of a file or of an environment variable
    /// that the configuration refers to is not seen: call [`Gate::reload_file`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// use tollgate::Config;
    ///
    /// # fn main() -> Result<(), tollgate::ConfigError> {
    /// let config = Config::read("gate.toml")?;
    /// let gate = config.builder()?.build()?;
    /// let watching = config.watch().start(&gate)?;
    /// // The service runs here.
    /// drop(watching);
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self) -> ConfigWatch {
        ConfigWatch {
            path: PathBuf::from(&self.file),
            in_force: self.text.0.clone().into_bytes(),
            interval: INTERVAL,
            prepare: Box::new(|builder| builder),
            told: Box::new(|_| {}),
        }
    }
}

impl ConfigWatch {
    /// Sets the time between two readings of the file. Defaults to a second.
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets a function that adds to each new configuration the settings that the gate was given in code beside those of the
    /// file, without its back ends.
    pub fn prepare(mut self, prepare: impl Fn(GateBuilder) -> GateBuilder + Send + 'static) -> Self {
        self.prepare = Box::new(prepare);
        self
    }

    /// Sets a function that is told of each reload: of the configuration that is in force now, or of the fault. It is called in
    /// the thread of the watcher.
    pub fn on_reload(
        mut self,
        told: impl FnMut(&Result<Configuration, ConfigError>) + Send + 'static,
    ) -> Self {
        self.told = Box::new(told);
        self
    }

    /// Starts the watcher.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, as for a configuration that was not read from a file, or if the operating
    /// system starts no thread.
    pub fn start(self, gate: &Gate) -> Result<Watching, ConfigError> {
        super::bytes_of(&self.path)?;
        let (watching, ended) = sync_channel(0);
        let gate = gate.clone();
        let thread = std::thread::Builder::new().name("tollgate-watch".into());
        thread.spawn(move || self.run(&gate, &ended)).map_err(|error| {
            let problem = format!("failed to start the thread of the watcher since {error}");
            ConfigError::new("", problem, "raise the limit on threads of the process")
        })?;
        Ok(Watching(watching))
    }

    fn run(mut self, gate: &Gate, ended: &Receiver<()>) {
        let mut seen = Seen::new(Ok(std::mem::take(&mut self.in_force)));
        while ended.recv_timeout(self.interval) == Err(RecvTimeoutError::Timeout) {
            let Some(read) = seen.next(super::bytes_of(&self.path)) else { continue };
            let (path, prepare) = (&self.path, &self.prepare);
            let read = || read.and_then(|bytes| Config::from_bytes(bytes, path));
            let _panic_was_logged = guard("the watcher of the configuration", || {
                let reloaded = gate.reload_config(read, prepare);
                (self.told)(&reloaded);
            });
        }
    }
}

type Read = Result<Vec<u8>, ConfigError>;

/// The contents that a watcher has read.
struct Seen {
    /// The content that was taken or rejected last.
    judged: Read,
    /// The content that was read last.
    last: Read,
}

impl Seen {
    fn new(judged: Read) -> Self {
        Self { last: judged.clone(), judged }
    }

    /// Returns a content that was read twice in succession, and differs from the one before.
    fn next(&mut self, read: Read) -> Option<Read> {
        let is_stable = self.last == read;
        self.last = read;
        if !is_stable || self.last == self.judged {
            return None;
        }
        self.judged.clone_from(&self.last);
        Some(self.last.clone())
    }
}

impl fmt::Debug for ConfigWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, interval, .. } = self;
        f.debug_struct("ConfigWatch").field("path", path).field("interval", interval).finish_non_exhaustive()
    }
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn only_stable_and_new_contents_are_taken() {
        let read = |text: &str| Ok(text.as_bytes().to_vec());
        let missing = || super::super::bytes_of(Path::new("/nonexistent/gate.toml"));
        let mut seen = Seen::new(read("a"));
        for (content, is_taken) in [
            (read("a"), false),
            (read("ab"), false),
            (read("abc"), false),
            (read("abc"), true),
            (read("abc"), false),
            // A change that is taken back at once.
            (read("x"), false),
            (read("abc"), false),
            (read("abc"), false),
            // A gap between two files is not told, a file that stays away is told once.
            (missing(), false),
            (read("d"), false),
            (missing(), false),
            (missing(), true),
            (missing(), false),
            (read("d"), false),
            (read("d"), true),
        ] {
            let taken = seen.next(content.clone());
            assert_eq!(taken, is_taken.then_some(content));
        }
    }
}
