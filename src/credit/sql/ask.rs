//! What the writer is asked, and what it answers.

use crate::account::Allowance;
use crate::amount::{ChargeId, Credits};
use crate::clock::Timestamp;
use crate::credit::{Adjusted, AdjustmentId, AdjustmentKind, Charged, EntryKind};
use crate::name::AccountId;

pub(super) enum Ask {
    Charge {
        id: ChargeId,
        account: AccountId,
        amount: Credits,
        allowance: Allowance,
        now: Timestamp,
        /// Of a block, what is committed from the start.
        committed: Option<Credits>,
    },
    #[cfg(feature = "fleet")]
    Commit {
        id: ChargeId,
        account: AccountId,
        committed: Credits,
    },
    Close(Close),
    Adjust {
        id: AdjustmentId,
        account: AccountId,
        kind: AdjustmentKind,
        allowance: Allowance,
        now: Timestamp,
    },
}

/// The end of a charge.
pub(super) struct Close {
    pub(super) id: ChargeId,
    pub(super) account: AccountId,
    pub(super) cost: Credits,
    pub(super) kind: fn(ChargeId) -> EntryKind,
    /// Whether a charge that is not there yet must never come.
    pub(super) bars: bool,
    /// Whether nobody holds it any more: a block comes to what is committed then.
    pub(super) abandoned: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Charged(Charged),
    /// Whether there was an open charge.
    Closed(bool),
    /// Whether the block is open.
    #[cfg(feature = "fleet")]
    Committed(bool),
    Adjusted(Adjusted),
}

impl Ask {
    pub(super) fn close(
        account: &AccountId,
        id: ChargeId,
        cost: Credits,
        kind: fn(ChargeId) -> EntryKind,
    ) -> Self {
        Self::Close(Close { id, account: account.clone(), cost, kind, bars: true, abandoned: false })
    }

    pub(super) fn account(&self) -> &AccountId {
        match self {
            #[cfg(feature = "fleet")]
            Self::Commit { account, .. } => account,
            Self::Charge { account, .. }
            | Self::Close(Close { account, .. })
            | Self::Adjust { account, .. } => account,
        }
    }

    /// The charge that it is about.
    pub(super) fn charge(&self) -> Option<ChargeId> {
        match self {
            #[cfg(feature = "fleet")]
            Self::Commit { id, .. } => Some(*id),
            Self::Charge { id, .. } | Self::Close(Close { id, .. }) => Some(*id),
            Self::Adjust { .. } => None,
        }
    }

    /// Whether it sets a balance, which takes back the blocks that nodes hold.
    pub(super) fn recalls(&self) -> bool {
        matches!(self, Self::Adjust { kind: AdjustmentKind::Set(_), .. })
    }

    /// The adjustment that it is about.
    pub(super) fn adjustment(&self) -> Option<&AdjustmentId> {
        match self {
            Self::Adjust { id, .. } => Some(id),
            _ => None,
        }
    }
}
