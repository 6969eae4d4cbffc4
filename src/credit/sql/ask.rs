//! The calls that the writer accepts, and its answers.

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
        /// The amount of a block that is committed from the start; `None` for a charge that is not a block.
        committed: Option<Credits>,
    },
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

/// The closing of a charge.
pub(super) struct Close {
    pub(super) id: ChargeId,
    pub(super) account: AccountId,
    pub(super) cost: Credits,
    pub(super) kind: fn(ChargeId) -> EntryKind,
    /// True if the charge must never be taken in case it has not arrived yet.
    pub(super) bars: bool,
    /// True if no node holds the charge any more: a block is then closed at its committed amount.
    pub(super) abandoned: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Answer {
    Charged(Charged),
    /// True if there was an open charge.
    Closed(bool),
    /// True if the block is open.
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
            Self::Commit { account, .. }
            | Self::Charge { account, .. }
            | Self::Close(Close { account, .. })
            | Self::Adjust { account, .. } => account,
        }
    }

    /// Returns the id of the charge that the call is about.
    pub(super) fn charge(&self) -> Option<ChargeId> {
        match self {
            Self::Commit { id, .. } | Self::Charge { id, .. } | Self::Close(Close { id, .. }) => Some(*id),
            Self::Adjust { .. } => None,
        }
    }

    /// Returns true if the call sets a balance, which closes the account's leased blocks.
    pub(super) fn recalls(&self) -> bool {
        matches!(self, Self::Adjust { kind: AdjustmentKind::Set(_), .. })
    }

    /// Returns the id of the adjustment that the call is about.
    pub(super) fn adjustment(&self) -> Option<&AdjustmentId> {
        match self {
            Self::Adjust { id, .. } => Some(id),
            _ => None,
        }
    }
}
