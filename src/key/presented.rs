//! The key as the client presents it.

use std::fmt;

use zeroize::Zeroizing;

/// A key as the client presents it. It is borrowed from the request, or decoded from its query and wiped when dropped.
///
/// `Debug` shows only the length: even the first characters of an unknown key may be secret.
pub struct PresentedKey<'a>(Bytes<'a>);

enum Bytes<'a> {
    Borrowed(&'a [u8]),
    Decoded(Zeroizing<Vec<u8>>),
}

impl<'a> PresentedKey<'a> {
    /// Creates a presented key that borrows the request's bytes as they are.
    pub fn borrowed(bytes: &'a [u8]) -> Self {
        Self(Bytes::Borrowed(bytes))
    }

    /// Creates a presented key from decoded bytes, which are wiped when it is dropped.
    pub fn decoded(bytes: Vec<u8>) -> Self {
        Self(Bytes::Decoded(Zeroizing::new(bytes)))
    }

    /// Returns the exact bytes of the key.
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
