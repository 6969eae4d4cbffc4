//! A file as the new configuration of a gate that runs.

use std::path::Path;

use crate::config::{Config, build, locate};
use crate::error::ConfigError;
use crate::gate::{Configuration, Gate, GateBuilder};

impl Gate {
    /// Replaces the configuration of a gate that runs by that of a file, as [`reload`](Gate::reload) does. Errors name the file
    /// and the line.
    ///
    /// Settings that the gate was given in code beside the file are not in the file. A service with such settings calls
    /// `reload` with a builder that has them.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, or if its configuration is rejected. The old configuration stays in force.
    ///
    /// # Example
    ///
    /// A service that reads its file again when it gets the signal `SIGHUP`:
    ///
    /// ```no_run
    /// # #[cfg(unix)]
    /// async fn reload_on_hangup(gate: tollgate::Gate) -> std::io::Result<()> {
    ///     use tokio::signal::unix::{SignalKind, signal};
    ///
    ///     let mut hangups = signal(SignalKind::hangup())?;
    ///     while hangups.recv().await.is_some() {
    ///         // An error is logged, and the metric of the last reload tells of it.
    ///         let _ = gate.reload_file("gate.toml");
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn reload_file(&self, path: impl AsRef<Path>) -> Result<Configuration, ConfigError> {
        self.reload_config(|| Config::read(path), |builder| builder)
    }

    /// Replaces the configuration by one that is read, with the changes that `prepare` makes.
    pub(super) fn reload_config(
        &self,
        read: impl FnOnce() -> Result<Config, ConfigError>,
        prepare: impl FnOnce(GateBuilder) -> GateBuilder,
    ) -> Result<Configuration, ConfigError> {
        self.reload_with(|before| {
            let config = read()?;
            let compiled = prepare(config.builder()?).after(before);
            compiled.map_err(|error| locate::place(&config, build::in_terms_of_the_file(&config, error)))
        })
    }
}
