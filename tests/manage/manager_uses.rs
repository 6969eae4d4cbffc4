//! Times of last use: noted once per resolution, shown at once, written back, and never set back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use crate::management;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use management::{Fault, Stage};
use tollgate::clock::Timestamp;
use tollgate::key::KeyHash;
use tollgate::manage::ListKeys;
use tollgate::name::AccountId;
use tollgate::store::{AccountAdmin, InsertKey, Inserted, KeyAdmin, KeyQuery, Replaced};
use tollgate::{Account, KeyId, KeyManager, KeyRecord, KeyStore, MemoryStore, StoreError, StoreFuture};

const SECOND: Duration = Duration::from_secs(1);

/// A store whose writing back of uses is counted, and fails on demand.
#[derive(Debug, Clone)]
struct Counted {
    store: Arc<MemoryStore>,
    touched: Arc<Mutex<Vec<(KeyId, Timestamp)>>>,
    fails: Arc<AtomicBool>,
}

impl Counted {
    fn over(store: &Arc<MemoryStore>) -> Self {
        Self { store: Arc::clone(store), touched: Arc::default(), fails: Arc::default() }
    }

    fn writes(&self) -> usize {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl KeyStore for Counted {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.store.find(hash)
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        Some(self)
    }
}

impl KeyAdmin for Counted {
    fn insert(&self, insert: &InsertKey) -> StoreFuture<Inserted> {
        self.store.insert(insert)
    }

    fn find_now(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.store.find_now(hash)
    }

    fn get(&self, id: KeyId) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.store.get(id)
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
        if self.fails.load(Ordering::SeqCst) {
            return StoreFuture::failed(StoreError::timed_out());
        }
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).extend(uses);
        self.store.touch(uses)
    }

    fn erase(&self, id: KeyId) -> StoreFuture<bool> {
        self.store.erase(id)
    }

    fn sweep(&self, before: Timestamp) -> StoreFuture<u64> {
        self.store.sweep(before)
    }
}

impl AccountAdmin for Counted {
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

fn noting() -> Result<(Stage, Counted, KeyManager), Fault> {
    let mut counted = None;
    let stage = Stage::set_over(
        |store| Arc::new(counted.insert(Counted::over(store)).clone()),
        |builder, _| builder.note_uses(60 * SECOND),
    )?;
    let manager = stage.manager.clone();
    Ok((stage, counted.ok_or("no store")?, manager))
}

async fn shown(manager: &KeyManager) -> Option<Timestamp> {
    manager.list(&ListKeys::default()).await.unwrap().keys[0].last_used_at
}

#[tokio::test]
async fn uses_are_noted_once_per_resolution() -> Result<(), Fault> {
    let (stage, counted, manager) = noting()?;
    let issued = stage.issue("ada").await?;
    let secret = issued.secret.expose_secret();
    let now = || stage.gate.clock().now().wall();
    assert_eq!(shown(&manager).await, None);
    let first = now();
    let mut later = first;
    for second in 0..150 {
        assert_eq!(stage.refusal(secret).await, None);
        if second % 60 == 0 {
            later = now();
        }
        assert_eq!(shown(&manager).await, Some(later), "second {second}");
        // Written back every ten seconds: what is written is not noted again before its time.
        if second % 10 == 9 {
            manager.flush_uses().await?;
        }
        stage.clock.advance(SECOND);
    }
    assert_eq!(counted.writes(), 3);
    assert_eq!(stage.store.key(issued.key.id).unwrap().last_used_at, Some(later));
    Ok(())
}

#[tokio::test]
async fn refused_request_is_not_a_use() -> Result<(), Fault> {
    let (stage, counted, manager) = noting()?;
    let issued = stage.issue("ada").await?;
    let secret = issued.secret.expose_secret();
    manager.pause(issued.key.id).await?;
    assert!(stage.refusal(secret).await.is_some());
    manager.flush_uses().await?;
    assert_eq!((shown(&manager).await, counted.writes()), (None, 0));
    Ok(())
}

#[tokio::test]
async fn failing_store_loses_no_use() -> Result<(), Fault> {
    let (stage, counted, manager) = noting()?;
    let issued = stage.issue("ada").await?;
    let secret = issued.secret.expose_secret();
    let used = stage.gate.clock().now().wall();
    assert_eq!(stage.refusal(secret).await, None);
    counted.fails.store(true, Ordering::SeqCst);
    assert!(manager.flush_uses().await.is_err());
    assert_eq!(shown(&manager).await, Some(used));
    counted.fails.store(false, Ordering::SeqCst);
    manager.flush_uses().await?;
    assert_eq!(stage.store.key(issued.key.id).unwrap().last_used_at, Some(used));
    Ok(())
}

#[tokio::test]
async fn latest_use_time_is_kept() -> Result<(), Fault> {
    let (stage, _, manager) = noting()?;
    let issued = stage.issue("ada").await?;
    let secret = issued.secret.expose_secret();
    let used = stage.gate.clock().now().wall();
    assert_eq!(stage.refusal(secret).await, None);
    manager.flush_uses().await?;
    let earlier = Timestamp::from_millis(used.as_millis() - 3_600_000);
    stage.store.touch(&[(issued.key.id, earlier)]).await?;
    stage.clock.set_wall(earlier);
    assert_eq!(stage.refusal(secret).await, None);
    manager.flush_uses().await?;
    assert_eq!(shown(&manager).await, Some(used));
    // A change that was decided on an older reading of the record does not set it back either.
    let rotated = manager.rotate(issued.key.id, SECOND).await?;
    assert_eq!(manager.get(rotated.key.id).await?.last_used_at, Some(used));
    Ok(())
}

#[tokio::test]
async fn gate_notes_uses_once_a_minute() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let issued = stage.issue("ada").await?;
    let secret = issued.secret.expose_secret();
    let first = stage.gate.clock().now().wall();
    for second in 0..=60 {
        assert_eq!(stage.refusal(secret).await, None);
        stage.manager.flush_uses().await?;
        let used = if second < 60 { first } else { stage.gate.clock().now().wall() };
        assert_eq!(stage.store.key(issued.key.id).unwrap().last_used_at, Some(used), "second {second}");
        stage.clock.advance(SECOND);
    }
    Ok(())
}
