//! An authority that fails, hangs or answers with what cannot be.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tollgate::key::KeyStatus;
use tollgate::{KeyStore, StoreError, StoreFuture};

use crate::cached::remote::{Remote, hash};
use crate::cached::{BOUND, cache, clock, just_before, set_status, status_of};
use crate::support::{World, with_key};

const PAST: Duration = Duration::from_secs(30);

#[tokio::test]
async fn failure_is_an_error_and_not_cached() {
    let remote = Remote::new();
    let (_, hash) = remote.key(1);
    let store = cache(&remote, &clock()).build().unwrap();
    remote.down.store(true, Ordering::SeqCst);
    store.find(&hash).await.unwrap_err();
    assert!(store.is_empty() && store.health().authority_fails);
    remote.down.store(false, Ordering::SeqCst);
    assert!(store.find(&hash).await.unwrap().is_some());
    assert!(!store.health().is_degraded());
}

#[tokio::test]
async fn stale_records_serve_for_the_stated_time() {
    let (remote, clock) = (Remote::new(), clock());
    let (_, known) = remote.key(1);
    let store = cache(&remote, &clock).stale_if_error(PAST).build().unwrap();
    assert!(store.find(&known).await.unwrap().is_some());
    assert!(store.find(&hash(9)).await.unwrap().is_none());
    remote.down.store(true, Ordering::SeqCst);
    clock.advance(just_before(BOUND + PAST));
    assert!(store.find(&known).await.unwrap().is_some());
    store.find(&hash(9)).await.unwrap_err();
    store.find(&hash(8)).await.unwrap_err();
    clock.advance(Duration::from_nanos(1));
    store.find(&known).await.unwrap_err();
    remote.down.store(false, Ordering::SeqCst);
    assert!(store.find(&known).await.unwrap().is_some());
}

#[tokio::test]
async fn stale_records_need_an_explicit_option() {
    let (remote, clock) = (Remote::new(), clock());
    let (_, known) = remote.key(1);
    let store = cache(&remote, &clock).build().unwrap();
    store.find(&known).await.unwrap();
    remote.down.store(true, Ordering::SeqCst);
    clock.advance(just_before(BOUND));
    assert!(store.find(&known).await.unwrap().is_some());
    clock.advance(Duration::from_nanos(1));
    store.find(&known).await.unwrap_err();
}

#[tokio::test]
async fn changed_record_is_never_served_stale() {
    let (remote, clock) = (Remote::new(), clock());
    let (id, hash) = remote.key(1);
    let (other, revoked) = remote.key(2);
    let store = cache(&remote, &clock).stale_if_error(PAST).build().unwrap();
    for hash in [&hash, &revoked] {
        assert_eq!(status_of(&store, hash).await, Some(KeyStatus::Active));
    }
    set_status(&store, id, KeyStatus::Revoked).await;
    set_status(&store, other, KeyStatus::Revoked).await;
    assert_eq!(status_of(&store, &revoked).await, Some(KeyStatus::Revoked));
    remote.down.store(true, Ordering::SeqCst);
    store.find(&hash).await.unwrap_err();
    clock.advance(BOUND + PAST / 2);
    assert_eq!(status_of(&store, &revoked).await, Some(KeyStatus::Revoked), "its revocation is known");
}

#[tokio::test]
async fn unreadable_record_is_no_outage() {
    let (remote, clock) = (Remote::new(), clock());
    let (_, hash) = remote.key(1);
    let store = cache(&remote, &clock).stale_if_error(PAST).build().unwrap();
    store.find(&hash).await.unwrap();
    clock.advance(BOUND);
    remote.corrupt.store(true, Ordering::SeqCst);
    assert!(store.find(&hash).await.unwrap_err().is_corrupt());
    assert!(!store.health().authority_fails);
}

#[tokio::test]
async fn failing_authority_is_probed_rarely() {
    let (remote, clock) = (Remote::new(), clock());
    let (_, hash) = remote.key(1);
    let store = cache(&remote, &clock).stale_if_error(PAST).build().unwrap();
    store.find(&hash).await.unwrap();
    remote.down.store(true, Ordering::SeqCst);
    clock.advance(BOUND);
    for _ in 0..100 {
        store.find(&hash).await.unwrap();
    }
    assert_eq!(remote.reads(), 2);
    clock.advance(Duration::from_secs(1));
    store.find(&hash).await.unwrap();
    assert_eq!(remote.reads(), 3);
}

#[tokio::test(start_paused = true)]
async fn hanging_read_blocks_no_other_key() {
    let remote = Remote::new();
    let (_, kept) = remote.key(1);
    let store =
        cache(&remote, &clock()).wait_at_most(Duration::from_secs(1)).reads_at_once(8).build().unwrap();
    store.find(&kept).await.unwrap();
    remote.answers_after(Duration::from_secs(30));
    let began = tokio::time::Instant::now();
    let asking: Vec<_> = (0..500).map(|number| tokio::spawn(store.find(&hash(1000 + number)))).collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(store.find(&kept).is_ready());
    assert_eq!(remote.reads(), 1 + 8, "so many are read at once");
    for asked in asking {
        assert!(asked.await.unwrap().unwrap_err().is_timeout());
    }
    assert!(began.elapsed() < Duration::from_millis(1100));
    remote.answers_after(Duration::ZERO);
    assert!(store.find(&hash(1000)).await.unwrap().is_none(), "and service goes on");
}

/// While it hangs, one reading at a time finds out whether it is back: nobody else waits for it.
#[tokio::test(start_paused = true)]
async fn hanging_authority_delays_one_probe_only() {
    let remote = Remote::new();
    let store = cache(&remote, &clock()).wait_at_most(Duration::from_secs(1)).build().unwrap();
    remote.answers_after(Duration::from_secs(30));
    assert!(store.find(&hash(1)).await.unwrap_err().is_timeout());
    let finds_out = tokio::spawn(store.find(&hash(2)));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let began = tokio::time::Instant::now();
    for number in 10..100 {
        store.find(&hash(number)).await.unwrap_err();
    }
    assert!(began.elapsed().is_zero(), "they waited {:?}", began.elapsed());
    assert_eq!(remote.reads(), 2);
    assert!(finds_out.await.unwrap().unwrap_err().is_timeout());
    remote.answers_after(Duration::ZERO);
    assert!(store.find(&hash(3)).await.unwrap().is_none(), "the first that comes finds it");
}

/// A reading that did not get its turn in time says nothing of an authority that answers others meanwhile.
#[tokio::test(start_paused = true)]
async fn busy_authority_is_not_a_hanging_one() {
    let remote = Remote::new();
    let store = cache(&remote, &clock()).wait_at_most(Duration::from_secs(1)).reads_at_once(8);
    let store = store.build().unwrap();
    remote.answers_after(Duration::from_millis(300));
    let asking: Vec<_> = (0..100).map(|number| tokio::spawn(store.find(&hash(number)))).collect();
    let mut answered = 0;
    for asked in asking {
        answered += usize::from(asked.await.unwrap().is_ok());
    }
    assert_eq!(answered, 24, "three rounds of eight");
    let asking: Vec<_> = (200..208).map(|number| tokio::spawn(store.find(&hash(number)))).collect();
    for asked in asking {
        assert!(asked.await.unwrap().unwrap().is_none());
    }
}

#[derive(Debug)]
struct Panicking;

impl KeyStore for Panicking {
    fn find(&self, _: &tollgate::key::KeyHash) -> StoreFuture<Option<Arc<tollgate::KeyRecord>>> {
        StoreFuture::boxed(async { panic!("a fault in the store") })
    }
}

#[derive(Debug)]
struct Confused(Arc<Remote>);

impl KeyStore for Confused {
    fn find(&self, _: &tollgate::key::KeyHash) -> StoreFuture<Option<Arc<tollgate::KeyRecord>>> {
        self.0.find(&hash(1))
    }
}

#[tokio::test]
async fn wrong_or_panicking_authority_is_an_error() {
    let store = tollgate::store::CachedStore::builder(Panicking).build().unwrap();
    for _ in 0..2 {
        let error: StoreError = store.find(&hash(1)).await.unwrap_err();
        assert!(!error.is_timeout());
    }
    let remote = Remote::new();
    remote.key(1);
    let store = tollgate::store::CachedStore::builder(Confused(remote)).build().unwrap();
    assert!(store.find(&hash(2)).await.unwrap_err().is_corrupt());
    assert!(store.find(&hash(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn failing_authority_is_503_and_never_401() {
    const KEY: &str = "kwery_live_0123456789";
    let (world, remote) = (World::new(), Remote::new());
    let id = world.plain_key(KEY);
    remote.store.put_key(tollgate::KeyRecord::clone(&world.store.key(id).unwrap()));
    let store = tollgate::store::CachedStore::builder(Arc::clone(&remote))
        .clock(world.clock.clone())
        .jitter(0)
        .build()
        .unwrap();
    let gate = world.with_store(store).kwery().build().unwrap();
    let ask = async |key| world.send(&gate, with_key("GET /v1/candles", key)).await.status;
    assert_eq!(ask(KEY).await, 200);
    remote.down.store(true, Ordering::SeqCst);
    assert_eq!((ask(KEY).await, ask("kwery_live_unknown").await), (200, 503));
    world.clock.advance(BOUND);
    assert_eq!(ask(KEY).await, 503);
    remote.down.store(false, Ordering::SeqCst);
    assert_eq!((ask(KEY).await, ask("kwery_live_unknown").await), (200, 401));
}
