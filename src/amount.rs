//! Credit amounts, their currencies, and charge ids.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::ConfigError;

/// An amount of credits: a whole number that is never negative.
///
/// # Example
///
/// ```
/// use tollgate::Credits;
///
/// assert_eq!(Credits::new(7).checked_sub(Credits::new(5)), Some(Credits::new(2)));
/// assert_eq!(Credits::new(7).checked_sub(Credits::new(8)), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Credits(u64);

impl Credits {
    /// No credits.
    pub const ZERO: Self = Self(0);

    /// The largest amount: the largest value of a signed 64-bit database column.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// Creates an amount of credits, limited to at most [`Credits::MAX`].
    pub const fn new(amount: u64) -> Self {
        if amount > Self::MAX.0 { Self::MAX } else { Self(amount) }
    }

    /// Returns the number of credits.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns true if the amount is zero.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Returns the sum, or `None` if it is above [`Credits::MAX`].
    #[must_use]
    #[inline]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).filter(|sum| *sum <= Self::MAX.0).map(Self)
    }

    /// Returns the difference, or `None` if it is negative.
    #[must_use]
    #[inline]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// Returns the product, or `None` if it is above [`Credits::MAX`].
    #[must_use]
    pub fn checked_mul(self, times: u64) -> Option<Self> {
        self.0.checked_mul(times).filter(|product| *product <= Self::MAX.0).map(Self)
    }
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The unit of an amount of credits. An account has separate credits in each currency.
///
/// The default currency has the name `credits`.
///
/// # Example
///
/// ```
/// use tollgate::credit::Currency;
///
/// let tokens: Currency = "tokens".parse()?;
/// assert_eq!(tokens.as_str(), "tokens");
/// assert_eq!("credits".parse::<Currency>()?, Currency::CREDITS);
/// assert!("two words".parse::<Currency>().is_err());
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
// `None` is the default currency, so that most comparisons read no text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Currency(Option<Arc<str>>);

impl Currency {
    /// The default currency, `credits`.
    pub const CREDITS: Self = Self(None);

    /// Returns the name of the currency.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or("credits")
    }

    /// Returns true for the default currency.
    #[inline]
    pub(crate) fn is_default(&self) -> bool {
        self.0.is_none()
    }
}

impl FromStr for Currency {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !(1..=64).contains(&name.len()) || !name.bytes().all(fits) {
            // Show only the first 40 characters: the name may be hostile input of any length.
            let shown: String = name.chars().take(40).filter(|character| !character.is_control()).collect();
            let problem = "invalid name of a currency";
            let expected = "write 1 to 64 ASCII letters, digits, `-` or `_`, as in `tokens`";
            return Err(ConfigError::new(shown, problem, expected).in_member("currency"));
        }
        Ok(Self((name != "credits").then(|| name.into())))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The id of one charge.
///
/// The gate makes it, never a client. A ledger applies a charge, a settlement or a refund only once per id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChargeId {
    node: u64,
    number: u64,
}

impl ChargeId {
    /// Returns the 16 bytes of the id.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.node) << 64 | u128::from(self.number)).to_be_bytes()
    }

    /// Creates the id from its 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let id = u128::from_be_bytes(bytes);
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
        Self { node: (id >> 64) as u64, number: id as u64 }
    }
}

/// A generator of charge ids that no other process makes.
///
/// An id consists of the process's random number and a counter.
#[derive(Debug)]
pub(crate) struct ChargeIds {
    node: u64,
    next: AtomicU64,
}

impl ChargeIds {
    pub(crate) fn new() -> Self {
        Self { node: random(), next: AtomicU64::new(random() >> 1) }
    }

    #[inline]
    pub(crate) fn next(&self) -> ChargeId {
        ChargeId { node: self.node, number: self.next.fetch_add(1, Ordering::Relaxed) }
    }
}

/// Returns a random number from the seed that the standard library takes from the operating system.
///
/// The number is unique in practice, but it is not a secret.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
