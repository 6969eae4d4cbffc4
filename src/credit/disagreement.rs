//! The result of an audit.

use crate::amount::Currency;
use crate::name::AccountId;

/// An account whose stored balance, buckets or sum of open charges differ from the recomputed values, or whose entries are
/// inconsistent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disagreement {
    /// The account.
    pub account: AccountId,
    /// The currency of the credits.
    pub currency: Currency,
    /// The stored sum of all buckets minus the debt; zero if there is no limit.
    pub balance: i64,
    /// The sum of the entries.
    pub entries: i64,
    /// The stored sum of the open charges.
    pub held: i64,
    /// The recomputed sum of the open charges.
    pub open: i64,
    /// The number of entries that are missing or do not follow from the previous entry.
    pub broken: i64,
    /// The number of buckets whose stored amount differs from the sum of their entries. The debt counts as one.
    pub buckets: i64,
}
