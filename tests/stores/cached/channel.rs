//! Nodes that tell each other of changes, over a channel that may fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::broadcast;
use tollgate::key::KeyStatus;
use tollgate::store::{
    CachedStore, Change, ChannelState, InsertKey, InvalidationBus, InvalidationSink, KeyAdmin, Replaced,
};
use tollgate::{KeyRecord, KeyStore, StoreError, StoreFuture};

use crate::cached::remote::{Remote, hash};
use crate::cached::{BOUND, cache, clock, just_before, set_status, status_of, until};

const UNANNOUNCED: Duration = Duration::from_secs(2);

/// A channel between the stores of one process.
#[derive(Debug)]
struct Local {
    changes: broadcast::Sender<Change>,
    /// Ends all listening when something is sent.
    cut: broadcast::Sender<()>,
    closed: AtomicBool,
    panics: AtomicBool,
    listening: Arc<AtomicUsize>,
}

impl Local {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            changes: broadcast::channel(100).0,
            cut: broadcast::channel(1).0,
            closed: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            listening: Arc::default(),
        })
    }

    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let _ = self.cut.send(());
    }

    fn listening(&self) -> usize {
        self.listening.load(Ordering::SeqCst)
    }
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn closed() -> StoreError {
    StoreError::unavailable("the channel is closed")
}

impl InvalidationBus for Local {
    fn announce(&self, change: &Change) -> StoreFuture<()> {
        if self.closed.load(Ordering::SeqCst) {
            return StoreFuture::failed(closed());
        }
        let _ = self.changes.send(change.clone());
        StoreFuture::ready(())
    }

    fn listen(&self, ear: InvalidationSink) -> StoreFuture<()> {
        assert!(!self.panics.load(Ordering::SeqCst), "a fault in the channel");
        if self.closed.load(Ordering::SeqCst) {
            return StoreFuture::failed(closed());
        }
        let (mut changes, mut cut) = (self.changes.subscribe(), self.cut.subscribe());
        self.listening.fetch_add(1, Ordering::SeqCst);
        let counted = Counted(Arc::clone(&self.listening));
        StoreFuture::boxed(async move {
            let _counted = counted;
            ear.open();
            loop {
                tokio::select! {
                    change = changes.recv() => ear.invalidate(&change.map_err(StoreError::unavailable)?),
                    _ = cut.recv() => return Err(closed()),
                }
            }
        })
    }
}

type Node = CachedStore<Arc<Remote>>;

async fn two_nodes(clock: &tollgate::ManualClock) -> (Arc<Remote>, Arc<Local>, Node, Node) {
    let (remote, channel) = (Remote::new(), Local::new());
    let node = || {
        let builder = cache(&remote, clock).unannounced_for_at_most(UNANNOUNCED).stale_if_error(3 * BOUND);
        builder.invalidation_bus(Arc::clone(&channel)).build().unwrap()
    };
    let (one, other) = (node(), node());
    until(|| channel.listening() == 2).await;
    until(|| {
        one.health().channel_state == ChannelState::Open && other.health().channel_state == ChannelState::Open
    })
    .await;
    (remote, channel, one, other)
}

#[tokio::test(start_paused = true)]
async fn change_reaches_the_other_nodes() {
    let (remote, _channel, one, other) = two_nodes(&clock()).await;
    let (id, hash) = remote.key(1);
    assert_eq!(status_of(&other, &hash).await, Some(KeyStatus::Active));
    set_status(&one, id, KeyStatus::Revoked).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(status_of(&other, &hash).await, Some(KeyStatus::Revoked));
    // What was announced is known to have changed, also while the authority fails.
    let (id, hash) = remote.key(2);
    status_of(&other, &hash).await;
    set_status(&one, id, KeyStatus::Revoked).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    remote.down.store(true, Ordering::SeqCst);
    other.find(&hash).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn lost_channel_shortens_record_lifetime() {
    let clock = clock();
    let (remote, channel, one, other) = two_nodes(&clock).await;
    let (id, hash) = remote.key(1);
    status_of(&other, &hash).await;
    channel.close();
    until(|| other.health().channel_state == ChannelState::Lost).await;
    assert!(other.health().is_degraded());
    let mut revoked = KeyRecord::clone(&one.get(id).await.unwrap().unwrap());
    revoked.status = KeyStatus::Revoked;
    assert_eq!(one.replace(&revoked).await.unwrap(), Replaced::Unannounced);
    assert_eq!(status_of(&one, &hash).await, Some(KeyStatus::Revoked));
    clock.advance(just_before(UNANNOUNCED));
    assert_eq!(status_of(&other, &hash).await, Some(KeyStatus::Active));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(status_of(&other, &hash).await, Some(KeyStatus::Revoked));
}

#[tokio::test(start_paused = true)]
async fn restored_channel_rechecks_old_records() {
    let clock = clock();
    let (remote, channel, _one, other) = two_nodes(&clock).await;
    let (id, hash) = remote.key(1);
    let (_, untouched) = remote.key(2);
    status_of(&other, &hash).await;
    let kept = other.find(&untouched).await.unwrap().unwrap();
    channel.close();
    until(|| other.health().channel_state == ChannelState::Lost).await;
    remote.store.set_status(id, KeyStatus::Revoked);
    clock.advance(Duration::from_millis(1));
    channel.closed.store(false, Ordering::SeqCst);
    until(|| other.health().channel_state == ChannelState::Open).await;
    assert_eq!(status_of(&other, &hash).await, Some(KeyStatus::Revoked));
    assert!(Arc::ptr_eq(&kept, &other.find(&untouched).await.unwrap().unwrap()));
    assert!(other.health().restarts > 0);
    // With the authority gone at the same time, what is known still serves.
    channel.close();
    until(|| other.health().channel_state == ChannelState::Lost).await;
    remote.down.store(true, Ordering::SeqCst);
    clock.advance(UNANNOUNCED);
    channel.closed.store(false, Ordering::SeqCst);
    until(|| other.health().channel_state == ChannelState::Open).await;
    assert!(other.find(&untouched).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn panicked_listener_restarts() {
    let (_remote, channel, one, other) = two_nodes(&clock()).await;
    channel.panics.store(true, Ordering::SeqCst);
    let _ = channel.cut.send(());
    until(|| one.health().restarts >= 3 && one.health().channel_state == ChannelState::Lost).await;
    channel.panics.store(false, Ordering::SeqCst);
    until(|| {
        one.health().channel_state == ChannelState::Open && other.health().channel_state == ChannelState::Open
    })
    .await;
    assert_eq!(channel.listening(), 2);
    drop(one.clone());
    drop(one);
    until(|| channel.listening() == 1).await;
    drop(other);
    until(|| channel.listening() == 0).await;
}

#[test]
fn listening_needs_a_runtime() {
    let built = cache(&Remote::new(), &clock()).invalidation_bus(Local::new()).build();
    assert_eq!(built.unwrap_err().member(), "announcements");
}

#[test]
fn announcements_round_trip() {
    let key = Change::Key(tollgate::KeyId::from_bytes([7; 16]));
    let hash = Change::Hash([0, 1, 2, 0xfd, 0xfe, 0xff, 7, 8]);
    for change in [key, hash, Change::Account("two words, ünd more".into()), Change::Everything] {
        assert_eq!(change.to_string().parse(), Ok(change));
    }
    for text in ["", "key", "key 7", "everything ", "all", "accounts a", "hash 12", "hash +123456789abcdef"] {
        assert!(text.parse::<Change>().is_err(), "{text}");
    }
}

/// A secret that was tried elsewhere before it was issued works there at once.
#[tokio::test(start_paused = true)]
async fn new_secret_works_despite_remote_misses() {
    let (remote, _channel, one, other) = two_nodes(&clock()).await;
    let (id, first) = remote.key(1);
    assert!(other.find(&hash(5)).await.unwrap().is_none());
    let account = one.account_of(&"account-1".into()).await.unwrap().unwrap();
    let record = KeyRecord::new(tollgate::KeyId::from_bytes([5; 16]), hash(5), account);
    let insert = InsertKey::new(record, tollgate::clock::Timestamp::from_millis(0));
    assert_eq!(one.insert(&insert).await.unwrap(), tollgate::store::Inserted::Done);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(other.find(&hash(5)).await.unwrap().is_some());
    // A key that is put under another hash is found under it, though nobody had it a moment ago.
    assert!(other.find(&first).await.unwrap().is_some());
    assert!(other.find(&hash(6)).await.unwrap().is_none());
    let mut renewed = KeyRecord::clone(&one.get(id).await.unwrap().unwrap());
    renewed.hash = hash(6);
    assert_eq!(one.replace(&renewed).await.unwrap(), Replaced::Done);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(other.find(&hash(6)).await.unwrap().is_some());
    // A flood of unknown keys is remembered all the same.
    let reads = remote.reads();
    assert!(other.find(&hash(7)).await.unwrap().is_none() && other.find(&hash(7)).await.unwrap().is_none());
    assert_eq!(remote.reads(), reads + 1);
}
