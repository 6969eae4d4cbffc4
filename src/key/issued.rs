//! A new key, shown once.

use std::fmt;

use zeroize::Zeroizing;

use crate::key::{Randomness, RandomnessError};

/// A key as it is handed out, once, at its creation: its memory is wiped when it goes.
///
/// `Debug` shows its start alone; there is no `Display`, no `Clone` and no `Serialize`.
///
/// # Example
///
/// ```
/// use tollgate::key::Length;
/// use tollgate::KeyFormat;
///
/// let key = KeyFormat::new("acme_", Length::exactly(32))?.generate()?;
/// let shown = format!("{key:?}");
/// let secret = key.reveal();
/// assert!(secret.starts_with("acme_") && !shown.contains(&*secret));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct IssuedKey {
    secret: Zeroizing<String>,
    start: usize,
}

impl IssuedKey {
    /// A key of ASCII bytes, of which the first `start` may be shown.
    pub(crate) fn new(key: &[u8], start: usize) -> Self {
        Self { secret: Zeroizing::new(String::from_utf8_lossy(key).into_owned()), start }
    }

    /// The whole key, once: for its owner's eyes.
    pub fn reveal(self) -> RevealedKey {
        RevealedKey(self.secret)
    }

    #[cfg(feature = "keygen")]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// The first characters, which may be shown and stored.
    pub fn start(&self) -> &str {
        self.secret.get(..self.start).unwrap_or_default()
    }
}

impl fmt::Debug for IssuedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuedKey({}..)", self.start())
    }
}

/// A key that is shown: it reads as text, and its memory is wiped when it goes.
///
/// `Debug` shows nothing of it; there is no `Clone`.
pub struct RevealedKey(Zeroizing<String>);

impl std::ops::Deref for RevealedKey {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RevealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for RevealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RevealedKey(..)")
    }
}

/// Appends `count` letters, each as likely as any other.
///
/// A random byte at or above the largest multiple of the alphabet's size is rejected, not folded: folding would
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
