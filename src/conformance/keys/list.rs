//! Checks of key lists.

use std::sync::Arc;

use super::{Store, account, put};
use crate::account::Account;
use crate::conformance::fresh;
use crate::conformance::suite::{Check, Fault, Verdict, holds, same};
use crate::key::{KeyId, KeyRecord, KeyStatus};
use crate::store::KeyQuery;

pub(super) fn checks(store: &Store) -> Vec<Check> {
    checks![store:
        a_list_goes_by_id,
        a_list_holds_the_records_as_they_are,
        a_list_ends_at_its_limit,
        pages_hold_every_key_once,
        a_list_can_be_of_one_account,
        a_list_can_be_of_one_status,
        a_list_can_be_of_one_environment,
        a_list_can_be_of_one_issuer,
        conditions_hold_together,
        a_list_of_nothing_is_empty,
        a_list_of_all_accounts_holds_every_key,
    ]
}

fn of(account: &Account) -> KeyQuery {
    KeyQuery { account: Some(account.id.clone()), ..KeyQuery::first(100) }
}

async fn ids(store: &Store, query: &KeyQuery) -> Result<Vec<KeyId>, Fault> {
    Ok(store.list(query).await?.iter().map(|record| record.id).collect())
}

/// Inserts seven keys of a new account, and returns their ids in order.
async fn seven(store: &Store) -> Result<(Arc<Account>, Vec<KeyId>), Fault> {
    let account = account(store).await?;
    let mut ids = Vec::new();
    for first in [0xf0, 0x10, 0x80, 0x7f, 0x00, 0xff, 0x40] {
        // The order of the ids differs from the order of insertion, and from the order of signed bytes.
        let mut bytes = *KeyId::generate().as_bytes();
        bytes[..8].fill(first);
        let record = KeyRecord { id: KeyId::from_bytes(bytes), ..fresh::key(&account) };
        ids.push(put(store, record).await?.id);
    }
    ids.sort_unstable();
    Ok((account, ids))
}

async fn a_list_goes_by_id(store: Store) -> Verdict {
    let (account, expected) = seven(&store).await?;
    same("the account's keys", ids(&store, &of(&account)).await?, expected)
}

async fn a_list_holds_the_records_as_they_are(store: Store) -> Verdict {
    let mut record = fresh::key(&account(&store).await?);
    record.name = "listed".into();
    let record = put(&store, record).await?;
    let listed = store.list(&of(&record.account)).await?;
    same("the list", listed.iter().map(|listed| KeyRecord::clone(listed)).collect::<Vec<_>>(), vec![record])
}

async fn a_list_ends_at_its_limit(store: Store) -> Verdict {
    let (account, expected) = seven(&store).await?;
    for limit in [0, 1, 3, 7] {
        let query = KeyQuery { limit, ..of(&account) };
        same("the first keys", ids(&store, &query).await?, expected[..limit].to_vec())?;
    }
    Ok(())
}

async fn pages_hold_every_key_once(store: Store) -> Verdict {
    let (account, expected) = seven(&store).await?;
    let (mut seen, mut after) = (Vec::new(), None);
    for _ in 0..5 {
        let page = ids(&store, &KeyQuery { after, limit: 2, ..of(&account) }).await?;
        after = page.last().copied().or(after);
        seen.extend(page);
    }
    same("the pages", seen, expected)
}

async fn a_list_can_be_of_one_account(store: Store) -> Verdict {
    let ((one, of_one), (other, of_other)) = (seven(&store).await?, seven(&store).await?);
    same("the keys of the one", ids(&store, &of(&one)).await?, of_one)?;
    same("the keys of the other", ids(&store, &of(&other)).await?, of_other)
}

/// Inserts a key of each status in each of two environments.
async fn six(store: &Store) -> Result<(Arc<Account>, Vec<KeyRecord>), Fault> {
    let account = account(store).await?;
    let mut records = Vec::new();
    for status in [KeyStatus::Active, KeyStatus::Paused, KeyStatus::Revoked] {
        for environment in ["live", "test"] {
            let environment = environment.into();
            records.push(put(store, KeyRecord { status, environment, ..fresh::key(&account) }).await?);
        }
    }
    records.sort_by_key(|record| record.id);
    Ok((account, records))
}

fn chosen(records: &[KeyRecord], which: impl Fn(&KeyRecord) -> bool) -> Vec<KeyId> {
    records.iter().filter(|record| which(record)).map(|record| record.id).collect()
}

async fn a_list_can_be_of_one_status(store: Store) -> Verdict {
    let (account, records) = six(&store).await?;
    for status in [KeyStatus::Active, KeyStatus::Paused, KeyStatus::Revoked] {
        let query = KeyQuery { status: Some(status), ..of(&account) };
        let expected = chosen(&records, |record| record.status == status);
        same(&format!("the keys that are {status:?}"), ids(&store, &query).await?, expected)?;
    }
    Ok(())
}

async fn a_list_can_be_of_one_environment(store: Store) -> Verdict {
    let (account, records) = six(&store).await?;
    for environment in ["live", "test", "none"] {
        let query = KeyQuery { environment: Some(environment.into()), ..of(&account) };
        let expected = chosen(&records, |record| record.environment.as_str() == environment);
        same(&format!("the keys of `{environment}`"), ids(&store, &query).await?, expected)?;
    }
    Ok(())
}

async fn a_list_can_be_of_one_issuer(store: Store) -> Verdict {
    let account = account(&store).await?;
    let (issuer, other) = (put(&store, fresh::key(&account)).await?.id, KeyId::generate());
    let mut made = Vec::new();
    for issued_by in [Some(issuer), None, Some(other), Some(issuer)] {
        let mut record = fresh::key(&account);
        record.issued_by = issued_by;
        made.push(put(&store, record).await?);
    }
    made.sort_by_key(|record| record.id);
    for issuer in [issuer, other, KeyId::generate()] {
        let query = KeyQuery { issued_by: Some(issuer), ..of(&account) };
        let expected = chosen(&made, |record| record.issued_by == Some(issuer));
        same("the keys that one key issued", ids(&store, &query).await?, expected)?;
    }
    Ok(())
}

async fn conditions_hold_together(store: Store) -> Verdict {
    let (account, records) = six(&store).await?;
    let mut query = KeyQuery { status: Some(KeyStatus::Paused), limit: 1, ..of(&account) };
    let paused = chosen(&records, |record| record.status == KeyStatus::Paused);
    same("the first paused key", ids(&store, &query).await?, paused[..1].to_vec())?;
    query.after = Some(paused[0]);
    same("the next", ids(&store, &query).await?, paused[1..].to_vec())?;
    (query.after, query.environment) = (None, Some("test".into()));
    let expected = chosen(&records, |record| query.admits(record));
    same("the paused key of `test`", ids(&store, &query).await?, expected)
}

async fn a_list_of_nothing_is_empty(store: Store) -> Verdict {
    let empty = account(&store).await?;
    same("an account without keys", ids(&store, &of(&empty)).await?, Vec::new())?;
    same("an unknown account", ids(&store, &of(&fresh::account())).await?, Vec::new())
}

async fn a_list_of_all_accounts_holds_every_key(store: Store) -> Verdict {
    let start = KeyId::generate();
    let (one, other) = (super::key(&store).await?, super::key(&store).await?);
    // Others may insert keys at the same time. Few of these have ids after the start.
    let listed = ids(&store, &KeyQuery { after: Some(start), ..KeyQuery::first(100_000) }).await?;
    holds("both keys are listed", [one.id, other.id].iter().all(|id| listed.contains(id)))?;
    holds("the list goes by id", listed.is_sorted())
}
