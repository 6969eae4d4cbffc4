//! The mapping of balances, charges, entries and adjustments to and from database rows.

use crate::amount::{ChargeId, Credits, Currency};
use crate::clock::Timestamp;
use crate::credit::decide::{AccountState, MadeAdjustment};
use crate::credit::due::{Due, Floor};
use crate::credit::model::{Model, Numbers, StoredBudget};
use crate::credit::{AdjustmentId, AdjustmentKind, Balance, BucketId, Entry, EntryKind};
use crate::error::StoreError;
use crate::key::KeyId;
use crate::name::AccountId;
use crate::sql::{Row, Value};

/// The columns of a balance, starting with its account.
pub(super) const BALANCE_SCRIPT: &str = "account, version, balance, held, unlimited, due, seen, entries, lent, period, again, floor, buckets, moved";

/// The columns of a charge, starting with its account.
pub(super) const TAKEN: &str =
    "c.account, c.id, c.amount, c.closed_at, c.committed, c.draws, c.budget, c.turn";

/// The columns of an adjustment, starting with its account.
pub(super) const MADE: &str = "a.account, a.id, a.kind, a.amount, a.balance, a.terms";

/// The columns of a budget, starting with its account.
pub(super) const BUDGET: &str =
    "b.account, b.key, b.spent, b.turn, b.opened, b.due, b.period, b.again, b.floor, b.idle_from, b.moved";

/// The character between an account and the name of a currency.
const BETWEEN: char = '\u{1f}';

/// Returns the key of the rows of an account in one currency: the account for the default currency.
pub(super) fn key(account: &AccountId, currency: &Currency) -> Result<AccountId, StoreError> {
    if account.as_str().contains(BETWEEN) {
        return Err(StoreError::rejected("an account id must not contain a unit separator in a database"));
    }
    if currency.is_default() {
        return Ok(account.clone());
    }
    Ok(format!("{account}{BETWEEN}{currency}").into())
}

/// Returns the bounds of the keys of an account in other currencies than the default one.
pub(super) fn other_keys(account: &AccountId) -> [String; 2] {
    [format!("{account}{BETWEEN}"), format!("{account} ")]
}

/// Returns the account and the currency of a key.
pub(super) fn parts(key: &str) -> Result<(AccountId, Currency), StoreError> {
    match key.split_once(BETWEEN) {
        None => Ok((key.into(), Currency::CREDITS)),
        Some((account, currency)) => Ok((account.into(), currency.parse().map_err(StoreError::corrupt)?)),
    }
}

/// Reads a balance from the columns of [`BALANCE_SCRIPT`].
pub(super) fn account_state(row: &Row) -> Result<AccountState, StoreError> {
    let at = |column| row.maybe_int(column).map(|moment| moment.map(Timestamp::from_millis));
    let (period, again, floor) = (row.int(9)?, at(10)?, floor(row, 11, 13)?);
    let due = at(5)?.map(|at| Due { at, period, again, floor });
    let numbers = Numbers {
        balance: credits(row.int(2)?)?.get(),
        beside: 0,
        open: credits(row.int(3)?)?.get(),
        lent: credits(row.int(8)?)?.get(),
        unlimited: row.int(4)? != 0,
        due,
        seen: at(6)?.unwrap_or(Timestamp::from_millis(0)),
    };
    let model = Model::restored(row.maybe_text(12)?, numbers)?;
    let number = u64::try_from(row.int(7)?).map_err(StoreError::corrupt)?;
    Ok(AccountState { model, version: Some(row.int(1)?), number, changed: false })
}

/// A charge as it is stored.
pub(super) struct StoredCharge {
    pub(super) id: ChargeId,
    pub(super) amount: Credits,
    pub(super) closed: bool,
    pub(super) committed: Option<Credits>,
    pub(super) draws: Option<String>,
    pub(super) budget: Option<(KeyId, u32)>,
}

/// Reads a charge from the columns of [`TAKEN`].
pub(super) fn taken(row: &Row) -> Result<StoredCharge, StoreError> {
    let budget = match row.maybe_bytes(6)? {
        Some(key) => Some((KeyId::from_bytes(key), number(row.int(7)?)?)),
        None => None,
    };
    Ok(StoredCharge {
        id: charge_id(row, 1)?,
        amount: credits(row.int(2)?)?,
        closed: row.maybe_int(3)?.is_some(),
        committed: row.maybe_int(4)?.map(credits).transpose()?,
        draws: row.maybe_text(5)?.map(str::to_owned),
        budget,
    })
}

/// Reads a budget from the columns of [`BUDGET`].
pub(super) fn budget(row: &Row) -> Result<(KeyId, StoredBudget), StoreError> {
    let key =
        row.maybe_bytes(1)?.ok_or_else(|| StoreError::corrupt("a budget in the database has no key"))?;
    let at = |column| row.int(column).map(Timestamp::from_millis);
    let again = row.maybe_int(7)?.map(Timestamp::from_millis);
    let due = Due { at: at(5)?, period: row.int(6)?, again, floor: floor(row, 8, 10)? };
    let stored = StoredBudget {
        spent: credits(row.int(2)?)?.get(),
        turn: number(row.int(3)?)?,
        open: number(row.int(4)?)?,
        due,
        idle_from: at(9)?,
    };
    Ok((KeyId::from_bytes(key), stored))
}

/// Reads a floor from its columns. Of a floor that an earlier version wrote, the number of grants is unknown.
fn floor(row: &Row, at: usize, moved: usize) -> Result<Option<Floor>, StoreError> {
    let Some(at) = row.maybe_int(at)? else { return Ok(None) };
    let moved = row.maybe_int(moved)?.map_or(Ok(u32::MAX), number)?;
    Ok(Some(Floor { at: Timestamp::from_millis(at), moved }))
}

fn number(number: i64) -> Result<u32, StoreError> {
    u32::try_from(number).map_err(StoreError::corrupt)
}

/// Reads an adjustment from the columns of [`MADE`].
pub(super) fn adjustment(row: &Row) -> Result<(AdjustmentId, MadeAdjustment), StoreError> {
    let amount = credits(row.int(3)?)?;
    let kind = AdjustmentKind::from_stored(row.text(2)?, amount, row.maybe_text(5)?)?;
    let id = row.text(1)?.parse().map_err(StoreError::corrupt)?;
    Ok((id, (kind, balance(row, 4)?)))
}

/// The columns of an entry.
pub(super) const ENTRY: &str = "number, at, kind, charge, adjustment, amount, balance, bucket, rest";

/// Reads an entry from the columns of [`ENTRY`].
pub(super) fn entry(row: &Row) -> Result<Entry, StoreError> {
    let adjustment = || -> Result<AdjustmentId, StoreError> {
        let id = row
            .maybe_text(4)?
            .ok_or_else(|| StoreError::corrupt("an adjustment in the database has no id"))?;
        id.parse().map_err(StoreError::corrupt)
    };
    let kind = EntryKind::from_stored(row.text(2)?, || charge_id(row, 3), adjustment)?;
    let number = u64::try_from(row.int(0)?).map_err(StoreError::corrupt)?;
    let entry = Entry::new(number, Timestamp::from_millis(row.int(1)?), kind, row.int(5)?, balance(row, 6)?);
    let bucket = row.maybe_text(7)?.map_or(Ok(BucketId::Main), BucketId::from_stored)?;
    let left = row.maybe_int(8)?.map_or(Ok(entry.left), credits)?;
    Ok(entry.in_bucket(bucket, left))
}

/// Returns the stored form of an adjustment's kind, its amount and its terms.
pub(super) fn written(kind: &AdjustmentKind) -> [Value; 3] {
    let (kind, amount, terms) = kind.stored();
    [kind.into(), amount.into(), terms.into()]
}

impl From<Credits> for Value {
    fn from(credits: Credits) -> Self {
        credits.get().cast_signed().into()
    }
}

impl From<Balance> for Value {
    /// Converts a balance to a number, which is negative for a debt, or to null if there is no limit.
    fn from(balance: Balance) -> Self {
        match balance {
            Balance::Limited(credits) => credits.into(),
            Balance::Owed(debt) => (-debt.get().cast_signed()).into(),
            Balance::Unlimited => None::<i64>.into(),
        }
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
    Ok(match row.maybe_int(column)? {
        None => Balance::Unlimited,
        Some(owed @ ..0) => Balance::Owed(credits(owed.checked_neg().unwrap_or(i64::MAX))?),
        Some(there) => Balance::Limited(credits(there)?),
    })
}

pub(super) fn charge_id(row: &Row, column: usize) -> Result<ChargeId, StoreError> {
    let bytes =
        row.maybe_bytes(column)?.ok_or_else(|| StoreError::corrupt("a charge in the database has no id"))?;
    Ok(ChargeId::from_bytes(bytes))
}
