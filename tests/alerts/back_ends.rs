//! Back ends that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tollgate::guard::{GuardLimits, Resilient};
use tollgate::limit::{Draw, LimitDecision, WindowStatus};
use tollgate::{MemoryLimiter, RateLimiter, StoreError, StoreFuture};

use crate::delivery::Down;
use crate::stage::Node;

const FAILING: &str = "[[alerts]]\nwhen = { back_end_failing = true }\n";

/// A limiter that may be down.
#[derive(Debug, Clone, Default)]
struct Remote(Arc<MemoryLimiter>, Arc<AtomicBool>);

impl RateLimiter for Remote {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision> {
        if self.1.load(Ordering::Relaxed) {
            return StoreFuture::failed(StoreError::unavailable("down"));
        }
        self.0.draw(draw)
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        self.0.peek(draw)
    }
}

#[tokio::test]
async fn failing_back_end_is_told_once_per_outage() {
    let remote = Remote::default();
    let clock = tollgate::ManualClock::starting_at("2026-04-10T12:00:00Z".parse().unwrap());
    let guarded = Resilient::with_clock(remote.clone(), GuardLimits::default(), clock.clone());
    let node = Node::with(FAILING, |builder| builder.clock(clock.clone()).limiter(guarded));
    let key = node.key("ada").await;
    assert!(node.request(&key, 0).await);
    assert!(node.told().await.is_empty());
    for outage in 0..2 {
        remote.1.store(true, Ordering::Relaxed);
        for _ in 0..6 {
            assert!(!node.request(&key, 0).await);
        }
        let told = node.told().await;
        assert_eq!(told.len(), 1, "outage {outage}");
        assert_eq!((told[0].kind.name(), told[0].back_end.as_deref()), ("back_end.failing", Some("limiter")));
        for _ in 0..6 {
            clock.advance(Duration::from_secs(1));
            assert!(!node.request(&key, 0).await);
        }
        assert!(node.told().await.is_empty(), "it is the same outage");
        remote.1.store(false, Ordering::Relaxed);
        clock.advance(Duration::from_secs(10));
        assert!(node.request(&key, 0).await);
        assert!(node.told().await.is_empty());
    }
}

/// The alert store is in the database that fails.
#[tokio::test]
async fn failing_back_end_is_told_without_the_store() {
    let (remote, down) = (Remote::default(), Arc::new(Down::default()));
    let clock = tollgate::ManualClock::starting_at("2026-04-10T12:00:00Z".parse().unwrap());
    let guarded = Resilient::with_clock(remote.clone(), GuardLimits::default(), clock.clone());
    let node = Node::with(FAILING, |builder| {
        builder.clock(clock.clone()).limiter(guarded).alert_store(Arc::clone(&down))
    });
    let key = node.key("ada").await;
    remote.1.store(true, Ordering::Relaxed);
    for _ in 0..6 {
        assert!(!node.request(&key, 0).await);
    }
    let alerts = node.gate.alerts().unwrap();
    for _ in 0..2 {
        assert!(alerts.flush().await.is_err(), "the store is down");
    }
    let told = node.sink.take();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].alert.back_end.as_deref(), Some("limiter"));
    down.is_up.store(true, Ordering::Relaxed);
    assert!(node.told().await.is_empty(), "it is told already");
}
