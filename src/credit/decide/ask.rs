//! The calls, and the answers.

use crate::account::{Allowance, Budget, ExpiredRefunds, Overage};
use crate::amount::{ChargeId, Credits};
use crate::clock::Timestamp;
use crate::credit::{Adjusted, AdjustmentId, AdjustmentKind, Charge, Charged, EntryKind, Refund, Settlement};
use crate::key::KeyId;
use crate::name::AccountId;

/// A call. An `account` is the key of the rows of an account in one currency.
pub(in crate::credit) enum Ask {
    Charge(NewCharge),
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

/// A charge to be made.
pub(in crate::credit) struct NewCharge {
    pub(in crate::credit) id: ChargeId,
    pub(in crate::credit) account: AccountId,
    pub(in crate::credit) amount: Credits,
    pub(in crate::credit) allowance: Allowance,
    pub(in crate::credit) budget: Option<(KeyId, Budget)>,
    pub(in crate::credit) now: Timestamp,
    /// The amount of a block that is committed from the start; `None` for a charge that is not a block.
    pub(in crate::credit) committed: Option<Credits>,
}

/// The closing of a charge.
pub(in crate::credit) struct Close {
    pub(in crate::credit) id: ChargeId,
    pub(in crate::credit) account: AccountId,
    pub(in crate::credit) cost: Credits,
    pub(in crate::credit) kind: fn(ChargeId) -> EntryKind,
    /// The allowance, for a cost above the charge.
    pub(in crate::credit) allowance: Allowance,
    pub(in crate::credit) overage: Overage,
    pub(in crate::credit) expired_refunds: ExpiredRefunds,
    /// The time; `None` for the time of the account's last call.
    pub(in crate::credit) now: Option<Timestamp>,
    /// True if the charge must never be taken in case it has not arrived yet.
    pub(in crate::credit) bars: bool,
    /// True if no node holds the charge any more: a block is then closed at its committed amount.
    pub(in crate::credit) abandoned: bool,
}

impl Close {
    /// Returns the closing of a charge that no node holds any more.
    pub(in crate::credit) fn abandoned(
        account: AccountId,
        id: ChargeId,
        cost: Credits,
        kind: fn(ChargeId) -> EntryKind,
    ) -> Self {
        Self {
            id,
            account,
            cost,
            kind,
            allowance: Allowance::None,
            overage: Overage::default(),
            expired_refunds: ExpiredRefunds::default(),
            now: None,
            bars: false,
            abandoned: true,
        }
    }
}

#[derive(Debug, Clone)]
pub(in crate::credit) enum Answer {
    Charged(Charged),
    /// True if there was an open charge.
    Closed(bool),
    /// True if the block is open.
    Committed(bool),
    Adjusted(Adjusted),
}

impl Ask {
    pub(in crate::credit) fn charge_to(
        account: AccountId,
        charge: &Charge<'_>,
        committed: Option<Credits>,
    ) -> Self {
        Self::Charge(NewCharge {
            id: charge.id,
            account,
            amount: charge.amount,
            allowance: charge.allowance.clone(),
            budget: charge.budget.map(|draw| (draw.key, draw.budget.clone())),
            now: charge.now.wall(),
            committed,
        })
    }

    pub(in crate::credit) fn settle(account: AccountId, settlement: &Settlement<'_>) -> Self {
        let abandoned = Close::abandoned(account, settlement.id, settlement.cost, EntryKind::Settlement);
        Self::Close(Close {
            allowance: settlement.allowance.clone(),
            overage: settlement.overage,
            expired_refunds: settlement.expired_refunds,
            now: Some(settlement.clock.now().wall()),
            bars: true,
            abandoned: false,
            ..abandoned
        })
    }

    pub(in crate::credit) fn refund(account: AccountId, refund: &Refund<'_>) -> Self {
        let abandoned = Close::abandoned(account, refund.id, Credits::ZERO, EntryKind::Refund);
        Self::Close(Close {
            expired_refunds: refund.expired_refunds,
            now: Some(refund.clock.now().wall()),
            bars: true,
            abandoned: false,
            ..abandoned
        })
    }

    pub(in crate::credit) fn account(&self) -> &AccountId {
        match self {
            Self::Commit { account, .. }
            | Self::Charge(NewCharge { account, .. })
            | Self::Close(Close { account, .. })
            | Self::Adjust { account, .. } => account,
        }
    }

    /// Returns the id of the charge that the call is about.
    pub(in crate::credit) fn charge(&self) -> Option<ChargeId> {
        match self {
            Self::Commit { id, .. } | Self::Charge(NewCharge { id, .. }) | Self::Close(Close { id, .. }) => {
                Some(*id)
            }
            Self::Adjust { .. } => None,
        }
    }

    /// Returns the key whose budget the call draws from.
    pub(in crate::credit) fn budget(&self) -> Option<KeyId> {
        match self {
            Self::Charge(NewCharge { budget, .. }) => budget.as_ref().map(|(key, _)| *key),
            _ => None,
        }
    }

    /// Returns true if the call sets a balance, which closes the account's leased blocks.
    pub(in crate::credit) fn recalls(&self) -> bool {
        matches!(self, Self::Adjust { kind: AdjustmentKind::Set(_), .. })
    }

    /// Returns the id of the adjustment that the call is about.
    pub(in crate::credit) fn adjustment(&self) -> Option<&AdjustmentId> {
        match self {
            Self::Adjust { id, .. } => Some(id),
            _ => None,
        }
    }
}
