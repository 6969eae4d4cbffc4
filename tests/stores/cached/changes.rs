//! Changes made through the cache are seen at once; those made elsewhere, within the bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tollgate::account::AccountStatus;
use tollgate::clock::Timestamp;
use tollgate::key::{KeyStatus, PreviousSecret};
use tollgate::name::AccountId;
use tollgate::rule::Cost;
use tollgate::store::{AccountAdmin, InsertKey, KeyAdmin};
use tollgate::{Account, Credits, KeyManager, KeyRecord, KeyStore, Rule};

use crate::cached::remote::{Remote, hash};
use crate::cached::{BOUND, cache, clock, set_status, status_of};
use crate::support::{World, with_key};

#[tokio::test(start_paused = true)]
async fn revocation_wins_over_an_earlier_read() {
    let remote = Remote::new();
    let (id, hash) = remote.key(1);
    let store = cache(&remote, &clock()).build().unwrap();
    remote.answers_after(Duration::from_millis(50));
    let before = tokio::spawn(store.find(&hash));
    tokio::time::sleep(Duration::from_millis(10)).await;
    set_status(&store, id, KeyStatus::Revoked).await;
    let after = status_of(&store, &hash).await;
    assert_eq!(after, Some(KeyStatus::Revoked));
    let waited = before.await.unwrap().unwrap().unwrap();
    assert_eq!(waited.status, KeyStatus::Revoked, "the waiting one is not let in by what was overtaken");
    assert_eq!(status_of(&store, &hash).await, Some(KeyStatus::Revoked));
    assert_eq!(remote.reads(), 2);
}

/// Readers run on real threads all the time, and each round makes one revocation.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn revoked_key_is_never_active_again() {
    let remote = Remote::new();
    let store = cache(&remote, &clock()).build().unwrap();
    for round in 0..1000_u32 {
        let (id, hash) = remote.key(u8::try_from(round % 200).unwrap());
        // The authority was changed beside the cache: what it keeps of the round before is made void.
        set_status(&store, id, KeyStatus::Active).await;
        let revoked = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (store, revoked) = (store.clone(), Arc::clone(&revoked));
                tokio::spawn(async move {
                    loop {
                        let too_late = revoked.load(Ordering::SeqCst);
                        let status = status_of(&store, &hash).await.unwrap();
                        assert!(!too_late || status == KeyStatus::Revoked, "active after its revocation");
                        if status == KeyStatus::Revoked {
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        set_status(&store, id, KeyStatus::Revoked).await;
        revoked.store(true, Ordering::SeqCst);
        for reader in readers {
            tokio::time::timeout(Duration::from_secs(10), reader).await.unwrap().unwrap();
        }
        remote.store.erase(id).await.unwrap();
    }
}

#[tokio::test]
async fn revoked_key_is_not_found_by_old_secret() {
    let (remote, clock) = (Remote::new(), clock());
    let (id, old) = remote.key(1);
    let store = cache(&remote, &clock).build().unwrap();
    let mut rotated = KeyRecord::clone(&store.get(id).await.unwrap().unwrap());
    rotated.hash = hash(77);
    rotated.retiring = Some(PreviousSecret { hash: old, until: Timestamp::from_millis(i64::MAX) });
    // The new secret was tried before it was valid.
    assert!(store.find(&hash(77)).await.unwrap().is_none());
    assert_eq!(store.replace(&rotated).await.unwrap(), tollgate::store::Replaced::Done);
    for hash in [old, hash(77)] {
        assert_eq!(status_of(&store, &hash).await, Some(KeyStatus::Active));
        assert!(store.find(&hash).is_ready());
    }
    let mut revoked = KeyRecord::clone(&store.get(id).await.unwrap().unwrap());
    revoked.status = KeyStatus::Revoked;
    revoked.retiring = None;
    assert_eq!(store.replace(&revoked).await.unwrap(), tollgate::store::Replaced::Done);
    assert!(store.find(&old).await.unwrap().is_none());
    assert_eq!(status_of(&store, &hash(77)).await, Some(KeyStatus::Revoked));
}

#[tokio::test]
async fn suspension_covers_all_keys_at_once() {
    let (remote, clock) = (Remote::new(), clock());
    let account = remote.store.put_account(Account::new("ada", "plain"));
    let keys: Vec<_> =
        (1..=50).map(|number| (tollgate::KeyId::from_bytes([number; 16]), hash(number.into()))).collect();
    for (id, hash) in &keys {
        remote.store.put_key(KeyRecord::new(*id, *hash, Arc::clone(&account)));
    }
    let (_, other) = remote.key(99);
    let store = cache(&remote, &clock).build().unwrap();
    for (_, hash) in &keys {
        store.find(hash).await.unwrap();
    }
    store.find(&other).await.unwrap();
    let mut suspended = Account::clone(&store.account_of(&account.id).await.unwrap().unwrap());
    suspended.status = AccountStatus::Suspended;
    suspended.plan = "other".into();
    assert_eq!(store.replace_account(&suspended).await.unwrap(), tollgate::store::Replaced::Done);
    for (_, hash) in &keys {
        let found = store.find(hash).await.unwrap().unwrap();
        assert_eq!((found.account.status, found.account.plan.as_str()), (AccountStatus::Suspended, "other"));
    }
    assert!(store.erase_account(&AccountId::from("ada")).await.unwrap());
    assert!(store.find(&keys[0].1).await.unwrap().is_none());
}

#[tokio::test]
async fn new_key_works_after_an_earlier_miss() {
    let (remote, clock) = (Remote::new(), clock());
    let store = cache(&remote, &clock).build().unwrap();
    let account = Account::new("ada", "plain");
    assert!(store.create_account(&account).await.unwrap());
    assert!(store.find(&hash(5)).await.unwrap().is_none());
    let record = KeyRecord::new(tollgate::KeyId::from_bytes([5; 16]), hash(5), Arc::new(account));
    let insert = InsertKey::new(record, Timestamp::from_millis(0));
    assert_eq!(store.insert(&insert).await.unwrap(), tollgate::store::Inserted::Done);
    assert!(store.find(&hash(5)).await.unwrap().is_some());
    assert!(store.erase(insert.record.id).await.unwrap());
    assert!(store.find(&hash(5)).await.unwrap().is_none());
}

#[tokio::test]
async fn keys_that_were_swept_are_found_no_more() {
    let (remote, clock) = (Remote::new(), clock());
    let (id, hash) = remote.key(1);
    let store = cache(&remote, &clock).build().unwrap();
    let mut dead = KeyRecord::clone(&store.get(id).await.unwrap().unwrap());
    dead.expires_at = Some(Timestamp::from_millis(5));
    assert_eq!(store.replace(&dead).await.unwrap(), tollgate::store::Replaced::Done);
    assert!(store.find(&hash).await.unwrap().is_some());
    assert_eq!(store.sweep(Timestamp::from_millis(9)).await.unwrap(), 1);
    assert!(store.find(&hash).await.unwrap().is_none());
}

#[tokio::test]
async fn remote_change_is_seen_within_the_bound() {
    let (remote, clock) = (Remote::new(), clock());
    let (id, hash) = remote.key(1);
    let store = cache(&remote, &clock).build().unwrap();
    store.find(&hash).await.unwrap();
    remote.store.set_status(id, KeyStatus::Revoked);
    assert_eq!(status_of(&store, &hash).await, Some(KeyStatus::Active));
    clock.advance(BOUND);
    assert_eq!(status_of(&store, &hash).await, Some(KeyStatus::Revoked));
}

#[tokio::test(start_paused = true)]
async fn change_completes_without_its_caller() {
    let remote = Remote::new();
    let (id, hash) = remote.key(1);
    let store = cache(&remote, &clock()).build().unwrap();
    store.find(&hash).await.unwrap();
    let mut revoked = KeyRecord::clone(&store.get(id).await.unwrap().unwrap());
    revoked.status = KeyStatus::Revoked;
    let mut change = Box::pin(store.replace(&revoked));
    // Begun, and given up at once.
    assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(change.as_mut().poll(cx).is_pending())).await);
    drop(change);
    tokio::task::yield_now().await;
    assert_eq!(status_of(&store, &hash).await, Some(KeyStatus::Revoked));
}

#[tokio::test]
async fn change_with_lost_answer_is_seen_at_once() {
    let remote = Remote::new();
    let (id, hash) = remote.key(1);
    let store = cache(&remote, &clock()).build().unwrap();
    store.find(&hash).await.unwrap();
    let mut revoked = KeyRecord::clone(&store.get(id).await.unwrap().unwrap());
    revoked.status = KeyStatus::Revoked;
    remote.loses_answers.store(true, Ordering::SeqCst);
    assert!(store.replace(&revoked).await.unwrap_err().is_timeout());
    assert_eq!(status_of(&store, &hash).await, Some(KeyStatus::Revoked));
}

/// The state that limiter and ledger keep of a key stays when the record is read again.
#[tokio::test]
async fn cached_record_is_judged_on_every_request() {
    const KEY: &str = "kwery_live_0123456789";
    let world = World::new();
    let id = world.key(KEY, |record, account| {
        record.expires_at = Some("2026-04-30T12:00:25Z".parse().unwrap());
        account.plan = "slow".into();
    });
    let store = tollgate::store::CachedStore::builder(Arc::clone(&world.store))
        .stale_for_at_most(BOUND)
        .clock(world.clock.clone())
        .build()
        .unwrap();
    let mut rule = Rule::new("/v1/candles").unwrap();
    rule.cost = Cost::Fixed(Credits::new(40));
    let mut plan = tollgate::Plan::new("slow");
    plan.quotas = vec!["2 per minute".parse().unwrap()];
    let gate = world.with_store(store.clone()).kwery().rule(rule).plan(plan).build().unwrap();
    let ask = async || world.send(&gate, with_key("GET /v1/candles", KEY)).await.status;

    assert_eq!((ask().await, world.balance(id)), (200, 60));
    // The account changes: the record that is read again is another one, its windows and its balance are the same.
    world.store.change_account(&world.account_of(id), |account| {
        account.agreements.insert("terms".into());
    });
    world.clock.advance(BOUND);
    assert_eq!((ask().await, world.balance(id)), (200, 20));
    assert!(store.find(&world.store.key(id).unwrap().hash).is_ready());
    assert_eq!((ask().await, world.balance(id)), (429, 20));
    world.clock.advance(Duration::from_secs(14));
    assert_eq!(ask().await, 429, "not expired yet");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(ask().await, 401, "expired while it is kept");
}

#[tokio::test]
async fn a_manager_over_the_cache_revokes_at_once() {
    const KEY: &str = "kwery_live_0123456789";
    let world = World::new();
    let id = world.plain_key(KEY);
    let store = tollgate::store::CachedStore::builder(Arc::clone(&world.store))
        .clock(world.clock.clone())
        .build()
        .unwrap();
    let gate = world.with_store(store).kwery().build().unwrap();
    let ask = async || world.send(&gate, with_key("GET /v1/candles", KEY)).await.status;
    assert_eq!(ask().await, 200);
    let manager = KeyManager::new(gate.clone()).unwrap();
    let revoked = manager.revoke(id).await.unwrap();
    assert!(revoked.announced && revoked.key.status == KeyStatus::Revoked);
    assert_eq!(ask().await, 401);
}

/// A cached record, or a cached miss, does not answer a report of a leak.
#[tokio::test]
async fn leaked_key_is_revoked_despite_a_miss() {
    const KEY: &str = "kwery_live_0123456789";
    let world = World::new();
    let store = tollgate::store::CachedStore::builder(Arc::clone(&world.store))
        .clock(world.clock.clone())
        .build()
        .unwrap();
    let gate = world.with_store(store).kwery().build().unwrap();
    let ask = async || world.send(&gate, with_key("GET /v1/candles", KEY)).await.status;
    assert_eq!(ask().await, 401, "it is remembered that there is no such key");
    let id = world.plain_key(KEY);
    let manager = KeyManager::new(gate.clone()).unwrap();
    assert_eq!(manager.report_leak(KEY).await.unwrap(), Some(id));
    assert_eq!(world.store.key(id).unwrap().status, KeyStatus::Revoked);
}
