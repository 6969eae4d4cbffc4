//! Credits, and the charges that spend them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// An amount of credits: whole, never negative.
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

    /// The largest amount: what a signed 64-bit column of a database holds.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// So many credits, [`Credits::MAX`] at the most.
    pub const fn new(amount: u64) -> Self {
        if amount > Self::MAX.0 { Self::MAX } else { Self(amount) }
    }

    /// How many.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether there are none.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, unless it is above [`Credits::MAX`].
    #[must_use]
    #[inline]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).filter(|sum| *sum <= Self::MAX.0).map(Self)
    }

    /// The difference, unless it is negative.
    #[must_use]
    #[inline]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The product, unless it is above [`Credits::MAX`].
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

/// The id of one charge, made by the gate, never by a client: a ledger takes a charge, a settlement or a refund under
/// one id once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChargeId {
    node: u64,
    number: u64,
}

impl ChargeId {
    /// The 16 bytes of the id.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.node) << 64 | u128::from(self.number)).to_be_bytes()
    }

    /// The id with these 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let id = u128::from_be_bytes(bytes);
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
        Self { node: (id >> 64) as u64, number: id as u64 }
    }
}

/// Hashes a charge id by its number alone: ids of one process differ in nothing else.
#[cfg(any(feature = "memory", feature = "fleet"))]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct ByNumber(u64);

#[cfg(any(feature = "memory", feature = "fleet"))]
impl std::hash::Hasher for ByNumber {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // An odd multiplier spreads consecutive numbers over the upper bits, which the map goes by.
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// Makes ids that no other process makes: a random number of its own, and a count.
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

/// A number from the seed that the standard library takes from the operating system: unlike any other, no secret.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
