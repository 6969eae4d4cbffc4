//! The id of a key.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::error::ConfigError;

/// A key's id: a UUID that is not a secret and stays the same through every rotation.
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
    /// Creates the id with these 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Returns the 16 bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Generates a new id: a UUID of version 7 (RFC 9562, section 5.7). Later ids of a process sort after earlier ones.
    ///
    /// The id is unique and is not a secret.
    pub fn generate() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};

        // The last tick: the millisecond in the upper bits, and a 12-bit count of the ids within it in the lower bits.
        // A count that overflows advances to the next millisecond.
        static LAST: AtomicU64 = AtomicU64::new(0);
        let millis = crate::clock::Timestamp::from(std::time::SystemTime::now()).as_millis();
        let now = u64::try_from(millis).unwrap_or_default() << 12;
        let later = |last: u64| now.max(last + 1);
        let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(later(last)));
        let tick = later(last.unwrap_or_default());
        let [.., high, low] = tick.to_be_bytes();
        // The id needs no unpredictable bits. Generation must not fail if the operating system has no randomness to
        // give.
        let mut tail = [0; 10];
        tail[..2].copy_from_slice(&[high & 0x0f, low]);
        tail[2..].copy_from_slice(&crate::amount::random().to_be_bytes());
        Self(uuid::Builder::from_unix_timestamp_millis(tick >> 12, &tail).into_uuid())
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
