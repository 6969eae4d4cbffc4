//! Keys and accounts in this process's memory.

mod admin;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::BuildHasherDefault;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::account::Account;
use crate::future::StoreFuture;
use crate::key::{KeyHash, KeyId, KeyRecord, KeyStatus};
use crate::name::AccountId;
use crate::store::KeyStore;
use crate::store::spread::ByHash;

/// Keys and accounts in memory: the default store, and the one for tests.
///
/// Reading takes no lock. A change is seen by every [`find`](KeyStore::find) that begins after it returned. A changed
/// account shows on all its keys.
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

/// What only changes need: they go one at a time.
#[derive(Default)]
struct Index {
    accounts: HashMap<AccountId, (Arc<Account>, BTreeSet<KeyId>)>,
    keys: BTreeMap<KeyId, Arc<KeyRecord>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        // A table that grows is moved at once: while it moves bit by bit, as changes come, readers search in two.
        let records = papaya::HashMap::builder().hasher(BuildHasherDefault::default());
        let records = records.resize_mode(papaya::ResizeMode::Blocking).build();
        Self { records, index: Mutex::default() }
    }

    /// Puts an account in, in place of the one of its id, and shows it on all its keys.
    pub fn put_account(&self, account: Account) -> Arc<Account> {
        let account = Arc::new(account);
        self.set_account(&mut self.index(), &account);
        account
    }

    /// The account of this id.
    pub fn account(&self, id: &str) -> Option<Arc<Account>> {
        self.index().accounts.get(id).map(|(account, _)| Arc::clone(account))
    }

    /// All accounts, by id.
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        let mut accounts: Vec<_> =
            self.index().accounts.values().map(|(account, _)| Arc::clone(account)).collect();
        accounts.sort_by(|one, other| one.id.cmp(&other.id));
        accounts
    }

    /// Changes an account, in one step, and shows it on all its keys; says whether it is there.
    pub fn change_account(&self, id: &str, change: impl FnOnce(&mut Account)) -> bool {
        let mut index = self.index();
        let Some((account, _)) = index.accounts.get(id) else { return false };
        let mut changed = Account::clone(account);
        change(&mut changed);
        changed.id.clone_from(&account.id);
        changed.version += 1;
        self.set_account(&mut index, &Arc::new(changed));
        true
    }

    /// Puts a key in, in place of the one of its id, with its account as this store has it; an account that the store
    /// does not have is put in with the key. No cap is asked: this loads what was decided elsewhere.
    pub fn put_key(&self, mut record: KeyRecord) {
        let mut index = self.index();
        let entry = index.accounts.entry(record.account.id.clone());
        let (account, keys) = entry.or_insert_with(|| (Arc::clone(&record.account), BTreeSet::new()));
        keys.insert(record.id);
        record.account = Arc::clone(account);
        self.set_key(&mut index, record);
    }

    /// The key of this id.
    pub fn key(&self, id: KeyId) -> Option<Arc<KeyRecord>> {
        self.index().keys.get(&id).cloned()
    }

    /// Changes a key's status, in one step; says whether it is there. A revoked key stays revoked.
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

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.index().keys.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts an account in place, and on all its keys.
    fn set_account(&self, index: &mut Index, account: &Arc<Account>) {
        let entry = index.accounts.entry(account.id.clone());
        let (stored, keys) = entry.or_insert_with(|| (Arc::clone(account), BTreeSet::new()));
        *stored = Arc::clone(account);
        let held: Vec<_> = keys.iter().filter_map(|id| index.keys.get(id).cloned()).collect();
        for record in held {
            let mut changed = KeyRecord::clone(&record);
            changed.account = Arc::clone(account);
            self.set_key(index, changed);
        }
    }

    /// Puts a record in place. It is found by its hashes before those that are no longer its are forgotten.
    fn set_key(&self, index: &mut Index, record: KeyRecord) {
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
                keys.remove(&record.id);
            }
        }
    }

    fn remove_key(&self, index: &mut Index, id: KeyId) -> bool {
        let Some(record) = index.keys.remove(&id) else { return false };
        if let Some((_, keys)) = index.accounts.get_mut(&record.account.id) {
            keys.remove(&id);
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

/// The hashes that a record is found by.
fn hashes(record: &KeyRecord) -> impl Iterator<Item = KeyHash> {
    [Some(record.hash), record.retiring.map(|old| old.hash)].into_iter().flatten()
}

impl KeyStore for MemoryStore {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        StoreFuture::ready(self.records.pin().get(hash).cloned())
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
