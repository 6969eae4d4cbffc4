//! The key as the client presents it.

use std::fmt;

use zeroize::Zeroizing;

/// A key as it stands in a request: borrowed from it, or decoded from its query and then wiped after use.
///
/// `Debug` shows its length alone: of an unknown key not even the first characters are harmless.
pub struct PresentedKey<'a>(Bytes<'a>);

enum Bytes<'a> {
    Borrowed(&'a [u8]),
    Decoded(Zeroizing<Vec<u8>>),
}

impl<'a> PresentedKey<'a> {
    /// A key that stands in the request as it is.
    pub fn borrowed(bytes: &'a [u8]) -> Self {
        Self(Bytes::Borrowed(bytes))
    }

    /// A key that was decoded.
    pub fn decoded(bytes: Vec<u8>) -> Self {
        Self(Bytes::Decoded(Zeroizing::new(bytes)))
    }

    /// The exact bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Borrowed(bytes) => bytes,
            Bytes::Decoded(bytes) => bytes,
        }
    }
}

impl fmt::Debug for PresentedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PresentedKey({} bytes)", self.as_bytes().len())
    }
}
