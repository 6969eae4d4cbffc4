//! What moved a balance, one movement at a time.

use crate::amount::ChargeId;
use crate::clock::Timestamp;
#[cfg(any(feature = "memory", feature = "sqlite", feature = "postgres"))]
use crate::credit::AdjustmentKind;
use crate::credit::{AdjustmentId, Balance};
use crate::name::AccountId;

/// What moved a balance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// A charge was taken.
    Charge(ChargeId),
    /// A charge was settled below what was taken, and the rest came back.
    Settlement(ChargeId),
    /// A charge came back whole.
    Refund(ChargeId),
    /// The plan's grant came due.
    Grant,
    /// The balance was put in by whoever set the ledger up.
    Opening,
    /// It was topped up by hand.
    TopUp(AdjustmentId),
    /// It was deducted from by hand.
    Deduction(AdjustmentId),
    /// It was set by hand.
    Set(AdjustmentId),
    /// Its limit was taken away by hand.
    Unlimited(AdjustmentId),
    /// All that moved it up to here: older entries were folded into this one. The amount is the balance.
    Folded,
}

impl EntryKind {
    /// What an adjustment is in a list of entries.
    #[cfg(any(feature = "memory", feature = "sqlite", feature = "postgres"))]
    pub(super) fn of(kind: AdjustmentKind, id: AdjustmentId) -> Self {
        match kind {
            AdjustmentKind::TopUp(_) => Self::TopUp(id),
            AdjustmentKind::Deduct(_) => Self::Deduction(id),
            AdjustmentKind::Set(_) => Self::Set(id),
            AdjustmentKind::MakeUnlimited => Self::Unlimited(id),
        }
    }

    /// The charge that it belongs to.
    pub fn charge(&self) -> Option<ChargeId> {
        match self {
            Self::Charge(id) | Self::Settlement(id) | Self::Refund(id) => Some(*id),
            _ => None,
        }
    }

    /// The adjustment that it belongs to.
    pub fn adjustment(&self) -> Option<&AdjustmentId> {
        match self {
            Self::TopUp(id) | Self::Deduction(id) | Self::Set(id) | Self::Unlimited(id) => Some(id),
            _ => None,
        }
    }

    /// The kind's name, as in a list.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Charge(_) => "charge",
            Self::Settlement(_) => "settlement",
            Self::Refund(_) => "refund",
            Self::Grant => "grant",
            Self::Opening => "opening",
            Self::TopUp(_) => "top-up",
            Self::Deduction(_) => "deduction",
            Self::Set(_) => "set",
            Self::Unlimited(_) => "unlimited",
            Self::Folded => "folded",
        }
    }
}

/// One movement of a balance.
///
/// An entry's balance is that of the entry before plus its amount; an account without limit counts as zero there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its number within the account: from 1, without a gap. Where older entries were folded into one, or are not kept, the
    /// first has a higher number.
    pub number: u64,
    /// When. A settlement or a refund names no time: it may bear that of the account's last call before it.
    pub at: Timestamp,
    /// What moved the balance.
    pub kind: EntryKind,
    /// What was added; negative for what was taken.
    pub amount: i64,
    /// What there was to spend after it.
    pub balance: Balance,
}

impl Entry {
    /// An entry.
    pub fn new(number: u64, at: Timestamp, kind: EntryKind, amount: i64, balance: Balance) -> Self {
        Self { number, at, kind, amount, balance }
    }
}

/// Which entries to list: the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryQuery {
    /// Whose.
    pub account: AccountId,
    /// Those before this number alone.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

impl EntryQuery {
    /// The `limit` newest entries of an account.
    pub fn newest(account: impl Into<AccountId>, limit: usize) -> Self {
        Self { account: account.into(), before: None, limit }
    }
}
