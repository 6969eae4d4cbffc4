//! Buckets: the parts of an account's credits, each with its own priority and expiry.

use std::fmt;
use std::str::FromStr;

use crate::account::PRIORITY;
use crate::amount::Credits;
use crate::clock::Timestamp;
use crate::credit::AdjustmentId;
use crate::error::ConfigError;

/// The id of a bucket within its account and currency.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BucketId {
    /// The main bucket: the plan's grant, and the balance that was set. Every account has it.
    Main,
    /// The credits of all top-ups without terms of their own.
    Purchased,
    /// The bucket of an adjustment with terms, such as a top-up that expires.
    Of(AdjustmentId),
    /// The bucket of credits that were returned to a bucket after its expiry.
    Returned,
    /// The debt. Its entries sum to the amount that the account owes, as a negative number.
    Debt,
}

impl fmt::Display for BucketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Main => f.write_str("main"),
            Self::Purchased => f.write_str("purchased"),
            Self::Of(id) => id.fmt(f),
            Self::Returned => f.write_str("returned"),
            Self::Debt => f.write_str("debt"),
        }
    }
}

impl BucketId {
    /// Returns true if an adjustment id is the text of a bucket that is not made by an adjustment.
    pub(crate) fn is_reserved(id: &AdjustmentId) -> bool {
        Self::named(id.as_str()).is_some()
    }

    fn named(text: &str) -> Option<Self> {
        let named = [Self::Main, Self::Purchased, Self::Returned, Self::Debt];
        named.into_iter().find(|id| id.to_string() == text)
    }
}

impl FromStr for BucketId {
    type Err = ConfigError;

    /// Parses an id as [`Display`](fmt::Display) writes it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::named(text).map_or_else(|| text.parse().map(Self::Of), Ok)
    }
}

/// The origin of the credits in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BucketKind {
    /// The plan's grant.
    Grant,
    /// A balance that was set, on a plan without a grant.
    Balance,
    /// Credits that were bought.
    Purchase,
    /// Credits that were given.
    Promotion,
    /// Credits that were returned.
    Refund,
}

impl BucketKind {
    const ALL: [Self; 5] = [Self::Grant, Self::Balance, Self::Purchase, Self::Promotion, Self::Refund];

    /// Returns the name of the kind, as used in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Balance => "balance",
            Self::Purchase => "purchase",
            Self::Promotion => "promotion",
            Self::Refund => "refund",
        }
    }
}

impl fmt::Display for BucketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BucketKind {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let expected = "write `grant`, `balance`, `purchase`, `promotion` or `refund`";
            ConfigError::new(name, "unknown kind of credits", expected).in_member("kind")
        })
    }
}

/// The terms of a new bucket.
///
/// # Example
///
/// ```
/// use tollgate::credit::{BucketKind, BucketTerms};
///
/// let mut spring = BucketTerms::of(BucketKind::Promotion);
/// spring.priority = 10;
/// spring.expires = Some("2026-06-01T00:00:00Z".parse()?);
/// assert_eq!(BucketTerms::default().kind, BucketKind::Purchase);
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BucketTerms {
    /// The origin of the credits.
    pub kind: BucketKind,
    /// The priority: credits of a lower number are spent first. Defaults to 100.
    pub priority: u16,
    /// The time from which the credits can be spent. `None` for at once.
    pub valid_from: Option<Timestamp>,
    /// The time at which the credits that are left expire. `None` for credits that do not expire.
    pub expires: Option<Timestamp>,
}

impl BucketTerms {
    /// Creates the terms of credits that can be spent at once and do not expire.
    pub fn of(kind: BucketKind) -> Self {
        Self { kind, priority: PRIORITY, valid_from: None, expires: None }
    }

    /// Returns true if the credits expire before they can be spent.
    pub(super) fn is_void(&self) -> bool {
        self.expires.is_some_and(|expires| self.valid_from.is_some_and(|from| from >= expires))
    }
}

impl Default for BucketTerms {
    /// The terms of a purchase.
    fn default() -> Self {
        Self::of(BucketKind::Purchase)
    }
}

/// A part of an account's credits.
///
/// A charge draws from the bucket of the lowest priority number first, then from the one that expires first, then from
/// the oldest. The main bucket counts the time of the next grant as its expiry in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bucket {
    /// The id of the bucket.
    pub id: BucketId,
    /// The terms of the bucket.
    pub terms: BucketTerms,
    /// The amount with which the bucket was made. For the main bucket, the last grant, or the amount that was set. For
    /// the buckets that several calls fill, the sum of what they added.
    pub amount: Credits,
    /// The amount that is left. Open charges are already subtracted.
    pub left: Credits,
}

impl Bucket {
    /// Creates a bucket.
    pub fn new(id: BucketId, terms: BucketTerms, amount: Credits, left: Credits) -> Self {
        Self { id, terms, amount, left }
    }
}
