//! The characters that a key is made of.

use std::fmt;
use std::str::FromStr;

use crate::error::ConfigError;
use crate::words;

/// The set of characters allowed after a key's prefix. All are visible ASCII, and no character occurs twice.
///
/// # Example
///
/// ```
/// use tollgate::key::Alphabet;
///
/// assert!(Alphabet::base62().holds(b'z') && !Alphabet::base62().holds(b'_'));
/// assert!(Alphabet::base64_url().holds(b'_'));
/// assert_eq!("0123456789abcdef".parse::<Alphabet>()?.len(), 16);
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Alphabet {
    letters: Vec<u8>,
    member: [bool; 256],
}

const NAMES: [&str; 4] = ["base62", "base64url", "hex", "visible"];

const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl Alphabet {
    /// Returns the alphabet of digits and letters: `[0-9A-Za-z]`.
    pub fn base62() -> Self {
        Self::of(BASE62.to_vec())
    }

    /// Returns the URL-safe alphabet of base64 (RFC 4648, section 5): `[0-9A-Za-z_-]`.
    pub fn base64_url() -> Self {
        Self::of([BASE62, b"-_"].concat())
    }

    /// Returns the lower-case hexadecimal digits: `[0-9a-f]`.
    pub fn hex() -> Self {
        Self::of(b"0123456789abcdef".to_vec())
    }

    /// Returns all of visible ASCII, without the space: `[!-~]`.
    pub fn visible() -> Self {
        Self::of((b'!'..=b'~').collect())
    }

    fn of(letters: Vec<u8>) -> Self {
        let mut member = [false; 256];
        for &letter in &letters {
            member[usize::from(letter)] = true;
        }
        Self { letters, member }
    }

    /// Returns true if the byte is one of the characters.
    #[inline]
    pub fn holds(&self, byte: u8) -> bool {
        self.member[usize::from(byte)]
    }

    /// Returns true if all bytes are among the characters. Tests eight bytes at a time, without a branch between them.
    #[inline]
    pub(crate) fn holds_all(&self, bytes: &[u8]) -> bool {
        let (eights, rest) = bytes.as_chunks::<8>();
        let among = |all: bool, byte: &u8| all & self.holds(*byte);
        eights.iter().all(|eight| eight.iter().fold(true, among)) && rest.iter().fold(true, among)
    }

    /// Returns the number of characters.
    #[expect(clippy::len_without_is_empty, reason = "an alphabet is never empty")]
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    pub(crate) fn letters(&self) -> &[u8] {
        &self.letters
    }
}

/// Writes the number in base 62 with leading zeros, in as many characters as `out` has.
pub(crate) fn base62(mut number: u32, out: &mut [u8]) {
    for place in out.iter_mut().rev() {
        *place = BASE62[(number % 62) as usize];
        number /= 62;
    }
}

impl FromStr for Alphabet {
    type Err = ConfigError;

    /// Parses one of the names `base62`, `base64url`, `hex` and `visible`. Any other text is the list of the characters
    /// themselves.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |problem: &str| {
            let expected =
                "write `base62`, `base64url`, `hex`, `visible`, or at least two visible ASCII characters";
            Err(ConfigError::new(text, problem, expected))
        };
        if let Some(name) = words::nearest(text, NAMES).filter(|name| *name != text) {
            return refuse(&format!(
                "this resembles the name `{name}`, but would be read as a set of characters"
            ));
        }
        match text {
            "base62" => return Ok(Self::base62()),
            "base64url" => return Ok(Self::base64_url()),
            "hex" => return Ok(Self::hex()),
            "visible" => return Ok(Self::visible()),
            _ => {}
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("an alphabet must be visible ASCII");
        }
        let alphabet = Self::of(text.bytes().collect());
        match alphabet.member.iter().filter(|&&member| member).count() {
            0 | 1 => refuse("an alphabet must have at least two characters"),
            distinct if distinct != alphabet.len() => {
                refuse("an alphabet must not contain a character twice")
            }
            _ => Ok(alphabet),
        }
    }
}

impl fmt::Debug for Alphabet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Alphabet({})", String::from_utf8_lossy(&self.letters))
    }
}
