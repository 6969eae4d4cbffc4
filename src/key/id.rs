//! The id of a key.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::ConfigError;

/// A key's id: a UUID, no secret, the same through every rotation.
///
/// # Example
///
/// ```
/// use tollgate::KeyId;
///
/// let id: KeyId = "10487f8f-8751-4f4f-8a6a-fe7e2dcb940c".parse()?;
/// assert_eq!(id.to_string(), "10487f8f-8751-4f4f-8a6a-fe7e2dcb940c");
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Uuid);

impl KeyId {
    /// The id with these 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// A new id (UUID version 7: later ids sort behind earlier ones).
    #[cfg(feature = "keygen")]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl FromStr for KeyId {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self).map_err(|error| {
            let problem = format!("failed to read a key id since {error}");
            ConfigError::new(text, problem, "write a UUID, as in `10487f8f-8751-4f4f-8a6a-fe7e2dcb940c`")
        })
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
