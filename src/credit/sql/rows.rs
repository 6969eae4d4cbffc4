//! The mapping of balances, charges, entries and adjustments to and from database rows.

use super::batch::{AccountState, ChargeRow, MadeAdjustment};
use crate::amount::{ChargeId, Credits};
use crate::clock::Timestamp;
use crate::credit::balance_state::BalanceState;
use crate::credit::due::Due;
use crate::credit::{AdjustmentId, AdjustmentKind, Balance, Entry, EntryKind};
use crate::error::StoreError;
use crate::name::AccountId;
use crate::sql::{Row, Value};

/// The columns of a balance, starting with its account.
pub(super) const BALANCE_SCRIPT: &str =
    "account, version, balance, held, unlimited, due, seen, entries, lent, period, again, floor";

/// The columns of a charge, starting with its account.
pub(super) const TAKEN: &str = "c.account, c.id, c.amount, c.closed_at, c.committed";

/// The columns of an adjustment, starting with its account.
pub(super) const MADE: &str = "a.account, a.id, a.kind, a.amount, a.balance";

/// Reads a balance from the columns of [`BALANCE_SCRIPT`].
pub(super) fn account_state(row: &Row) -> Result<AccountState, StoreError> {
    let at = |column| row.maybe_int(column).map(|moment| moment.map(Timestamp::from_millis));
    let (period, again, floor) = (row.int(9)?, at(10)?, at(11)?);
    let due = at(5)?.map(|at| Due { at, period, again, floor });
    let balance_state = BalanceState {
        balance: credits(row.int(2)?)?,
        held: credits(row.int(3)?)?,
        unlimited: row.int(4)? != 0,
        due,
        opened: None,
        lent: credits(row.int(8)?)?,
        seen: at(6)?.unwrap_or(Timestamp::from_millis(0)),
    };
    let number = u64::try_from(row.int(7)?).map_err(StoreError::corrupt)?;
    Ok(AccountState { balance_state, version: Some(row.int(1)?), number, changed: false })
}

/// Reads a charge from the columns of [`TAKEN`].
pub(super) fn taken(row: &Row) -> Result<(ChargeId, ChargeRow), StoreError> {
    let taken = ChargeRow {
        amount: credits(row.int(2)?)?,
        closed: row.maybe_int(3)?.is_some(),
        committed: row.maybe_int(4)?.map(credits).transpose()?,
        changed: false,
    };
    Ok((charge_id(row, 1)?, taken))
}

/// Reads an adjustment from the columns of [`MADE`].
pub(super) fn adjustment(row: &Row) -> Result<(AdjustmentId, MadeAdjustment), StoreError> {
    let amount = credits(row.int(3)?)?;
    let kind = match row.text(2)? {
        "top-up" => AdjustmentKind::TopUp(amount),
        "deduct" => AdjustmentKind::Deduct(amount),
        "set" => AdjustmentKind::Set(amount),
        "unlimited" => AdjustmentKind::MakeUnlimited,
        _ => return Err(StoreError::corrupt("unknown kind of adjustment in the database")),
    };
    let id = row.text(1)?.parse().map_err(StoreError::corrupt)?;
    Ok((id, (kind, balance(row, 4)?)))
}

/// Reads an entry from its number, time, kind, charge, adjustment, amount and balance.
pub(super) fn entry(row: &Row) -> Result<Entry, StoreError> {
    let adjustment = || -> Result<AdjustmentId, StoreError> {
        let id = row
            .maybe_text(4)?
            .ok_or_else(|| StoreError::corrupt("an adjustment in the database has no id"))?;
        id.parse().map_err(StoreError::corrupt)
    };
    let kind = match row.text(2)? {
        "charge" => EntryKind::Charge(charge_id(row, 3)?),
        "settlement" => EntryKind::Settlement(charge_id(row, 3)?),
        "refund" => EntryKind::Refund(charge_id(row, 3)?),
        "grant" => EntryKind::Grant,
        "opening" => EntryKind::Opening,
        "folded" => EntryKind::Folded,
        "top-up" => EntryKind::TopUp(adjustment()?),
        "deduction" => EntryKind::Deduction(adjustment()?),
        "set" => EntryKind::Set(adjustment()?),
        "unlimited" => EntryKind::Unlimited(adjustment()?),
        _ => return Err(StoreError::corrupt("unknown kind of entry in the database")),
    };
    let number = u64::try_from(row.int(0)?).map_err(StoreError::corrupt)?;
    Ok(Entry::new(number, Timestamp::from_millis(row.int(1)?), kind, row.int(5)?, balance(row, 6)?))
}

/// Returns the stored form of an adjustment's kind and its amount. `None` for a kind that needs buckets.
pub(super) fn written(kind: &AdjustmentKind) -> Option<(&'static str, Value)> {
    Some(match kind {
        AdjustmentKind::TopUp(amount) => ("top-up", (*amount).into()),
        AdjustmentKind::Deduct(amount) => ("deduct", (*amount).into()),
        AdjustmentKind::Set(amount) => ("set", (*amount).into()),
        AdjustmentKind::MakeUnlimited => ("unlimited", Credits::ZERO.into()),
        _ => return None,
    })
}

impl From<Credits> for Value {
    fn from(credits: Credits) -> Self {
        credits.get().cast_signed().into()
    }
}

impl From<Balance> for Value {
    /// Converts a balance to a number, or to null if there is no limit.
    fn from(balance: Balance) -> Self {
        balance.credits().map(|credits| credits.get().cast_signed()).into()
    }
}

impl From<Timestamp> for Value {
    fn from(moment: Timestamp) -> Self {
        moment.as_millis().into()
    }
}

impl From<Option<Credits>> for Value {
    fn from(credits: Option<Credits>) -> Self {
        credits.map(|credits| credits.get().cast_signed()).into()
    }
}

impl From<Option<Timestamp>> for Value {
    fn from(moment: Option<Timestamp>) -> Self {
        moment.map(Timestamp::as_millis).into()
    }
}

impl From<ChargeId> for Value {
    fn from(id: ChargeId) -> Self {
        Some(id.to_bytes()).into()
    }
}

impl From<&AccountId> for Value {
    fn from(id: &AccountId) -> Self {
        id.as_str().into()
    }
}

pub(super) fn credits(number: i64) -> Result<Credits, StoreError> {
    u64::try_from(number).map(Credits::new).map_err(StoreError::corrupt)
}

fn balance(row: &Row, column: usize) -> Result<Balance, StoreError> {
    row.maybe_int(column)?.map_or(Ok(Balance::Unlimited), |number| credits(number).map(Balance::Limited))
}

pub(super) fn charge_id(row: &Row, column: usize) -> Result<ChargeId, StoreError> {
    let bytes =
        row.maybe_bytes(column)?.ok_or_else(|| StoreError::corrupt("a charge in the database has no id"))?;
    Ok(ChargeId::from_bytes(bytes))
}
