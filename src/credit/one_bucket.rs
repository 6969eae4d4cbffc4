//! The limits of ledgers without buckets: one balance in the default currency, without budgets.

use crate::account::Allowance;
use crate::amount::Currency;
use crate::credit::{AdjustmentKind, Balance, Bucket, BucketId, BucketKind, BucketTerms, Charge};
use crate::error::StoreError;

/// Refuses a charge that such a ledger cannot make.
pub(super) fn accept_charge(charge: &Charge<'_>) -> Result<(), StoreError> {
    if charge.budget.is_some() {
        return Err(StoreError::rejected("this ledger has no budgets"));
    }
    accept_currency(charge.currency)
}

/// Refuses an adjustment that such a ledger cannot make.
pub(super) fn accept_adjustment(kind: &AdjustmentKind, currency: &Currency) -> Result<(), StoreError> {
    match kind {
        AdjustmentKind::TopUpInto { .. } | AdjustmentKind::Expire(_) | AdjustmentKind::Move { .. } => {
            Err(StoreError::rejected("this ledger has no buckets"))
        }
        _ => accept_currency(currency),
    }
}

/// Refuses a currency that such a ledger does not have.
pub(super) fn accept_currency(currency: &Currency) -> Result<(), StoreError> {
    if currency.is_default() {
        return Ok(());
    }
    Err(StoreError::rejected(format!("this ledger has only the currency `{}`", Currency::CREDITS)))
}

/// Returns the bucket that has the whole balance.
pub(super) fn buckets(balance: Balance, allowance: &Allowance) -> Vec<Bucket> {
    let Balance::Limited(left) = balance else { return Vec::new() };
    let (kind, amount) = match allowance {
        Allowance::Grant(grant) => (BucketKind::Grant, grant.amount()),
        Allowance::None | Allowance::Unlimited => (BucketKind::Balance, left),
    };
    vec![Bucket::new(BucketId::Main, BucketTerms::of(kind), amount, left)]
}
