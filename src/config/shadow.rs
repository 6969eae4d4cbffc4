//! The checks in shadow, in the configuration file.

use serde::Deserialize;

use crate::account::ShadowChecks;
use crate::error::ConfigError;
use crate::gate::Check;

/// The checks that are made in shadow: `true` for all, or a list of their names.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "invalid checks in shadow, expected `true`, or a list as in `[\"rate_limits\", \"credits\"]`"
)]
pub enum ShadowConfig {
    /// All checks, or none.
    All(bool),
    /// The checks of these names.
    Checks(Vec<String>),
}

impl Default for ShadowConfig {
    fn default() -> Self {
        Self::All(false)
    }
}

impl ShadowConfig {
    pub(super) fn checks(&self) -> Result<ShadowChecks, ConfigError> {
        match self {
            Self::All(true) => Ok(ShadowChecks::ALL),
            Self::All(false) => Ok(ShadowChecks::NONE),
            Self::Checks(names) => {
                let check = |(place, name): (usize, &String)| {
                    name.parse::<Check>().map_err(|error| error.in_member(format!("shadow[{place}]")))
                };
                names.iter().enumerate().map(check).collect()
            }
        }
    }
}
