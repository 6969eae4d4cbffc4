//! Keys and accounts in this process's memory.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Account, AccountId, KeyHash, KeyId, KeyRecord, KeyStatus, KeyStore, StoreFuture};

/// Passes eight bytes of a SHA-256 on as they are: they are spread evenly already.
#[derive(Debug, Default, Clone, Copy)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

type Records = papaya::HashMap<KeyHash, Arc<KeyRecord>, BuildHasherDefault<AsIs>>;

/// Keys and accounts in memory: the default store, and the one for tests.
///
/// Reading takes no lock. A change is seen by every [`find`](KeyStore::find) that begins after it returned. A changed
/// account shows on all its keys.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use tollgate::{Account, KeyHasher, KeyId, KeyRecord, KeyStatus, KeyStore, MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tollgate::StoreError> {
/// let store = MemoryStore::new();
/// let account = store.put_account(Account::new("acme", "pro"));
/// let (id, hash) = (KeyId::from_bytes([7; 16]), KeyHasher::sha256().hash(b"acme_secret"));
/// store.put_key(KeyRecord::new(id, hash, account));
/// store.set_status(id, KeyStatus::Revoked);
/// assert_eq!(store.find(&hash).await?.unwrap().status, KeyStatus::Revoked);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct MemoryStore {
    records: Records,
    index: Mutex<Index>,
}

/// What only changes need: they go one at a time.
#[derive(Default)]
struct Index {
    accounts: HashMap<AccountId, (Arc<Account>, BTreeSet<KeyId>)>,
    hashes: HashMap<KeyId, KeyHash>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an account in, in place of the one of its id, and shows it on all its keys.
    pub fn put_account(&self, account: Account) -> Arc<Account> {
        self.replace_account(&mut self.index(), Arc::new(account))
    }

    /// The account of this id.
    pub fn account(&self, id: &str) -> Option<Arc<Account>> {
        self.index().accounts.get(id).map(|(account, _)| Arc::clone(account))
    }

    /// Changes an account, in one step, and shows it on all its keys; says whether it is there.
    pub fn change_account(&self, id: &str, change: impl FnOnce(&mut Account)) -> bool {
        let mut index = self.index();
        let Some((account, _)) = index.accounts.get(id) else { return false };
        let mut changed = Account::clone(account);
        change(&mut changed);
        changed.id.clone_from(&account.id);
        self.replace_account(&mut index, Arc::new(changed));
        true
    }

    /// Puts a key in, in place of the one of its id, with its account as this store has it; an account that the store
    /// does not have is put in with the key.
    pub fn put_key(&self, mut record: KeyRecord) {
        let (mut index, records) = (self.index(), self.records.pin());
        let (id, hash) = (record.id, record.hash);
        let stale = index.hashes.insert(id, hash);
        let holder = stale.and_then(|stale| records.get(&stale)).map(|old| old.account.id.clone());
        if let Some(holder) = holder.filter(|holder| *holder != record.account.id)
            && let Some((_, keys)) = index.accounts.get_mut(&holder)
        {
            keys.remove(&id);
        }
        let entry = index.accounts.entry(record.account.id.clone());
        let (account, keys) = entry.or_insert_with(|| (Arc::clone(&record.account), BTreeSet::new()));
        keys.insert(id);
        record.account = Arc::clone(account);
        records.insert(hash, Arc::new(record));
        // What it replaces goes last: a reader takes no lock, and must not find the key gone meanwhile.
        if let Some(stale) = stale.filter(|stale| *stale != hash) {
            records.remove(&stale);
        }
    }

    /// The key of this id.
    pub fn key(&self, id: KeyId) -> Option<Arc<KeyRecord>> {
        let hash = *self.index().hashes.get(&id)?;
        self.records.pin().get(&hash).cloned()
    }

    /// Changes a key's status, in one step; says whether it is there. A revoked key stays revoked.
    pub fn set_status(&self, id: KeyId, status: KeyStatus) -> bool {
        let index = self.index();
        let Some(hash) = index.hashes.get(&id) else { return false };
        let records = self.records.pin();
        let Some(record) = records.get(hash).filter(|record| record.status != KeyStatus::Revoked) else {
            return records.contains_key(hash);
        };
        let mut changed = KeyRecord::clone(record);
        changed.status = status;
        records.insert(*hash, Arc::new(changed));
        true
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn replace_account(&self, index: &mut Index, account: Arc<Account>) -> Arc<Account> {
        let entry = index.accounts.entry(account.id.clone());
        let (stored, keys) = entry.or_insert_with(|| (Arc::clone(&account), BTreeSet::new()));
        *stored = Arc::clone(&account);
        let records = self.records.pin();
        for hash in keys.iter().filter_map(|id| index.hashes.get(id)) {
            if let Some(record) = records.get(hash) {
                let mut changed = KeyRecord::clone(record);
                changed.account = Arc::clone(&account);
                records.insert(*hash, Arc::new(changed));
            }
        }
        account
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyStore for MemoryStore {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        StoreFuture::ready(self.records.pin().get(hash).cloned())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("keys", &self.len()).finish_non_exhaustive()
    }
}
