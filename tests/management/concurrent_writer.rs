//! A store in which another writer makes a change between two look-ups.

use std::fmt;
use std::sync::{Arc, Mutex};

use tollgate::clock::Timestamp;
use tollgate::key::KeyHash;
use tollgate::name::AccountId;
use tollgate::store::{AccountAdmin, InsertKey, Inserted, KeyAdmin, KeyQuery, Replaced};
use tollgate::{Account, GateBuilder, KeyId, KeyRecord, KeyStore, MemoryStore, StoreFuture};

use crate::management::{Fault, Stage};

type Change = Box<dyn FnOnce(&MemoryStore) + Send>;

pub(crate) struct ConcurrentWriter {
    store: Arc<MemoryStore>,
    /// The change that is made after this many more look-ups.
    change: Mutex<Option<(usize, Change)>>,
}

/// Returns a stage whose gate and manager use a store with a concurrent writer.
pub(crate) fn stage(
    more: impl FnOnce(GateBuilder, &Arc<MemoryStore>) -> GateBuilder,
) -> Result<(Stage, Arc<ConcurrentWriter>), Fault> {
    let mut writer = None;
    let front = |store: &Arc<MemoryStore>| {
        let store = Arc::clone(store);
        Arc::clone(writer.insert(Arc::new(ConcurrentWriter { store, change: Mutex::default() }))) as _
    };
    let stage = Stage::set_over(front, more)?;
    Ok((stage, writer.ok_or("no store")?))
}

impl ConcurrentWriter {
    /// Makes the change after this many more look-ups, once.
    pub(crate) fn change_after(&self, looks: usize, change: impl FnOnce(&MemoryStore) + Send + 'static) {
        *self.change.lock().unwrap() = Some((looks, Box::new(change)));
    }

    fn look<T>(&self, look: impl FnOnce(&MemoryStore) -> StoreFuture<T>) -> StoreFuture<T> {
        let found = look(&self.store);
        let mut pending = self.change.lock().unwrap();
        if let Some((looks, change)) = pending.take() {
            if looks == 1 {
                change(&self.store);
            } else {
                *pending = Some((looks - 1, change));
            }
        }
        found
    }
}

impl fmt::Debug for ConcurrentWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConcurrentWriter")
    }
}

impl KeyStore for ConcurrentWriter {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.look(|store| store.find(hash))
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        Some(self)
    }
}

impl KeyAdmin for ConcurrentWriter {
    fn insert(&self, insert: &InsertKey) -> StoreFuture<Inserted> {
        self.store.insert(insert)
    }

    fn find_now(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.look(|store| store.find_now(hash))
    }

    fn get(&self, id: KeyId) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.look(|store| store.get(id))
    }

    fn account_of(&self, id: &AccountId) -> StoreFuture<Option<Arc<Account>>> {
        self.store.account_of(id)
    }

    fn replace(&self, record: &KeyRecord) -> StoreFuture<Replaced> {
        self.store.replace(record)
    }

    fn list(&self, query: &KeyQuery) -> StoreFuture<Vec<Arc<KeyRecord>>> {
        self.store.list(query)
    }

    fn touch(&self, uses: &[(KeyId, Timestamp)]) -> StoreFuture<()> {
        self.store.touch(uses)
    }

    fn erase(&self, id: KeyId) -> StoreFuture<bool> {
        self.store.erase(id)
    }

    fn sweep(&self, before: Timestamp) -> StoreFuture<u64> {
        self.store.sweep(before)
    }
}

impl AccountAdmin for ConcurrentWriter {
    fn create_account(&self, account: &Account) -> StoreFuture<bool> {
        self.store.create_account(account)
    }

    fn replace_account(&self, account: &Account) -> StoreFuture<Replaced> {
        self.store.replace_account(account)
    }

    fn erase_account(&self, id: &AccountId) -> StoreFuture<bool> {
        self.store.erase_account(id)
    }
}
