//! A custom key store, and the test suite of its contract:
//! `cargo run --example custom_store --features conformance`.
//!
//! One lock makes every call atomic. A store over a database uses a transaction instead.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tollgate::clock::Timestamp;
use tollgate::key::KeyHash;
use tollgate::name::AccountId;
use tollgate::store::{AccountAdmin, InsertKey, Inserted, KeyAdmin, KeyQuery, Replaced};
use tollgate::{Account, KeyId, KeyRecord, KeyStore, StoreFuture, conformance};

#[tokio::main]
async fn main() {
    let report = conformance::keys(Shelf::default()).run().await;
    println!("{report}");
    report.assert();
}

/// Keys and accounts behind one lock.
#[derive(Debug, Default)]
pub struct Shelf(RwLock<Inside>);

#[derive(Debug, Default)]
struct Inside {
    keys: BTreeMap<KeyId, KeyRecord>,
    accounts: BTreeMap<AccountId, Arc<Account>>,
}

impl Shelf {
    fn read(&self) -> RwLockReadGuard<'_, Inside> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inside> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// Returns the record with its stored account.
    fn shown(&self, record: &KeyRecord) -> Option<Arc<KeyRecord>> {
        let mut record = record.clone();
        record.account = Arc::clone(self.accounts.get(&record.account.id)?);
        Some(Arc::new(record))
    }

    /// Returns true if another key has one of this record's hashes.
    fn is_taken(&self, record: &KeyRecord) -> bool {
        let hashes = [Some(record.hash), record.retiring.map(|old| old.hash)];
        let others = self.keys.values().filter(|other| other.id != record.id);
        others.into_iter().any(|other| hashes.iter().flatten().any(|hash| other.has_hash(hash)))
    }
}

impl KeyStore for Shelf {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        let inside = self.read();
        let found = inside.keys.values().find(|record| record.has_hash(hash));
        StoreFuture::ready(found.and_then(|record| inside.shown(record)))
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        Some(self)
    }
}

impl KeyAdmin for Shelf {
    fn insert(&self, insert: &InsertKey) -> StoreFuture<Inserted> {
        let (mut inside, record) = (self.write(), &insert.record);
        let held = inside.keys.values().filter(|other| other.account.id == record.account.id);
        let active = held.filter(|other| other.counts_as_active(insert.now)).count();
        StoreFuture::ready(if !inside.accounts.contains_key(&record.account.id) {
            Inserted::NoAccount
        } else if inside.keys.contains_key(&record.id) || inside.is_taken(record) {
            Inserted::Taken
        } else if insert.max_active.is_some_and(|most| active >= most as usize) {
            Inserted::Full
        } else {
            inside.keys.insert(record.id, record.clone());
            Inserted::Done
        })
    }

    fn find_now(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.find(hash)
    }

    fn get(&self, id: KeyId) -> StoreFuture<Option<Arc<KeyRecord>>> {
        let inside = self.read();
        StoreFuture::ready(inside.keys.get(&id).and_then(|record| inside.shown(record)))
    }

    fn account_of(&self, id: &AccountId) -> StoreFuture<Option<Arc<Account>>> {
        StoreFuture::ready(self.read().accounts.get(id).cloned())
    }

    fn replace(&self, record: &KeyRecord) -> StoreFuture<Replaced> {
        let mut inside = self.write();
        let taken = inside.is_taken(record);
        StoreFuture::ready(match inside.keys.get_mut(&record.id) {
            None => Replaced::Gone,
            Some(stored) if stored.version != record.version => Replaced::Stale,
            Some(_) if taken => Replaced::Taken,
            Some(stored) => {
                let mut changed = record.clone();
                changed.version += 1;
                changed.account = Arc::clone(&stored.account);
                changed.last_used_at = changed.last_used_at.max(stored.last_used_at);
                *stored = changed;
                Replaced::Done
            }
        })
    }

    fn list(&self, query: &KeyQuery) -> StoreFuture<Vec<Arc<KeyRecord>>> {
        let inside = self.read();
        let admitted = inside.keys.values().filter(|record| query.admits(record));
        StoreFuture::ready(admitted.take(query.limit).filter_map(|record| inside.shown(record)).collect())
    }

    fn touch(&self, uses: &[(KeyId, Timestamp)]) -> StoreFuture<()> {
        let mut inside = self.write();
        for (id, used) in uses {
            if let Some(record) = inside.keys.get_mut(id) {
                record.last_used_at = record.last_used_at.max(Some(*used));
            }
        }
        StoreFuture::ready(())
    }

    fn erase(&self, id: KeyId) -> StoreFuture<bool> {
        StoreFuture::ready(self.write().keys.remove(&id).is_some())
    }

    fn sweep(&self, before: Timestamp) -> StoreFuture<u64> {
        let (mut inside, mut swept) = (self.write(), 0);
        inside.keys.retain(|_, record| {
            let dead = record.dead_since(before).is_some_and(|since| since < before);
            swept += u64::from(dead);
            !dead
        });
        StoreFuture::ready(swept)
    }
}

impl AccountAdmin for Shelf {
    fn create_account(&self, account: &Account) -> StoreFuture<bool> {
        let mut inside = self.write();
        let free = !inside.accounts.contains_key(&account.id);
        if free {
            inside.accounts.insert(account.id.clone(), Arc::new(account.clone()));
        }
        StoreFuture::ready(free)
    }

    fn replace_account(&self, account: &Account) -> StoreFuture<Replaced> {
        StoreFuture::ready(match self.write().accounts.get_mut(&account.id) {
            None => Replaced::Gone,
            Some(stored) if stored.version != account.version => Replaced::Stale,
            Some(stored) => {
                let mut changed = account.clone();
                changed.version += 1;
                *stored = Arc::new(changed);
                Replaced::Done
            }
        })
    }

    fn erase_account(&self, id: &AccountId) -> StoreFuture<bool> {
        let mut inside = self.write();
        inside.keys.retain(|_, record| record.account.id != *id);
        StoreFuture::ready(inside.accounts.remove(id).is_some())
    }
}
