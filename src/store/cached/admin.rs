//! The write side: the authority makes the change, what was read before is made void, the other nodes are told.

use std::sync::Arc;

use crate::account::Account;
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::key::{KeyHash, KeyId, KeyRecord};
use crate::name::AccountId;
use crate::store::cached::front::start_of;
use crate::store::cached::{CachedStore, Change, Inner};
use crate::store::{AccountAdmin, InsertKey, Inserted, KeyAdmin, KeyQuery, KeyStore, Replaced};

impl<S: KeyStore> CachedStore<S> {
    /// Does a piece of work on what is shared. Once begun it goes to its end, also when nobody waits for it any more: a change
    /// is never made without making void what was read before.
    fn work<T, F>(&self, work: impl FnOnce(Arc<Inner<S>>) -> F + Send + 'static) -> StoreFuture<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        StoreFuture::boxed(async move {
            let runtime = tokio::runtime::Handle::try_current().map_err(StoreError::unavailable)?;
            runtime.spawn(work(inner)).await.map_err(StoreError::unavailable)?
        })
    }
}

impl<S: KeyStore> Inner<S> {
    /// Makes void what was read of a subject, here and on the other nodes, and that these hashes are nobody's; says whether
    /// all nodes know. It does not ask what became of the change: one that failed may have been made all the same.
    async fn void(&self, change: &Change, hashes: &[KeyHash]) -> bool {
        let voided = self.void_tiers(change, hashes).await;
        self.announce(change).await && voided
    }

    async fn void_tiers(&self, change: &Change, hashes: &[KeyHash]) -> bool {
        let voided = match &self.behind {
            Some(behind) => behind.void(change, hashes, &self.front).await,
            None => true,
        };
        // Last: what is read again from here on finds the second tier void already.
        for hash in hashes {
            self.front.void(&Change::Hash(start_of(hash)));
        }
        self.front.void(change);
        voided
    }

    /// Tells the other nodes; says whether they know. Without a channel there are none, unless they share a second tier.
    async fn announce(&self, change: &Change) -> bool {
        let Some(announcements) = &self.announcements else { return self.behind.is_none() };
        let told = tokio::time::timeout(self.side_patience, announcements.announce(change)).await;
        told.is_ok_and(|told| told.is_ok())
    }

    /// Tells the other nodes that a key has these hashes, where this one does not know it by them: there, they may be known
    /// to be nobody's.
    async fn announce_hashes(&self, key: KeyId, hashes: &[KeyHash]) -> bool {
        for hash in hashes.iter().filter(|hash| !self.front.knows(hash, key)) {
            if !self.announce(&Change::Hash(start_of(hash))).await {
                return false;
            }
        }
        true
    }
}

fn hashes_of(record: &KeyRecord) -> Vec<KeyHash> {
    [Some(record.hash), record.retiring.map(|old| old.hash)].into_iter().flatten().collect()
}

impl<S: KeyAdmin> KeyAdmin for CachedStore<S> {
    fn insert(&self, insert: &InsertKey) -> StoreFuture<Inserted> {
        let insert = insert.clone();
        self.work(async move |inner| {
            let inserted = inner.authority.insert(&insert).await;
            let (key, hashes) = (insert.record.id, hashes_of(&insert.record));
            // Nothing was read of it but that there is no such key.
            inner.void_tiers(&Change::Key(key), &hashes).await;
            if matches!(inserted, Ok(Inserted::Done) | Err(_)) {
                inner.announce_hashes(key, &hashes).await;
            }
            inserted
        })
    }

    fn find_now(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.0.authority.find_now(hash)
    }

    fn get(&self, id: KeyId) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.0.authority.get(id)
    }

    fn account_of(&self, id: &AccountId) -> StoreFuture<Option<Arc<Account>>> {
        self.0.authority.account_of(id)
    }

    fn replace(&self, record: &KeyRecord) -> StoreFuture<Replaced> {
        let record = record.clone();
        self.work(async move |inner| {
            let replaced = inner.authority.replace(&record).await;
            let hashes = hashes_of(&record);
            let announced = inner.void(&Change::Key(record.id), &hashes).await
                && inner.announce_hashes(record.id, &hashes).await;
            replaced.map(|replaced| replaced.announced(announced))
        })
    }

    fn list(&self, query: &KeyQuery) -> StoreFuture<Vec<Arc<KeyRecord>>> {
        self.0.authority.list(query)
    }

    fn touch(&self, uses: &[(KeyId, Timestamp)]) -> StoreFuture<()> {
        self.0.authority.touch(uses)
    }

    fn erase(&self, id: KeyId) -> StoreFuture<bool> {
        self.work(async move |inner| {
            let erased = inner.authority.erase(id).await;
            inner.void(&Change::Key(id), &[]).await;
            erased
        })
    }

    fn sweep(&self, before: Timestamp) -> StoreFuture<u64> {
        self.work(async move |inner| {
            let swept = inner.authority.sweep(before).await;
            if !matches!(swept, Ok(0)) {
                inner.void(&Change::Everything, &[]).await;
            }
            swept
        })
    }
}

impl<S: AccountAdmin> AccountAdmin for CachedStore<S> {
    fn create_account(&self, account: &Account) -> StoreFuture<bool> {
        // It has no keys yet, and nobody remembers that there is no such account.
        self.0.authority.create_account(account)
    }

    fn replace_account(&self, account: &Account) -> StoreFuture<Replaced> {
        let account = account.clone();
        self.work(async move |inner| {
            let replaced = inner.authority.replace_account(&account).await;
            let announced = inner.void(&Change::Account(account.id), &[]).await;
            replaced.map(|replaced| replaced.announced(announced))
        })
    }

    fn erase_account(&self, id: &AccountId) -> StoreFuture<bool> {
        let id = id.clone();
        self.work(async move |inner| {
            let erased = inner.authority.erase_account(&id).await;
            inner.void(&Change::Account(id), &[]).await;
            erased
        })
    }
}
