//! Adds missing accounts, balances and keys to a gate's back ends.

use std::sync::Arc;

use tollgate::clock::Timestamp;
use tollgate::credit::{Adjusted, Adjustment, AdjustmentKind};
use tollgate::store::{InsertKey, Inserted};
use tollgate::{Credits, Gate, KeyRecord};

use crate::back_ends::BackEnds;
use crate::data::{AccountData, Data, Fault};

/// The adjustment id of opening balances. With one id, a repeated start does not set them twice.
const OPENING: &str = "opening";

/// Adds the accounts, balances and keys of a data file. Stored ones are not changed. For each key of the file, returns the
/// start of a stored key that has the same id and another secret.
pub(crate) async fn put_in(
    data: &Data,
    gate: &Gate,
    back_ends: &BackEnds,
) -> Result<Vec<Option<String>>, Fault> {
    let now = gate.clock().now().wall();
    for account in &data.accounts {
        put_account(account, gate, back_ends, now).await?;
    }
    let mut in_place = Vec::new();
    for key in &data.keys {
        let account = back_ends.keys.account_of(&key.account.as_str().into()).await?;
        let account = account.ok_or_else(|| format!("key {} has no account", key.id))?;
        in_place.push(put_key(key.record(gate, account)?, back_ends, now).await?);
    }
    Ok(in_place)
}

/// Adds the demo keys of the configuration, with their accounts.
pub(crate) async fn put_demo_keys(
    keys: Vec<KeyRecord>,
    gate: &Gate,
    back_ends: &BackEnds,
) -> Result<(), Fault> {
    let now = gate.clock().now().wall();
    for record in keys {
        back_ends.keys.create_account(&record.account).await?;
        put_key(record, back_ends, now).await?;
    }
    Ok(())
}

async fn put_account(
    data: &AccountData,
    gate: &Gate,
    back_ends: &BackEnds,
    now: Timestamp,
) -> Result<(), Fault> {
    let account = data.account()?;
    if back_ends.keys.account_of(&account.id).await?.is_some() {
        return Ok(());
    }
    // The balance is set before the account is created, so that each stored account has one.
    if let Some(credits) = data.credits {
        let plan = gate.plan(account.plan.as_str());
        let plan = plan.ok_or_else(|| format!("account {}: unknown plan `{}`", account.id, account.plan))?;
        let set = AdjustmentKind::Set(Credits::new(credits));
        let adjustment = Adjustment::new(OPENING.parse()?, &account.id, set, &plan.credits, now);
        match back_ends.credits.adjust(&adjustment).await? {
            Adjusted::Done { .. } | Adjusted::Repeated { .. } | Adjusted::Conflict { .. } => {}
            refused => {
                return Err(
                    format!("account {}: failed to set its credits since {refused:?}", account.id).into()
                );
            }
        }
    }
    back_ends.keys.create_account(&account).await?;
    Ok(())
}

/// Adds a key. If another key is stored under its id, returns the start of that key.
async fn put_key(record: KeyRecord, back_ends: &BackEnds, now: Timestamp) -> Result<Option<String>, Fault> {
    let insert = InsertKey::new(record, now);
    match back_ends.keys.insert(&insert).await? {
        Inserted::Done => Ok(None),
        Inserted::Taken => {
            let there = back_ends.keys.get(insert.record.id).await?;
            let other = there.filter(|there| !there.has_hash(&insert.record.hash));
            Ok(other.map(|other| Arc::unwrap_or_clone(other).start))
        }
        refused => Err(format!("failed to store the key {} since {refused:?}", insert.record.id).into()),
    }
}
