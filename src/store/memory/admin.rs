//! The write side. Every change locks the index, so each is one step.

use std::sync::Arc;

use crate::account::Account;
use crate::clock::Timestamp;
use crate::future::StoreFuture;
use crate::key::{KeyHash, KeyId, KeyRecord};
use crate::name::AccountId;
use crate::store::memory::{Index, MemoryStore, hashes};
use crate::store::{AccountAdmin, InsertKey, Inserted, KeyAdmin, KeyQuery, KeyStore as _, Replaced};

impl KeyAdmin for MemoryStore {
    fn insert(&self, insert: &InsertKey) -> StoreFuture<Inserted> {
        let mut index = self.index();
        let inserted = index.room_for(self, insert);
        if inserted == Inserted::Done {
            let mut record = insert.record.clone();
            if let Some((account, keys)) = index.accounts.get_mut(&record.account.id) {
                record.account = Arc::clone(account);
                keys.add(record.id);
            }
            self.set_key(&mut index, record);
        }
        StoreFuture::ready(inserted)
    }

    fn find_now(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.find(hash)
    }

    fn get(&self, id: KeyId) -> StoreFuture<Option<Arc<KeyRecord>>> {
        StoreFuture::ready(self.key(id))
    }

    fn account_of(&self, id: &AccountId) -> StoreFuture<Option<Arc<Account>>> {
        StoreFuture::ready(self.account(id.as_str()))
    }

    fn replace(&self, record: &KeyRecord) -> StoreFuture<Replaced> {
        let mut index = self.index();
        let taken = |hash| self.records.pin().get(&hash).is_some_and(|other| other.id != record.id);
        StoreFuture::ready(match index.keys.get(&record.id) {
            None => Replaced::Gone,
            Some(stored) if stored.version != record.version => Replaced::Stale,
            Some(_) if hashes(record).any(taken) => Replaced::Taken,
            Some(stored) => {
                let mut changed = record.clone();
                changed.version += 1;
                changed.account = Arc::clone(&stored.account);
                changed.last_used_at = changed.last_used_at.max(stored.last_used_at);
                self.set_key(&mut index, changed);
                Replaced::Done
            }
        })
    }

    fn list(&self, query: &KeyQuery) -> StoreFuture<Vec<Arc<KeyRecord>>> {
        let index = self.index();
        let from = query.after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let range = (from, std::ops::Bound::Unbounded);
        let admitted = |record: &&Arc<KeyRecord>| query.admits(record);
        let records = if let Some(account) = &query.account {
            // An account has few keys: read only those.
            let ids = index.accounts.get(account).map(|(_, keys)| keys.after(query.after));
            let records = ids.into_iter().flatten().filter_map(|id| index.keys.get(id));
            records.filter(admitted).take(query.limit).cloned().collect()
        } else {
            let records = index.keys.range(range).map(|(_, record)| record);
            records.filter(admitted).take(query.limit).cloned().collect()
        };
        StoreFuture::ready(records)
    }

    fn touch(&self, uses: &[(KeyId, Timestamp)]) -> StoreFuture<()> {
        let mut index = self.index();
        for (id, used) in uses {
            if let Some(record) = index.keys.get(id).filter(|record| record.last_used_at < Some(*used)) {
                let mut changed = KeyRecord::clone(record);
                changed.last_used_at = Some(*used);
                self.set_key(&mut index, changed);
            }
        }
        StoreFuture::ready(())
    }

    fn erase(&self, id: KeyId) -> StoreFuture<bool> {
        StoreFuture::ready(self.remove_key(&mut self.index(), id))
    }

    fn sweep(&self, before: Timestamp) -> StoreFuture<u64> {
        let mut index = self.index();
        let dead = |record: &&Arc<KeyRecord>| record.dead_since(before).is_some_and(|since| since < before);
        let ids: Vec<KeyId> = index.keys.values().filter(dead).map(|record| record.id).collect();
        let removed = ids.into_iter().filter(|id| self.remove_key(&mut index, *id)).count();
        StoreFuture::ready(removed as u64)
    }
}

impl Index {
    /// Returns `Done` if a key can be inserted, or the reason why not.
    fn room_for(&self, store: &MemoryStore, insert: &InsertKey) -> Inserted {
        let record = &insert.record;
        let Some((_, keys)) = self.accounts.get(&record.account.id) else { return Inserted::NoAccount };
        let records = store.records.pin();
        if self.keys.contains_key(&record.id) || hashes(record).any(|hash| records.contains_key(&hash)) {
            return Inserted::Taken;
        }
        let active =
            |held: &&KeyId| self.keys.get(held).is_some_and(|held| held.counts_as_active(insert.now));
        match insert.max_active {
            // The account's keys are counted only if there is a maximum.
            Some(most) if keys.0.iter().filter(active).count() >= most as usize => Inserted::Full,
            _ => Inserted::Done,
        }
    }
}

impl AccountAdmin for MemoryStore {
    fn create_account(&self, account: &Account) -> StoreFuture<bool> {
        let mut index = self.index();
        let free = !index.accounts.contains_key(&account.id);
        if free {
            self.set_account(&mut index, account.clone());
        }
        StoreFuture::ready(free)
    }

    fn replace_account(&self, account: &Account) -> StoreFuture<Replaced> {
        let mut index = self.index();
        StoreFuture::ready(match index.accounts.get(&account.id) {
            None => Replaced::Gone,
            Some((stored, _)) if stored.version != account.version => Replaced::Stale,
            Some(_) => {
                let mut changed = account.clone();
                changed.version += 1;
                self.set_account(&mut index, changed);
                Replaced::Done
            }
        })
    }

    fn erase_account(&self, id: &AccountId) -> StoreFuture<bool> {
        let mut index = self.index();
        let Some((_, keys)) = index.accounts.get(id) else { return StoreFuture::ready(false) };
        for key in keys.0.clone() {
            self.remove_key(&mut index, key);
        }
        StoreFuture::ready(index.accounts.remove(id).is_some())
    }
}
