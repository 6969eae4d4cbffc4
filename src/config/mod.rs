//! The configuration file: the types of its members, and a reference of all of them.
//!
//! [`Config`] reads the file and checks it. An error names the file, the line, the member, the value and the remedy.
//! [`Config::builder`] returns a gate builder with all settings, to which a service adds its back ends.
//!
//! # Example
//!
//! ```
//! use tollgate::{Config, MemoryStore};
//!
//! let text = r#"
//!     sources = [{ header = "X-API-Key" }, { authorization = "Bearer" }]
//!     formats = [{ prefix = "acme_", body = 32 }]
//!     rules = [
//!         { route = "GET /health", public = true },
//!         { route = "GET /v1/candles/{symbol}", scope = "candles:read" },
//!     ]
//!     [default]
//!     deny = true
//!     [plans.pro]
//!     quotas = ["600 per minute"]
//! "#;
//! // A service reads a file instead: `Config::read("gate.toml")`.
//! let gate = Config::from_toml(text, "gate.toml")?.builder()?.store(MemoryStore::new()).build()?;
//! assert_eq!(gate.plan("pro").unwrap().quotas.len(), 1);
//!
//! let error = Config::from_toml(&text.replace("public", "pubic"), "gate.toml").unwrap_err();
//! assert_eq!((error.file(), error.line()), (Some("gate.toml"), Some(5)));
//! # Ok::<(), tollgate::ConfigError>(())
//! ```
//!
#![doc = include_str!("reference.md")]

mod alert;
mod attempts;
mod back_ends;
mod build;
mod demo;
mod errors;
mod locate;
mod members;
mod model;
mod plan;
mod reload;
mod rule;
mod secret;
mod shadow;
mod shape;
mod text;
mod usage;
#[cfg(feature = "watch")]
mod watch;

use std::io;
use std::path::Path;
use std::string::FromUtf8Error;

pub use alert::{AlertConfig, AlertWhen, WebhookConfig};
pub use attempts::{AnonymousConfig, AttemptsConfig, NetworkConfig};
pub use back_ends::{
    BackEndsConfig, DenyAlways, DenyOnFailure, LedgerPolicyConfig, LimiterPolicyConfig, OnLimiterFailure,
    StaleConfig, StorePolicyConfig,
};
pub use model::{
    AgreementConfig, Body, Config, CreditHeadersConfig, DefaultConfig, DemoConfig, ErrorFormatConfig,
    ErrorTextConfig, FormatConfig, HashConfig, InsecureConfig, ManagementConfig, OlderHash, OnConflict,
    Preflights, ProxyConfig, Range, RequestIdConfig, SourceConfig,
};
pub use plan::{
    BudgetConfig, CreditsConfig, CurrencyConfig, Forbidden, GrantConfig, InFlightConfig, InFlightTable,
    LifetimeConfig, MaxKeys, ParamLimitConfig, PlanConfig, PlanRuleConfig, QuotaConfig, QuotaTable,
    RolloverConfig, Unlimited,
};
pub use rule::{
    CostConfig, CostTable, PerUnitConfig, ReserveConfig, Routes, RuleConfig, ScopeConfig, ScopesConfig,
    WeightConfig, WeightTable,
};
pub use secret::Reference;
pub use shadow::ShadowConfig;
pub use text::{Network, Never, NotTaken, OneOf, Refusal, Span, Text, Written};
pub use usage::{KeepConfig, UsageConfig};
#[cfg(feature = "watch")]
pub use watch::{ConfigWatch, Watching};

use crate::error::ConfigError;
use crate::gate::GateBuilder;
use crate::key::KeyRecord;

impl Config {
    /// Reads a configuration from a file.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, or if [`Config::from_toml`] rejects its text.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        Self::from_bytes(bytes_of(path)?, path)
    }

    fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = String::from_utf8(bytes).map_err(|error| not_utf8(&error).in_file(&name))?;
        Self::from_toml(&text, &name)
    }

    /// Reads a configuration from TOML, and checks all of it except the back ends. Errors name the file as `file`.
    ///
    /// # Errors
    ///
    /// Returns an error for an unknown member, an invalid value or a contradiction. The error has the file, the line,
    /// the member, the value and a remedy.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::Config;
    ///
    /// let error = Config::from_toml("sources = [{ heder = 'X-API-Key' }]", "acme.toml").unwrap_err();
    /// assert_eq!((error.file(), error.line()), (Some("acme.toml"), Some(1)));
    /// assert!(error.to_string().contains("heder"));
    /// ```
    pub fn from_toml(text: &str, file: &str) -> Result<Self, ConfigError> {
        let deserializer =
            toml::Deserializer::parse(text).map_err(|error| locate::syntax(text, file, "", &error))?;
        shape::check(text, file)?;
        let mut config: Self = serde_path_to_error::deserialize(deserializer)
            .map_err(|error| locate::syntax(text, file, &error.path().to_string(), error.inner()))?;
        config.text = model::FileText(text.into());
        config.file = file.into();
        let _checked = config.builder()?;
        Ok(config)
    }

    /// Returns a builder with all settings of the configuration. The caller adds the back ends, and puts the demo keys'
    /// records ([`Config::demo_keys`]) into the store.
    ///
    /// # Errors
    ///
    /// Returns an error if the configuration contradicts itself because it was changed since it was read, or if a
    /// secret cannot be resolved.
    ///
    /// # Example
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tollgate::{Config, MemoryStore};
    ///
    /// let config = Config::from_toml(
    ///     r#"
    ///     sources = [{ header = "X-API-Key" }]
    ///     formats = [{ prefix = "acme_", body = 32 }]
    ///     "#,
    ///     "acme.toml",
    /// )?;
    /// let store = Arc::new(MemoryStore::new());
    /// let gate = config.builder()?.store(Arc::clone(&store)).build()?;
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    pub fn builder(&self) -> Result<GateBuilder, ConfigError> {
        let builder = build::builder(self).map_err(|error| locate::place(self, error))?;
        builder.check().map_err(|error| locate::place(self, build::in_terms_of_the_file(self, error)))?;
        Ok(builder)
    }

    /// Returns the records of the demo keys, each with its account. The caller puts them into the gate's store.
    ///
    /// # Errors
    ///
    /// Returns an error if the pepper cannot be resolved.
    pub fn demo_keys(&self) -> Result<Vec<KeyRecord>, ConfigError> {
        let hasher = build::hasher(self).map_err(|error| locate::place(self, error))?;
        Ok(self.demo.iter().map(|demo| demo.record(&hasher)).collect())
    }
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|error| unreadable(path, &error).in_file(path.display().to_string()))
}

/// Returns the error for a file that cannot be read.
fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    let (problem, expected) = match error.kind() {
        io::ErrorKind::NotFound => {
            let from = std::env::current_dir().ok().filter(|_| path.is_relative());
            let from =
                from.map(|folder| format!("; a relative path is resolved from `{}`", folder.display()));
            ("the file does not exist", format!("create it, or name another{}", from.unwrap_or_default()))
        }
        io::ErrorKind::PermissionDenied => {
            ("permission is denied", "let the user of this process read it, or name another".to_owned())
        }
        io::ErrorKind::IsADirectory => {
            ("it is a directory", format!("name a file, as in `{}`", path.join("gate.toml").display()))
        }
        _ => return failed(&error.to_string(), "name a file that can be read"),
    };
    failed(problem, &expected)
}

fn failed(problem: &str, expected: &str) -> ConfigError {
    ConfigError::new("", format!("failed to read the configuration since {problem}"), expected)
}

/// Returns the error for a file that is not UTF-8.
fn not_utf8(error: &FromUtf8Error) -> ConfigError {
    let (bytes, offset) = (error.as_bytes(), error.utf8_error().valid_up_to());
    let before = String::from_utf8_lossy(&bytes[..offset]);
    let (line, column) = locate::position(&before, before.len());
    let byte = bytes.get(offset).copied().unwrap_or_default();
    let problem = format!("byte {offset} of the file is 0x{byte:02X}, which is not valid UTF-8");
    ConfigError::new("", problem, "save the file as UTF-8").at_line(line).at_column(column)
}
