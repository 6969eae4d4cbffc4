//! Time-outs, the bound on who waits, and the circuit.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tollgate::guard::{GuardLimits, Resilient};
use tollgate::key::KeyHasher;
use tollgate::{CreditLedger, KeyId, KeyStore, MemoryLedger, MemoryStore, StoreError};

use crate::support::remote::{Fault, Remote, TokioClock};

type Store = Resilient<Remote<MemoryStore>>;

fn guarded(change: impl FnOnce(&mut GuardLimits)) -> Store {
    let mut limits = GuardLimits::default();
    change(&mut limits);
    Resilient::with_clock(Remote::new(MemoryStore::new()), limits, TokioClock::new())
}

async fn find(store: &Store) -> Result<(), StoreError> {
    store.find(&KeyHasher::sha256().hash(b"unknown")).await.map(|found| assert!(found.is_none()))
}

#[tokio::test(start_paused = true)]
async fn call_ends_at_the_time_limit() {
    let store = guarded(|limits| limits.time = Duration::from_millis(250));
    store.back_end().set(Fault::Hung);
    let asked = Instant::now();
    assert!(find(&store).await.unwrap_err().is_timeout());
    assert_eq!(asked.elapsed(), Duration::from_millis(250));
    assert_eq!(store.back_end().asked(), 1, "it is not asked twice");
}

#[tokio::test(start_paused = true)]
async fn call_beyond_the_waiting_limit_is_refused() {
    let store = guarded(|limits| limits.waiting = 8);
    store.back_end().set(Fault::Hung);
    let mut waiting: Vec<_> = (0..8).map(|_| Box::pin(find(&store))).collect();
    for wait in &mut waiting {
        assert!(tokio::time::timeout(Duration::ZERO, wait).await.is_err());
    }
    assert_eq!(store.health().waiting, 8);
    let asked = Instant::now();
    let error = find(&store).await.unwrap_err();
    assert!(!error.is_timeout() && asked.elapsed().is_zero(), "{error}");
    // Who leaves makes room.
    waiting.pop();
    assert_eq!(store.health().waiting, 7);
    store.back_end().set(Fault::None);
    find(&store).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn circuit_opens_and_one_probe_closes_it() {
    let store = guarded(|_| {});
    store.back_end().set(Fault::Down);
    for _ in 0..5 {
        assert!(!store.health().open);
        find(&store).await.unwrap_err();
    }
    assert!(store.health().open);
    for _ in 0..1_000 {
        assert!(
            store.find(&KeyHasher::sha256().hash(b"unknown")).is_ready(),
            "it is answered without waiting"
        );
    }
    assert_eq!(store.back_end().asked(), 5, "it is left alone");
    tokio::time::sleep(Duration::from_millis(500)).await;
    // A thousand come; one of them finds out.
    let calls = (0..1_000).map(|_| find(&store)).map(Box::pin).collect::<Vec<_>>();
    for call in calls {
        call.await.unwrap_err();
    }
    assert_eq!(store.back_end().asked(), 6);
    store.back_end().set(Fault::None);
    tokio::time::sleep(Duration::from_millis(500)).await;
    find(&store).await.unwrap();
    assert!(!store.health().open);
    for _ in 0..10 {
        find(&store).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_probe_does_not_block_the_next() {
    let store = guarded(|limits| limits.failures = 1);
    store.back_end().set(Fault::Down);
    find(&store).await.unwrap_err();
    store.back_end().set(Fault::None);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(tokio::time::timeout(Duration::ZERO, find(&store)).await.is_err(), "the client leaves");
    find(&store).await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(1)).await;
    find(&store).await.unwrap();
}

/// A caller that waits for less time than the guard still counts as a failure.
#[tokio::test(start_paused = true)]
async fn calls_abandoned_late_open_the_circuit() {
    let store = guarded(|_| {});
    store.back_end().set(Fault::Hung);
    for _ in 0..5 {
        assert!(!store.health().open);
        assert!(tokio::time::timeout(Duration::from_millis(250), find(&store)).await.is_err());
    }
    assert!(store.health().open);
    assert!(store.find(&KeyHasher::sha256().hash(b"unknown")).is_ready(), "nobody waits any more");
    // The call that finds out is given up as well: it is left alone for another rest.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(tokio::time::timeout(Duration::from_millis(300), find(&store)).await.is_err());
    find(&store).await.unwrap_err();
    store.back_end().set(Fault::None);
    tokio::time::sleep(Duration::from_millis(500)).await;
    find(&store).await.unwrap();
    assert!(!store.health().open);
}

#[tokio::test(start_paused = true)]
async fn calls_abandoned_early_count_as_nothing() {
    let store = guarded(|_| {});
    store.back_end().set(Fault::Hung);
    for _ in 0..50 {
        assert!(tokio::time::timeout(Duration::from_millis(249), find(&store)).await.is_err());
    }
    assert!(!store.health().open, "clients leave");
    // Nor do such as are given up now and then, while others are answered.
    let patient = guarded(|limits| limits.given_up = Duration::ZERO);
    for place in 0..40 {
        patient.back_end().set(if place % 5 == 4 { Fault::None } else { Fault::Hung });
        let told = tokio::time::timeout(Duration::from_millis(2), find(&patient)).await;
        assert_eq!(told.is_ok(), place % 5 == 4);
    }
    assert!(!patient.health().open);
}

#[tokio::test(start_paused = true)]
async fn scattered_failures_open_no_circuit() {
    let store = guarded(|_| {});
    for place in 0..40 {
        store.back_end().set(if place % 5 == 4 { Fault::None } else { Fault::Down });
        assert_eq!(find(&store).await.is_ok(), place % 5 == 4);
    }
    store.back_end().set(Fault::Corrupt);
    for _ in 0..40 {
        assert!(find(&store).await.unwrap_err().is_corrupt());
    }
    store.back_end().set(Fault::Unwilling);
    for _ in 0..40 {
        assert!(find(&store).await.unwrap_err().is_rejected());
    }
    assert!(!store.health().open);
}

#[tokio::test(start_paused = true)]
async fn ready_answer_passes_unchanged() {
    let store = guarded(|limits| limits.waiting = 0);
    store.back_end().answer_at_once(true);
    assert!(store.find(&KeyHasher::sha256().hash(b"unknown")).is_ready());
}

#[tokio::test]
async fn write_side_is_behind_the_same_guard() {
    let mut limits = GuardLimits::default();
    limits.waiting = 0;
    let store = Arc::new(Resilient::with_limits(MemoryStore::new(), limits.clone()));
    let admin = Arc::clone(&store).admin().unwrap();
    assert!(admin.get(KeyId::from_bytes([7; 16])).await.is_err(), "no call may wait");
    assert!(Arc::new(Resilient::with_limits(MemoryLedger::new(), limits)).admin().is_some());
    // A back end without a write side has none behind the guard either.
    assert!(Arc::new(guarded(|_| {})).admin().is_none());
    assert!(Arc::new(Resilient::new(Remote::new(MemoryLedger::new()))).admin().is_none());
}
