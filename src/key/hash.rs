//! The hash by which a store files and finds a key.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::block_api::compress256;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use crate::error::ConfigError;

/// The SHA-256 of a key, plain or keyed with a pepper. A store contains nothing else of the secret.
///
/// `Debug` shows only the first bytes. A comparison takes the same time for all values.
///
/// # Example
///
/// ```
/// use tollgate::key::KeyHasher;
///
/// let hash = KeyHasher::sha256().hash(b"mtk_demo");
/// assert_eq!(hash, KeyHasher::sha256().hash(b"mtk_demo"));
/// ```
#[derive(Clone, Copy, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Creates a hash from bytes that were computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Creates the hash of a key whose plain SHA-512 was computed elsewhere: the SHA-256 of that digest.
    pub fn from_sha512(digest: &[u8; 64]) -> Self {
        Self(Sha256::digest(digest).into())
    }

    /// Returns the 32 bytes of the hash, for a store to write.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl KeyHash {
    #[inline]
    fn words(&self) -> [u64; 4] {
        let (words, _) = self.0.as_chunks();
        [0, 1, 2, 3].map(|place| u64::from_ne_bytes(words[place]))
    }
}

impl PartialEq for KeyHash {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        // Combine all words before one constant-time comparison: its optimisation barrier for each word would cost more
        // than the rest of the look-up.
        let pairs = self.words().into_iter().zip(other.words());
        pairs.fold(0, |difference, (mine, theirs)| difference | (mine ^ theirs)).ct_eq(&0).into()
    }
}

impl std::hash::Hash for KeyHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // The bytes of a hash are nearly random. Imported bytes may not be a hash at all, so all of them must
        // contribute.
        let [a, b, c, d] = self.words();
        state.write_u64(a ^ b.rotate_left(17) ^ c.rotate_left(31) ^ d.rotate_left(47));
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, ..] = self.0;
        write!(f, "KeyHash({a:02x}{b:02x}..)")
    }
}

/// The hash function of keys: plain SHA-256 or SHA-512, or HMAC-SHA-256 with a pepper that the store does not know.
///
/// A fast hash is sufficient because keys are random: there is no password to guess.
///
/// # Example
///
/// ```
/// use tollgate::key::KeyHasher;
///
/// let peppered = KeyHasher::hmac_sha256(b"a pepper of at least sixteen bytes")?;
/// assert_ne!(peppered.hash(b"mtk_demo"), KeyHasher::sha256().hash(b"mtk_demo"));
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Clone, Default)]
pub struct KeyHasher(Scheme);

#[derive(Clone, Default)]
enum Scheme {
    #[default]
    Sha256,
    Sha512,
    Hmac(Hmac<Sha256>),
}

impl KeyHasher {
    /// Returns a hasher that uses plain SHA-256.
    pub const fn sha256() -> Self {
        Self(Scheme::Sha256)
    }

    /// Returns a hasher that uses plain SHA-512, for keys that were hashed so elsewhere; see [`KeyHash::from_sha512`].
    pub const fn sha512() -> Self {
        Self(Scheme::Sha512)
    }

    /// Creates a hasher that uses HMAC-SHA-256 (RFC 2104) with this pepper.
    ///
    /// # Errors
    ///
    /// Returns an error if the pepper has fewer than 16 bytes.
    pub fn hmac_sha256(pepper: &[u8]) -> Result<Self, ConfigError> {
        let refuse =
            |problem| ConfigError::new("", problem, "use at least 16 random bytes").in_member("pepper");
        if pepper.len() < 16 {
            return Err(refuse("the pepper is too short"));
        }
        Hmac::new_from_slice(pepper).map(|mac| Self(Scheme::Hmac(mac))).map_err(|_| refuse("invalid pepper"))
    }

    /// Returns true if both hashers compute the same hash of every key.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.hash(b"") == other.hash(b"")
    }

    /// Returns the name of the hash function.
    pub(crate) fn name(&self) -> &'static str {
        match self.0 {
            Scheme::Sha256 => "sha256",
            Scheme::Sha512 => "sha512",
            Scheme::Hmac(_) => "hmac-sha256",
        }
    }

    /// Returns the hash of a key's exact bytes.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        match &self.0 {
            Scheme::Sha256 => KeyHash(in_one_block(key).unwrap_or_else(|| Sha256::digest(key).into())),
            Scheme::Sha512 => KeyHash::from_sha512(&Sha512::digest(key).into()),
            Scheme::Hmac(mac) => KeyHash(mac.clone().chain_update(key).finalize().into_bytes().into()),
        }
    }
}

/// The initial state of SHA-256 (FIPS 180-4, section 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Returns the SHA-256 of a key that fits into one block with its padding, as nearly all do (FIPS 180-4, section 5.1.1).
/// Returns `None` for a longer key.
///
/// The general hasher keeps a buffer for further blocks. It takes 67 instructions more (`benches/counts`).
#[inline]
fn in_one_block(key: &[u8]) -> Option<[u8; 32]> {
    let mut block = [0; 64];
    let (message, length) = block.split_last_chunk_mut::<8>()?;
    message.get_mut(..key.len())?.copy_from_slice(key);
    *message.get_mut(key.len())? = 0x80;
    *length = (8 * key.len() as u64).to_be_bytes();
    let mut state = INITIAL;
    compress256(&mut state, &[block]);
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    Some(digest)
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHasher({})", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The comparison reads all of both hashes before its one barrier. This test shows that it ignores no part of them.
    #[test]
    fn hash_with_one_bit_changed_is_not_equal() {
        let hash = KeyHasher::sha256().hash(b"mtk_demo");
        for bit in 0..256 {
            let mut bytes = *hash.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(KeyHash::from_bytes(bytes) != hash, "{bit}");
        }
        assert_eq!(KeyHash::from_bytes(*hash.as_bytes()), hash);
    }

    #[test]
    fn one_block_hashes_like_any_other() {
        let text: Vec<u8> = (0..=255).collect();
        for length in 0..=56 {
            let whole: [u8; 32] = Sha256::digest(&text[..length]).into();
            assert_eq!(in_one_block(&text[..length]), (length < 56).then_some(whole), "{length}");
        }
    }
}
