//! Keys and accounts in this process's memory.

mod admin;
#[cfg(feature = "cli")]
mod json;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;
use smallvec::SmallVec;

use crate::account::{Account, AccountDetails};
use crate::future::StoreFuture;
use crate::intern::Interner;
use crate::key::{KeyDetails, KeyHash, KeyId, KeyRecord, KeyStatus};
use crate::name::AccountId;
use crate::store::spread::ByHash;
use crate::store::{AccountAdmin, KeyStore};

/// A store of keys and accounts in memory: the default store, also suitable for tests.
///
/// Reads take no lock. Every [`find`](KeyStore::find) that begins after a change returned sees the change. A changed
/// account appears on all its keys.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use tollgate::key::{KeyHasher, KeyStatus};
/// use tollgate::{Account, KeyId, KeyRecord, KeyStore, MemoryStore};
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
pub struct MemoryStore {
    records: ByHash<Arc<KeyRecord>>,
    index: Mutex<Index>,
}

/// The data that only changes need. Changes run one at a time.
#[derive(Default)]
struct Index {
    accounts: HashMap<AccountId, (Arc<Account>, KeyIds)>,
    keys: BTreeMap<KeyId, Arc<KeyRecord>>,
    key_details: Interner<KeyDetails>,
    account_details: Interner<AccountDetails>,
}

/// The keys of an account, in the order of their ids. Most accounts have one.
#[derive(Default)]
struct KeyIds(SmallVec<[KeyId; 1]>);

impl KeyIds {
    fn add(&mut self, id: KeyId) {
        if let Err(place) = self.0.binary_search(&id) {
            self.0.insert(place, id);
        }
    }

    fn remove(&mut self, id: KeyId) {
        if let Ok(place) = self.0.binary_search(&id) {
            self.0.remove(place);
        }
    }

    /// Returns the ids after this one, or all.
    fn after(&self, id: Option<KeyId>) -> &[KeyId] {
        let from = id.map_or(0, |id| self.0.partition_point(|one| *one <= id));
        &self.0[from..]
    }
}

impl MemoryStore {
    /// Creates an empty store.
    pub fn new() -> Self {
        // Resize the table in one step: during an incremental resize, readers search two tables.
        let records = papaya::HashMap::builder().hasher(FixedState::default());
        let records = records.resize_mode(papaya::ResizeMode::Blocking).build();
        Self { records, index: Mutex::default() }
    }

    /// Inserts an account, or replaces the account with the same id, on all its keys too.
    pub fn put_account(&self, account: Account) -> Arc<Account> {
        self.set_account(&mut self.index(), account)
    }

    /// Returns the account with this id.
    pub fn account(&self, id: &str) -> Option<Arc<Account>> {
        self.index().accounts.get(id).map(|(account, _)| Arc::clone(account))
    }

    /// Returns all accounts, in order of id.
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        let mut accounts: Vec<_> =
            self.index().accounts.values().map(|(account, _)| Arc::clone(account)).collect();
        accounts.sort_by(|one, other| one.id.cmp(&other.id));
        accounts
    }

    /// Changes an account in one step, on all its keys too. Returns true if the account exists.
    pub fn change_account(&self, id: &str, change: impl FnOnce(&mut Account)) -> bool {
        let mut index = self.index();
        let Some((account, _)) = index.accounts.get(id) else { return false };
        let mut changed = Account::clone(account);
        change(&mut changed);
        changed.id.clone_from(&account.id);
        changed.version += 1;
        self.set_account(&mut index, changed);
        true
    }

    /// Inserts a key, or replaces the key with the same id. The key gets its account as this store has it. An account
    /// that the store does not have is inserted with the key. No maximum of active keys is checked: this method loads
    /// records that were decided elsewhere.
    pub fn put_key(&self, mut record: KeyRecord) {
        let index = &mut *self.index();
        if !index.accounts.contains_key(&record.account.id) {
            self.set_account(index, Account::clone(&record.account));
        }
        let Some((account, keys)) = index.accounts.get_mut(&record.account.id) else { return };
        keys.add(record.id);
        record.account = Arc::clone(account);
        self.set_key(index, record);
    }

    /// Returns the key with this id.
    pub fn key(&self, id: KeyId) -> Option<Arc<KeyRecord>> {
        self.index().keys.get(&id).cloned()
    }

    /// Changes a key's status in one step. Returns true if the key exists. A revoked key stays revoked.
    pub fn set_status(&self, id: KeyId, status: KeyStatus) -> bool {
        let mut index = self.index();
        let Some(record) = index.keys.get(&id) else { return false };
        if record.status != KeyStatus::Revoked {
            let mut changed = KeyRecord::clone(record);
            changed.status = status;
            changed.version += 1;
            self.set_key(&mut index, changed);
        }
        true
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.index().keys.len()
    }

    /// Returns true if there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stores an account, on all its keys too.
    fn set_account(&self, index: &mut Index, mut account: Account) -> Arc<Account> {
        account.reset_state();
        account.share_details(&mut index.account_details);
        let account = Arc::new(account);
        let entry = index.accounts.entry(account.id.clone());
        let (stored, keys) = entry.or_insert_with(|| (Arc::clone(&account), KeyIds::default()));
        *stored = Arc::clone(&account);
        let held: Vec<_> = keys.0.iter().filter_map(|id| index.keys.get(id).cloned()).collect();
        for record in held {
            let mut changed = KeyRecord::clone(&record);
            changed.account = Arc::clone(&account);
            self.set_key(index, changed);
        }
        account
    }

    /// Stores a record. The new hashes are added before the old ones are removed, so that the key can always be found.
    fn set_key(&self, index: &mut Index, mut record: KeyRecord) {
        record.reset_state();
        record.share_details(&mut index.key_details);
        let (record, records) = (Arc::new(record), self.records.pin());
        for hash in hashes(&record) {
            records.insert(hash, Arc::clone(&record));
        }
        if let Some(old) = index.keys.insert(record.id, Arc::clone(&record)) {
            for hash in hashes(&old).filter(|hash| !record.has_hash(hash)) {
                records.remove(&hash);
            }
            if old.account.id != record.account.id
                && let Some((_, keys)) = index.accounts.get_mut(&old.account.id)
            {
                keys.remove(record.id);
            }
        }
    }

    fn remove_key(&self, index: &mut Index, id: KeyId) -> bool {
        let Some(record) = index.keys.remove(&id) else { return false };
        if let Some((_, keys)) = index.accounts.get_mut(&record.account.id) {
            keys.remove(id);
        }
        let records = self.records.pin();
        for hash in hashes(&record) {
            records.remove(&hash);
        }
        true
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the hashes by which a record is found.
fn hashes(record: &KeyRecord) -> impl Iterator<Item = KeyHash> {
    [Some(record.hash), record.retiring.map(|old| old.hash)].into_iter().flatten()
}

impl KeyStore for MemoryStore {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        StoreFuture::ready(self.records.pin().get(hash).cloned())
    }

    fn find_cached(&self, hash: &KeyHash) -> Option<Arc<KeyRecord>> {
        self.records.pin().get(hash).cloned()
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        Some(self)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("keys", &self.len()).finish_non_exhaustive()
    }
}
