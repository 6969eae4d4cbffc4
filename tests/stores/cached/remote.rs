//! A key store as a user may write one over a network: it answers late, or not at all, and is asked as seldom as can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tollgate::clock::Timestamp;
use tollgate::key::{KeyHash, KeyHasher};
use tollgate::name::AccountId;
use tollgate::store::{AccountAdmin, InsertKey, Inserted, KeyAdmin, KeyQuery, Replaced};
use tollgate::{Account, KeyId, KeyRecord, KeyStore, MemoryStore, StoreError, StoreFuture};

#[derive(Debug, Default)]
pub(crate) struct Remote {
    pub(crate) store: MemoryStore,
    /// Milliseconds from the reading of a record until its answer is there.
    latency: AtomicU64,
    pub(crate) down: AtomicBool,
    /// True if a change is made and its answer is lost.
    pub(crate) loses_answers: AtomicBool,
    /// True if a record is corrupted on its way.
    pub(crate) corrupt: AtomicBool,
    reads: AtomicUsize,
}

impl Remote {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn answers_after(&self, latency: Duration) {
        self.latency.store(u64::try_from(latency.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Returns the number of reads of a key.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// Puts a key in, of an account of its own.
    pub(crate) fn key(&self, number: u8) -> (KeyId, KeyHash) {
        let account = self.store.put_account(Account::new(format!("account-{number}"), "plain"));
        let (id, hash) = (KeyId::from_bytes([number; 16]), hash(number.into()));
        self.store.put_key(KeyRecord::new(id, hash, account));
        (id, hash)
    }

    fn failure(&self) -> Option<StoreError> {
        let down = self.down.load(Ordering::SeqCst);
        down.then(|| StoreError::unavailable(std::io::Error::other("connection refused")))
    }

    fn change<T>(&self, change: impl FnOnce() -> StoreFuture<T>) -> StoreFuture<T> {
        if let Some(error) = self.failure() {
            return StoreFuture::failed(error);
        }
        let made = change();
        if self.loses_answers.load(Ordering::SeqCst) {
            StoreFuture::failed(StoreError::timed_out())
        } else {
            made
        }
    }
}

pub(crate) fn hash(number: u64) -> KeyHash {
    KeyHasher::sha256().hash(&number.to_be_bytes())
}

impl KeyStore for Remote {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        // What it answers is what it had when it was asked.
        let answer = match self.failure() {
            Some(error) => StoreFuture::failed(error),
            None if self.corrupt.load(Ordering::SeqCst) => StoreFuture::failed(StoreError::corrupt("torn")),
            None => self.store.find(hash),
        };
        let latency = Duration::from_millis(self.latency.load(Ordering::SeqCst));
        if latency.is_zero() {
            return answer;
        }
        StoreFuture::boxed(async move {
            tokio::time::sleep(latency).await;
            answer.await
        })
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        Some(self)
    }
}

impl KeyAdmin for Remote {
    fn insert(&self, insert: &InsertKey) -> StoreFuture<Inserted> {
        self.change(|| self.store.insert(insert))
    }

    fn find_now(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.find(hash)
    }

    fn get(&self, id: KeyId) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.store.get(id)
    }

    fn account_of(&self, id: &AccountId) -> StoreFuture<Option<Arc<Account>>> {
        self.store.account_of(id)
    }

    fn replace(&self, record: &KeyRecord) -> StoreFuture<Replaced> {
        self.change(|| self.store.replace(record))
    }

    fn list(&self, query: &KeyQuery) -> StoreFuture<Vec<Arc<KeyRecord>>> {
        self.store.list(query)
    }

    fn touch(&self, uses: &[(KeyId, Timestamp)]) -> StoreFuture<()> {
        self.store.touch(uses)
    }

    fn erase(&self, id: KeyId) -> StoreFuture<bool> {
        self.change(|| self.store.erase(id))
    }

    fn sweep(&self, before: Timestamp) -> StoreFuture<u64> {
        self.change(|| self.store.sweep(before))
    }
}

impl AccountAdmin for Remote {
    fn create_account(&self, account: &Account) -> StoreFuture<bool> {
        self.change(|| self.store.create_account(account))
    }

    fn replace_account(&self, account: &Account) -> StoreFuture<Replaced> {
        self.change(|| self.store.replace_account(account))
    }

    fn erase_account(&self, id: &AccountId) -> StoreFuture<bool> {
        self.change(|| self.store.erase_account(id))
    }
}
