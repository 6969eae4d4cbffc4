//! Checks of a store of keys and accounts.

mod accounts;
mod change;
mod find;
mod insert;
mod list;
mod remove;
mod rotate;
mod uses;

use std::sync::Arc;

use crate::account::Account;
use crate::conformance::fresh;
use crate::conformance::suite::{Check, Fault, Suite, Verdict, same};
use crate::future::StoreFuture;
use crate::key::{KeyId, KeyRecord};
use crate::store::{AccountAdmin, InsertKey, Inserted, KeyStore, Replaced};

type Store = Arc<dyn AccountAdmin>;

pub(super) fn suite(store: &Store) -> Suite {
    let parts = [
        find::checks(store),
        insert::checks(store),
        change::checks(store),
        rotate::checks(store),
        list::checks(store),
        uses::checks(store),
        remove::checks(store),
        accounts::checks(store),
    ];
    Suite::new("keys", parts)
}

pub(super) fn look_ups(store: Arc<dyn KeyStore>, records: Vec<KeyRecord>) -> Suite {
    let checks = [
        Check::new("every_key_is_found_by_its_hashes", find::every(Arc::clone(&store), records.clone())),
        Check::new("a_hash_that_differs_in_one_byte_is_absent", find::near_misses(store, records)),
    ];
    Suite::new("look-ups", [checks.into()])
}

/// Inserts a new account.
async fn account(store: &Store) -> Result<Arc<Account>, Fault> {
    put_account(store, fresh::account()).await
}

async fn put_account(store: &Store, account: Account) -> Result<Arc<Account>, Fault> {
    same("an account with a new id is created", store.create_account(&account).await?, true)?;
    Ok(Arc::new(account))
}

/// Inserts a new key of a new account.
async fn key(store: &Store) -> Result<KeyRecord, Fault> {
    let account = account(store).await?;
    put(store, fresh::key(&account)).await
}

async fn put(store: &Store, record: KeyRecord) -> Result<KeyRecord, Fault> {
    same("a new key is put in", insert(store, &record, None).await?, Inserted::Done)?;
    Ok(record)
}

fn insert(store: &Store, record: &KeyRecord, max_active: Option<u32>) -> StoreFuture<Inserted> {
    store.insert(&InsertKey::new(record.clone(), fresh::now()).with_max_active(max_active))
}

/// Returns the stored record of a key.
async fn stored(store: &Store, id: KeyId) -> Result<KeyRecord, Fault> {
    let record =
        store.get(id).await?.ok_or_else(|| Fault::new("a key that was put in is not got by its id"))?;
    Ok(KeyRecord::clone(&record))
}

/// Changes the stored record of a key.
async fn change(store: &Store, id: KeyId, change: impl FnOnce(&mut KeyRecord) + Send) -> Verdict {
    let mut record = stored(store, id).await?;
    change(&mut record);
    same("a change to what was just read is made", store.replace(&record).await?, Replaced::Done)
}

/// Changes the stored account.
async fn change_account(
    store: &Store,
    account: &Account,
    change: impl FnOnce(&mut Account) + Send,
) -> Verdict {
    let known = store.account_of(&account.id).await?;
    let mut changed =
        Account::clone(&*known.ok_or_else(|| Fault::new("an account that was put in is absent"))?);
    change(&mut changed);
    same("a change to what was just read is made", store.replace_account(&changed).await?, Replaced::Done)
}
