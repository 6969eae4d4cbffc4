//! One reading for all, kept for a time.

use std::sync::Arc;
use std::time::Duration;

use tollgate::KeyStore;
use tollgate::store::{CachedStore, KeyAdmin};

use crate::cached::remote::{Remote, hash};
use crate::cached::{BOUND, cache, clock, just_before};

#[tokio::test(start_paused = true)]
async fn thousand_cold_requests_make_one_read() {
    let remote = Remote::new();
    let (_, hash) = remote.key(1);
    remote.answers_after(Duration::from_millis(50));
    let store = cache(&remote, &clock()).build().unwrap();
    let asking: Vec<_> = (0..1000).map(|_| tokio::spawn(store.find(&hash))).collect();
    let mut found = Vec::new();
    for asked in asking {
        found.push(asked.await.unwrap().unwrap().unwrap());
    }
    assert_eq!(remote.reads(), 1);
    assert!(found.iter().all(|record| Arc::ptr_eq(record, &found[0])));
    assert!(store.find(&hash).is_ready());
}

#[tokio::test(start_paused = true)]
async fn abandoned_wait_does_not_cancel_the_read() {
    let remote = Remote::new();
    let (_, hash) = remote.key(1);
    remote.answers_after(Duration::from_millis(50));
    let store = cache(&remote, &clock()).build().unwrap();
    let first = tokio::spawn(store.find(&hash));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let second = tokio::spawn(store.find(&hash));
    tokio::time::sleep(Duration::from_millis(10)).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert!(second.await.unwrap().unwrap().is_some());
    assert_eq!(remote.reads(), 1);

    // Nobody waits any more: what was read is there for who asks next.
    let (_, other) = remote.key(2);
    let asked = tokio::time::timeout(Duration::from_millis(10), store.find(&other));
    asked.await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(store.find(&other).is_ready());
    assert_eq!(remote.reads(), 2);
}

#[tokio::test]
async fn record_is_read_again_after_its_lifetime() {
    let (remote, clock) = (Remote::new(), clock());
    let (_, hash) = remote.key(1);
    let store = cache(&remote, &clock).build().unwrap();
    let first = store.find(&hash).await.unwrap().unwrap();
    clock.advance(just_before(BOUND));
    assert!(store.find(&hash).is_ready());
    clock.advance(Duration::from_nanos(1));
    assert!(!store.find(&hash).is_ready());
    let again = store.find(&hash).await.unwrap().unwrap();
    assert_eq!(remote.reads(), 2);
    assert!(Arc::ptr_eq(&first, &again), "what has not changed keeps what back ends keep on it");
}

#[tokio::test]
async fn jitter_only_shortens_the_lifetime() {
    let (remote, clock) = (Remote::new(), clock());
    let store = cache(&remote, &clock).jitter(50).build().unwrap();
    let hashes: Vec<_> = (0..200).map(|number| remote.key(number).1).collect();
    for hash in &hashes {
        store.find(hash).await.unwrap();
    }
    let kept = |after: Duration| {
        clock.advance(after);
        hashes.iter().filter(|hash| store.find(hash).is_ready()).count()
    };
    assert_eq!(kept(just_before(BOUND / 2)), 200);
    let half_way = kept(BOUND / 4);
    assert!((60..140).contains(&half_way), "{half_way} of 200");
    assert_eq!(kept(BOUND / 4 + Duration::from_nanos(1)), 0);
}

#[tokio::test(start_paused = true)]
async fn zero_lifetime_always_asks_the_authority() {
    let remote = Remote::new();
    let (id, hash) = remote.key(1);
    let store = CachedStore::builder(Arc::clone(&remote)).stale_for_at_most(Duration::ZERO).build().unwrap();
    for reads in 1..4 {
        assert!(store.find(&hash).await.unwrap().is_some());
        assert_eq!(remote.reads(), reads);
    }
    // Who asks while another's reading is under way is not answered by that: it may be older than the question.
    remote.answers_after(Duration::from_millis(50));
    let first = tokio::spawn(store.find(&hash));
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(remote.store.erase(id).await.unwrap());
    assert!(store.find(&hash).await.unwrap().is_none());
    assert!(first.await.unwrap().unwrap().is_some());
}

#[tokio::test]
async fn misses_are_kept_for_a_shorter_time() {
    let (remote, clock) = (Remote::new(), clock());
    let store = cache(&remote, &clock).absent_for(Duration::from_secs(2)).build().unwrap();
    assert!(store.find(&hash(1)).await.unwrap().is_none());
    clock.advance(Duration::from_millis(1999));
    assert!(store.find(&hash(1)).await.unwrap().is_none());
    assert_eq!(remote.reads(), 1);
    clock.advance(Duration::from_millis(1));
    assert!(store.find(&hash(1)).await.unwrap().is_none());
    assert_eq!(remote.reads(), 2);
    assert_eq!(store.len(), (0, 1));
}

#[test]
fn a_hit_allocates_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (remote, clock) = (Remote::new(), clock());
    let (_, hash) = remote.key(1);
    let store = cache(&remote, &clock).build().unwrap();
    runtime.block_on(store.find(&hash)).unwrap();
    let rounds = allocation_counter::measure(|| {
        for _ in 0..15 {
            assert!(store.find(&hash).is_ready());
        }
    });
    assert_eq!(rounds.count_total, 0);
}

#[tokio::test]
async fn invalid_cache_bounds_are_refused() {
    let store = cache(&Remote::new(), &clock()).stale_if_error(Duration::from_mins(1)).build().unwrap();
    let shown = format!("{store:?}");
    assert!(shown.contains("stale_for_at_most: 10s, stale_if_error: 60s, hearing: Alone"), "{shown}");
    let builder = || CachedStore::builder(Remote::new());
    for (refused, member) in [
        (builder().capacity(0), "capacity"),
        (builder().reads_at_once(0), "reads_at_once"),
        (builder().jitter(101), "jitter"),
    ] {
        assert_eq!(refused.build().unwrap_err().member(), member);
    }
}
