//! Ledger entries: one entry for each change of a balance.

use crate::amount::{ChargeId, Credits, Currency};
use crate::clock::Timestamp;
use crate::credit::{AdjustmentId, AdjustmentKind, Balance, BucketId};
use crate::name::AccountId;

/// The cause of a balance change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// A charge was taken.
    Charge(ChargeId),
    /// A charge was settled below the charged amount, and the difference was returned.
    Settlement(ChargeId),
    /// A charge was settled above the charged amount, and the difference was taken or is owed.
    Overage(ChargeId),
    /// A charge was returned in full.
    Refund(ChargeId),
    /// The plan's grant was applied.
    Grant,
    /// The balance was set when the ledger was set up.
    Opening,
    /// The balance was topped up manually.
    TopUp(AdjustmentId),
    /// An amount was deducted manually.
    Deduction(AdjustmentId),
    /// The balance was set manually.
    Set(AdjustmentId),
    /// The limit was removed manually.
    Unlimited(AdjustmentId),
    /// Credits were moved between buckets manually.
    Moved(AdjustmentId),
    /// The credits that were left in a bucket expired.
    Expired,
    /// Credits of a bucket paid a debt.
    DebtPaid,
    /// All changes up to this entry: older entries were folded into this one. Its amount is the balance.
    Folded,
}

impl EntryKind {
    /// Returns the entry kind of an adjustment.
    pub(super) fn of(kind: &AdjustmentKind, id: AdjustmentId) -> Self {
        match kind {
            AdjustmentKind::TopUp(_) | AdjustmentKind::TopUpInto { .. } => Self::TopUp(id),
            AdjustmentKind::Deduct(_) | AdjustmentKind::Expire(_) => Self::Deduction(id),
            AdjustmentKind::Move { .. } => Self::Moved(id),
            AdjustmentKind::Set(_) => Self::Set(id),
            AdjustmentKind::MakeUnlimited => Self::Unlimited(id),
        }
    }

    /// Returns the id of the charge that the entry belongs to.
    pub fn charge(&self) -> Option<ChargeId> {
        match self {
            Self::Charge(id) | Self::Settlement(id) | Self::Overage(id) | Self::Refund(id) => Some(*id),
            _ => None,
        }
    }

    /// Returns the id of the adjustment that the entry belongs to.
    pub fn adjustment(&self) -> Option<&AdjustmentId> {
        match self {
            Self::TopUp(id) | Self::Deduction(id) | Self::Set(id) | Self::Unlimited(id) | Self::Moved(id) => {
                Some(id)
            }
            _ => None,
        }
    }

    /// Returns the name of the kind, as used in listings.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Charge(_) => "charge",
            Self::Settlement(_) => "settlement",
            Self::Overage(_) => "overage",
            Self::Refund(_) => "refund",
            Self::Grant => "grant",
            Self::Opening => "opening",
            Self::TopUp(_) => "top-up",
            Self::Deduction(_) => "deduction",
            Self::Set(_) => "set",
            Self::Unlimited(_) => "unlimited",
            Self::Moved(_) => "moved",
            Self::Expired => "expired",
            Self::DebtPaid => "debt-paid",
            Self::Folded => "folded",
        }
    }
}

/// One change of a bucket.
///
/// The balance of an entry is the balance of the previous entry plus the amount. An account without limit counts as
/// zero in this sum. One call may write several entries: one for each bucket that it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The number of the entry within the account, starting at 1 without gaps. If older entries were folded or are not
    /// kept, the first available entry has a higher number.
    pub number: u64,
    /// The time of the change. The entry of a settlement or a refund may have the time of the account's last call before
    /// it: a ledger need not read the time for it.
    pub at: Timestamp,
    /// The cause of the change.
    pub kind: EntryKind,
    /// The amount that was added; negative if credits were taken.
    pub amount: i64,
    /// The sum of all buckets minus the debt after the change. It includes buckets that have not started.
    pub balance: Balance,
    /// The bucket that was changed.
    pub bucket: BucketId,
    /// The amount in the bucket after the change. For the debt, the amount that is owed.
    pub left: Credits,
}

impl Entry {
    /// Creates an entry of the main bucket, which has the whole balance.
    pub fn new(number: u64, at: Timestamp, kind: EntryKind, amount: i64, balance: Balance) -> Self {
        let left = balance.credits().unwrap_or_default();
        Self { number, at, kind, amount, balance, bucket: BucketId::Main, left }
    }

    /// Creates an entry of a bucket with the amount in it after the change.
    #[must_use]
    pub fn in_bucket(self, bucket: BucketId, left: Credits) -> Self {
        Self { bucket, left, ..self }
    }
}

/// A selection of entries to list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryQuery {
    /// The account whose entries are listed.
    pub account: AccountId,
    /// The currency of the credits. Defaults to [`Currency::CREDITS`].
    pub currency: Currency,
    /// An exclusive upper bound on the entry number.
    pub before: Option<u64>,
    /// The maximum number of entries.
    pub limit: usize,
}

impl EntryQuery {
    /// Selects the `limit` newest entries of an account.
    pub fn newest(account: impl Into<AccountId>, limit: usize) -> Self {
        Self { account: account.into(), currency: Currency::CREDITS, before: None, limit }
    }
}
