//! A new key, shown once.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::key::{Randomness, RandomnessError};

/// A new key, shown once at its creation. Its memory is wiped when it is dropped.
///
/// `Debug` shows only the start. The type implements neither `Display` nor `Clone` nor `Serialize`.
///
/// # Example
///
/// ```
/// use tollgate::key::Length;
/// use tollgate::KeyFormat;
///
/// let key = KeyFormat::new("acme_", Length::exactly(32))?.generate()?;
/// let shown = format!("{key:?}");
/// let secret = key.expose_secret();
/// assert!(secret.starts_with("acme_") && !shown.contains(secret));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct IssuedKey {
    secret: SecretString,
    start: usize,
}

impl IssuedKey {
    /// Creates a key from ASCII bytes, of which the first `start` may be shown.
    pub(crate) fn new(key: &[u8], start: usize) -> Self {
        Self { secret: String::from_utf8_lossy(key).into_owned().into(), start }
    }

    /// Returns the whole key, to be shown once to its owner.
    pub fn expose_secret(&self) -> &str {
        self.secret.expose_secret()
    }

    /// Returns the first characters, which may be shown and stored.
    pub fn start(&self) -> &str {
        self.expose_secret().get(..self.start).unwrap_or_default()
    }
}

impl fmt::Debug for IssuedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuedKey({}..)", self.start())
    }
}

/// Appends `count` letters to `out`. Every letter is equally likely.
///
/// A random byte at or above the largest multiple of the alphabet's size is rejected, because a remainder of it would
/// make the first letters likelier.
pub(crate) fn draw_letters(
    source: &dyn Randomness,
    letters: &[u8],
    count: usize,
    out: &mut Vec<u8>,
) -> Result<(), RandomnessError> {
    let fair = 256 - 256 % letters.len();
    let (mut pool, end) = (Zeroizing::new([0_u8; 64]), out.len() + count);
    while out.len() < end {
        source.fill(&mut *pool)?;
        let drawn = pool.iter().map(|&byte| usize::from(byte)).filter(|&byte| byte < fair);
        out.extend(drawn.map(|byte| letters[byte % letters.len()]).take(end - out.len()));
    }
    Ok(())
}
