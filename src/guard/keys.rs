//! The key store traits of [`Resilient`].

use std::sync::Arc;

use super::Resilient;
use crate::account::Account;
use crate::clock::Timestamp;
use crate::future::StoreFuture;
use crate::key::{KeyHash, KeyId, KeyRecord};
use crate::name::AccountId;
use crate::store::{AccountAdmin, InsertKey, Inserted, KeyAdmin, KeyQuery, KeyStore, Replaced};

impl<T: KeyStore> KeyStore for Resilient<T> {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.ask(|store| store.find(hash))
    }

    fn find_cached(&self, hash: &KeyHash) -> Option<Arc<KeyRecord>> {
        self.back_end.find_cached(hash)
    }

    fn is_failing(&self) -> bool {
        self.shared.circuit.is_open() || self.back_end.is_failing()
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        let back_end = Arc::clone(&self.back_end).admin()?;
        Some(Arc::new(self.in_front_of(back_end)))
    }
}

impl<T: KeyAdmin> KeyAdmin for Resilient<T> {
    fn insert(&self, insert: &InsertKey) -> StoreFuture<Inserted> {
        self.ask(|store| store.insert(insert))
    }

    fn find_now(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.ask(|store| store.find_now(hash))
    }

    fn get(&self, id: KeyId) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.ask(|store| store.get(id))
    }

    fn account_of(&self, id: &AccountId) -> StoreFuture<Option<Arc<Account>>> {
        self.ask(|store| store.account_of(id))
    }

    fn replace(&self, record: &KeyRecord) -> StoreFuture<Replaced> {
        self.ask(|store| store.replace(record))
    }

    fn list(&self, query: &KeyQuery) -> StoreFuture<Vec<Arc<KeyRecord>>> {
        self.ask(|store| store.list(query))
    }

    fn touch(&self, uses: &[(KeyId, Timestamp)]) -> StoreFuture<()> {
        self.ask(|store| store.touch(uses))
    }

    fn erase(&self, id: KeyId) -> StoreFuture<bool> {
        self.ask(|store| store.erase(id))
    }

    fn sweep(&self, before: Timestamp) -> StoreFuture<u64> {
        self.ask(|store| store.sweep(before))
    }
}

impl<T: AccountAdmin> AccountAdmin for Resilient<T> {
    fn create_account(&self, account: &Account) -> StoreFuture<bool> {
        self.ask(|store| store.create_account(account))
    }

    fn replace_account(&self, account: &Account) -> StoreFuture<Replaced> {
        self.ask(|store| store.replace_account(account))
    }

    fn erase_account(&self, id: &AccountId) -> StoreFuture<bool> {
        self.ask(|store| store.erase_account(id))
    }
}
