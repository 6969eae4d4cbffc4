//! A store in which somebody else makes a change between two steps of whoever uses it.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tollgate::clock::Timestamp;
use tollgate::key::KeyHash;
use tollgate::name::AccountId;
use tollgate::store::{InsertKey, Inserted, KeyAdmin, KeyQuery, Replaced};
use tollgate::{Account, KeyId, KeyRecord, KeyStore, MemoryStore, StoreFuture};

type Change = Box<dyn FnOnce(&MemoryStore) + Send>;

pub(crate) struct ConcurrentWriter {
    store: Arc<MemoryStore>,
    /// The number of look-ups.
    looks: AtomicUsize,
    /// The change that is made after this many look-ups.
    change: Mutex<Option<(usize, Change)>>,
}

impl ConcurrentWriter {
    pub(crate) fn after(
        looks: usize,
        store: &Arc<MemoryStore>,
        change: impl FnOnce(&MemoryStore) + Send + 'static,
    ) -> Self {
        let change = Mutex::new(Some((looks, Box::new(change) as Change)));
        Self { store: Arc::clone(store), looks: AtomicUsize::new(0), change }
    }

    fn look<T>(&self, look: impl FnOnce(&MemoryStore) -> StoreFuture<T>) -> StoreFuture<T> {
        let (found, looks) = (look(&self.store), self.looks.fetch_add(1, Ordering::SeqCst) + 1);
        let mut change = self.change.lock().unwrap();
        if change.as_ref().is_some_and(|(after, _)| *after == looks)
            && let Some((_, change)) = change.take()
        {
            change(&self.store);
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

    fn admin(self: Arc<Self>) -> Option<Arc<dyn KeyAdmin>> {
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
