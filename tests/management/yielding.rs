//! A store that yields to other tasks before and after each call, so that calls of concurrent tasks interleave.

use std::sync::Arc;

use tokio::task::yield_now;
use tollgate::clock::Timestamp;
use tollgate::key::KeyHash;
use tollgate::name::AccountId;
use tollgate::store::{AccountAdmin, InsertKey, Inserted, KeyAdmin, KeyQuery, Replaced};
use tollgate::{Account, KeyId, KeyRecord, KeyStore, MemoryStore, StoreFuture};

use crate::management::{Fault, Stage};

#[derive(Debug, Clone)]
struct Yielding(Arc<MemoryStore>);

/// Returns a stage whose gate and manager use a store that yields.
pub(crate) fn stage() -> Result<Stage, Fault> {
    Stage::set_over(|store| Arc::new(Yielding(Arc::clone(store))), |builder, _| builder)
}

impl Yielding {
    fn slowly<T: Send + 'static>(
        &self,
        step: impl FnOnce(&MemoryStore) -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        let store = Arc::clone(&self.0);
        StoreFuture::boxed(async move {
            yield_now().await;
            let done = step(&store).await;
            yield_now().await;
            done
        })
    }
}

impl KeyStore for Yielding {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        let hash = *hash;
        self.slowly(move |store| store.find(&hash))
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        Some(self)
    }
}

impl KeyAdmin for Yielding {
    fn insert(&self, insert: &InsertKey) -> StoreFuture<Inserted> {
        let insert = insert.clone();
        self.slowly(move |store| store.insert(&insert))
    }

    fn find_now(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.find(hash)
    }

    fn get(&self, id: KeyId) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.slowly(move |store| store.get(id))
    }

    fn account_of(&self, id: &AccountId) -> StoreFuture<Option<Arc<Account>>> {
        let id = id.clone();
        self.slowly(move |store| store.account_of(&id))
    }

    fn replace(&self, record: &KeyRecord) -> StoreFuture<Replaced> {
        let record = record.clone();
        self.slowly(move |store| store.replace(&record))
    }

    fn list(&self, query: &KeyQuery) -> StoreFuture<Vec<Arc<KeyRecord>>> {
        let query = query.clone();
        self.slowly(move |store| store.list(&query))
    }

    fn touch(&self, uses: &[(KeyId, Timestamp)]) -> StoreFuture<()> {
        let uses = uses.to_vec();
        self.slowly(move |store| store.touch(&uses))
    }

    fn erase(&self, id: KeyId) -> StoreFuture<bool> {
        self.slowly(move |store| store.erase(id))
    }

    fn sweep(&self, before: Timestamp) -> StoreFuture<u64> {
        self.slowly(move |store| store.sweep(before))
    }
}

impl AccountAdmin for Yielding {
    fn create_account(&self, account: &Account) -> StoreFuture<bool> {
        let account = account.clone();
        self.slowly(move |store| store.create_account(&account))
    }

    fn replace_account(&self, account: &Account) -> StoreFuture<Replaced> {
        let account = account.clone();
        self.slowly(move |store| store.replace_account(&account))
    }

    fn erase_account(&self, id: &AccountId) -> StoreFuture<bool> {
        let id = id.clone();
        self.slowly(move |store| store.erase_account(&id))
    }
}
