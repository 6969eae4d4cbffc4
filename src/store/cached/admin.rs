//! The write side: the authority makes the change, older reads are invalidated, and the other nodes are informed.

use std::sync::Arc;

use crate::account::Account;
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::key::{KeyHash, KeyId, KeyRecord};
use crate::name::AccountId;
use crate::store::cached::state::start_of;
use crate::store::cached::{CachedStore, Change, Inner};
use crate::store::{AccountAdmin, InsertKey, Inserted, KeyAdmin, KeyQuery, KeyStore, Replaced};

impl<S: KeyStore> CachedStore<S> {
    /// Runs a write in its own task. The task ends even if the caller stops waiting, so a change is never made without
    /// invalidating older reads.
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
    /// Invalidates what was read of a subject, here and on the other nodes, and cached answers that these hashes are
    /// unknown. Returns true if all nodes were informed. It runs whatever the outcome of the change: a change that
    /// failed may have been made nevertheless.
    async fn invalidate(&self, change: &Change, hashes: &[KeyHash]) -> bool {
        let voided = self.invalidate_tiers(change, hashes).await;
        self.announce(change).await && voided
    }

    async fn invalidate_tiers(&self, change: &Change, hashes: &[KeyHash]) -> bool {
        let voided = match &self.second_tier {
            Some(second_tier) => second_tier.invalidate(change, hashes, &self.state).await,
            None => true,
        };
        // The cache comes last: a read that starts from here on finds the second tier already invalidated.
        for hash in hashes {
            self.state.invalidate(&Change::Hash(start_of(hash)));
        }
        self.state.invalidate(change);
        voided
    }

    /// Announces a change. Returns true if the other nodes were informed. Without a channel it assumes that there are
    /// no other nodes, unless there is a second tier.
    async fn announce(&self, change: &Change) -> bool {
        let Some(invalidation_bus) = &self.invalidation_bus else { return self.second_tier.is_none() };
        self.state.announcements.sending(change, self.state.ticks());
        let announced = tokio::time::timeout(self.side_patience, invalidation_bus.announce(change)).await;
        let announced = announced.is_ok_and(|announced| announced.is_ok());
        self.state.announcements.sent(announced);
        announced
    }

    /// Announces the hashes of a key that this node has not cached: other nodes may have cached them as unknown.
    async fn announce_hashes(&self, key: KeyId, hashes: &[KeyHash]) -> bool {
        for hash in hashes.iter().filter(|hash| !self.state.knows(hash, key)) {
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
            // Nodes can have cached only that the hashes are unknown, so the key itself is not announced.
            inner.invalidate_tiers(&Change::Key(key), &hashes).await;
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
            let announced = inner.invalidate(&Change::Key(record.id), &hashes).await
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
            inner.invalidate(&Change::Key(id), &[]).await;
            erased
        })
    }

    fn sweep(&self, before: Timestamp) -> StoreFuture<u64> {
        self.work(async move |inner| {
            let swept = inner.authority.sweep(before).await;
            if !matches!(swept, Ok(0)) {
                inner.invalidate(&Change::Everything, &[]).await;
            }
            swept
        })
    }
}

impl<S: AccountAdmin> AccountAdmin for CachedStore<S> {
    fn create_account(&self, account: &Account) -> StoreFuture<bool> {
        // A new account has no keys, and no cache stores that an account is unknown.
        self.0.authority.create_account(account)
    }

    fn replace_account(&self, account: &Account) -> StoreFuture<Replaced> {
        let account = account.clone();
        self.work(async move |inner| {
            let replaced = inner.authority.replace_account(&account).await;
            let announced = inner.invalidate(&Change::Account(account.id), &[]).await;
            replaced.map(|replaced| replaced.announced(announced))
        })
    }

    fn erase_account(&self, id: &AccountId) -> StoreFuture<bool> {
        let id = id.clone();
        self.work(async move |inner| {
            let erased = inner.authority.erase_account(&id).await;
            inner.invalidate(&Change::Account(id), &[]).await;
            erased
        })
    }
}
