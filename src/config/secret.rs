//! References to secrets. A configuration file contains no secret itself.

use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::error::ConfigError;

/// A reference to a secret: `env:NAME` for an environment variable, or `file:PATH` for a file. The last line break of a
/// file is not part of the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference(Place);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Environment(String),
    File(String),
}

impl FromStr for Reference {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self(Place::Environment(name.to_owned()))),
            Some(("file", path)) if !path.is_empty() => Ok(Self(Place::File(path.to_owned()))),
            // The text may be the secret itself, so the error does not quote it.
            _ => Err(ConfigError::new(
                "",
                "a secret must not be written in the configuration",
                "write `env:NAME` or `file:PATH`",
            )),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Environment(name) => write!(f, "env:{name}"),
            Place::File(path) => write!(f, "file:{path}"),
        }
    }
}

impl Reference {
    /// Reads the secret.
    pub(super) fn resolve(&self) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        // The error of `std::env::var` would print the value.
        let unset = || "the environment variable is not set".to_owned();
        let secret = match &self.0 {
            Place::Environment(name) => {
                std::env::var_os(name).map(OsString::into_encoded_bytes).ok_or_else(unset)
            }
            Place::File(path) => std::fs::read(path).map_err(|error| error.to_string()),
        };
        let refuse = |problem: String| {
            ConfigError::new(self.to_string(), problem, "set the secret, or name another place")
        };
        let mut secret =
            Zeroizing::new(secret.map_err(|error| refuse(format!("the secret cannot be read: {error}")))?);
        for end in [b'\n', b'\r'] {
            if matches!(self.0, Place::File(_)) && secret.last() == Some(&end) {
                secret.pop();
            }
        }
        if secret.is_empty() {
            return Err(refuse("the secret is empty".into()));
        }
        Ok(secret)
    }
}
