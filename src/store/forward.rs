//! The write side of a store behind an `Arc`.

use std::sync::Arc;

use crate::account::Account;
use crate::clock::Timestamp;
use crate::future::StoreFuture;
use crate::key::{KeyHash, KeyId, KeyRecord};
use crate::name::AccountId;
use crate::store::{AccountAdmin, InsertKey, Inserted, KeyAdmin, KeyQuery, Replaced};

impl<T: KeyAdmin + ?Sized> KeyAdmin for Arc<T> {
    fn insert(&self, insert: &InsertKey) -> StoreFuture<Inserted> {
        (**self).insert(insert)
    }

    fn find_now(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        (**self).find_now(hash)
    }

    fn get(&self, id: KeyId) -> StoreFuture<Option<Arc<KeyRecord>>> {
        (**self).get(id)
    }

    fn account_of(&self, id: &AccountId) -> StoreFuture<Option<Arc<Account>>> {
        (**self).account_of(id)
    }

    fn replace(&self, record: &KeyRecord) -> StoreFuture<Replaced> {
        (**self).replace(record)
    }

    fn list(&self, query: &KeyQuery) -> StoreFuture<Vec<Arc<KeyRecord>>> {
        (**self).list(query)
    }

    fn touch(&self, uses: &[(KeyId, Timestamp)]) -> StoreFuture<()> {
        (**self).touch(uses)
    }

    fn erase(&self, id: KeyId) -> StoreFuture<bool> {
        (**self).erase(id)
    }

    fn sweep(&self, before: Timestamp) -> StoreFuture<u64> {
        (**self).sweep(before)
    }
}

impl<T: AccountAdmin + ?Sized> AccountAdmin for Arc<T> {
    fn create_account(&self, account: &Account) -> StoreFuture<bool> {
        (**self).create_account(account)
    }

    fn replace_account(&self, account: &Account) -> StoreFuture<Replaced> {
        (**self).replace_account(account)
    }

    fn erase_account(&self, id: &AccountId) -> StoreFuture<bool> {
        (**self).erase_account(id)
    }
}
