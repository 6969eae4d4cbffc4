//! Delivery: retries, the same id, and requests that do not wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tollgate::alert::{
    Alert, AlertId, AlertKind, AlertSink, AlertStore, Crossing, Delivery, MemoryAlertStore,
};
use tollgate::clock::Timestamp;
use tollgate::{StoreError, StoreFuture};

use crate::stage::{DAY, Node};

const REVOKED: &str = "[[alerts]]\nwhen = { revoked = true }\n";

/// Revokes a new key.
async fn revoke(node: &Node) {
    let key = node.key("ada").await;
    node.keys().revoke(key.id).await.unwrap();
}

#[tokio::test]
async fn failed_delivery_is_repeated_with_the_same_id() {
    let node = Node::new(REVOKED);
    node.sink.fail(Some(StoreError::unavailable("down")));
    revoke(&node).await;
    let (mut ids, mut pauses, mut attempts) = (Vec::new(), Vec::new(), Vec::new());
    let start = node.clock.clone();
    let mut last = None;
    for _ in 0..2 * 3_600 {
        node.flush().await;
        for delivery in node.sink.take_failed() {
            ids.push(delivery.alert.id);
            attempts.push(delivery.attempt);
            let then = last.replace(delivery.now.as_millis());
            pauses.extend(then.map(|then| delivery.now.as_millis() - then));
        }
        start.advance(Duration::from_secs(1));
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(attempts, (1..=u32::try_from(attempts.len()).unwrap()).collect::<Vec<_>>());
    assert!((9..=14).contains(&attempts.len()), "{attempts:?}");
    for (number, pause) in pauses.iter().enumerate() {
        let longest = (5_000_i64 << number).min(3_600_000);
        assert!((longest / 2..=longest + 1_000).contains(pause), "{number}: {pauses:?}");
    }
    node.sink.fail(None);
    node.clock.advance(Duration::from_hours(1));
    let told = node.told().await;
    assert_eq!((told.len(), told[0].id), (1, ids[0]));
    node.clock.advance(DAY);
    assert!(node.told().await.is_empty(), "it is delivered once");
}

#[tokio::test]
async fn alert_is_given_up_after_three_days() {
    let node = Node::new(REVOKED);
    node.sink.fail(Some(StoreError::unavailable("down")));
    revoke(&node).await;
    for _ in 0..72 * 2 {
        node.flush().await;
        node.clock.advance(Duration::from_mins(30));
    }
    assert_eq!(node.gate.alerts().unwrap().lost(), 0);
    node.clock.advance(Duration::from_hours(1));
    node.flush().await;
    assert_eq!(node.gate.alerts().unwrap().lost(), 1);
    node.sink.fail(None);
    node.clock.advance(DAY);
    assert!(node.told().await.is_empty());
}

#[tokio::test]
async fn rejected_alert_is_not_repeated() {
    let node = Node::new(REVOKED);
    node.sink.fail(Some(StoreError::rejected("gone")));
    revoke(&node).await;
    node.flush().await;
    node.clock.advance(DAY);
    node.flush().await;
    assert_eq!(node.sink.take_failed().len(), 1);
    assert_eq!(node.gate.alerts().unwrap().lost(), 1);
}

/// A sink that panics, and one that never answers.
#[derive(Debug)]
enum Broken {
    Panics,
    Hangs,
}

impl AlertSink for Broken {
    fn name(&self) -> &'static str {
        match self {
            Self::Panics => "panics",
            Self::Hangs => "hangs",
        }
    }

    fn deliver(&self, _: &Delivery) -> StoreFuture<()> {
        match self {
            Self::Panics => panic!("a sink is broken"),
            Self::Hangs => StoreFuture::boxed(std::future::pending()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn broken_sink_delays_neither_request_nor_sink() {
    let alerts = "[[alerts]]\nwhen = { balance_below = '20%' }\n";
    let node = Node::with(alerts, |builder| builder.alert_sink(Broken::Panics).alert_sink(Broken::Hangs));
    let key = node.key("ada").await;
    let begun = tokio::time::Instant::now();
    for _ in 0..8 {
        node.request(&key, 11).await;
        tokio::task::yield_now().await;
    }
    assert!(begun.elapsed().is_zero(), "no request waits");
    assert_eq!(node.told().await.len(), 1);
}

/// While a sink does not answer, further crossings are noted in the store.
#[tokio::test(start_paused = true)]
async fn hanging_sink_delays_no_claim() {
    let store = Arc::new(MemoryAlertStore::new());
    let alerts = "[[alerts]]\nwhen = { balance_below = '20%' }\n";
    let node =
        Node::with(alerts, |builder| builder.alert_sink(Broken::Hangs).alert_store(Arc::clone(&store)));
    for (account, expected) in [("ada", 1), ("eve", 2)] {
        let key = node.key(account).await;
        node.request(&key, 90).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let claimed = store.claimed(AlertKind::BalanceBelow, Timestamp::from_millis(0), 10).await.unwrap();
        assert_eq!((claimed.len(), node.gate.alerts().unwrap().waiting()), (expected, 0), "{account}");
    }
}

#[tokio::test]
async fn task_delivers_without_a_flush() {
    let node = Node::new("[[alerts]]\nwhen = { balance_below = '20%' }\n");
    let key = node.key("ada").await;
    node.request(&key, 90).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(node.sink.take().len(), 1);
}

/// A store that is down until it is started.
#[derive(Debug, Default)]
pub(crate) struct Down {
    inner: MemoryAlertStore,
    pub(crate) is_up: AtomicBool,
    calls: AtomicUsize,
}

impl Down {
    fn ask<T>(&self, ask: impl FnOnce(&MemoryAlertStore) -> StoreFuture<T>) -> StoreFuture<T> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.is_up.load(Ordering::Relaxed) {
            return ask(&self.inner);
        }
        StoreFuture::failed(StoreError::unavailable("down"))
    }
}

impl AlertStore for Down {
    fn claim(&self, crossing: &Crossing, alert: &Alert, sinks: &[String]) -> StoreFuture<bool> {
        self.ask(|store| store.claim(crossing, alert, sinks))
    }

    fn release(&self, crossing: &Crossing) -> StoreFuture<bool> {
        self.ask(|store| store.release(crossing))
    }

    fn claimed(
        &self,
        kind: AlertKind,
        since: Timestamp,
        limit: usize,
    ) -> StoreFuture<Vec<(Crossing, Timestamp)>> {
        self.ask(|store| store.claimed(kind, since, limit))
    }

    fn take_due(
        &self,
        sinks: &[String],
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> StoreFuture<Vec<Delivery>> {
        self.ask(|store| store.take_due(sinks, now, lease, limit))
    }

    fn retry(&self, alert: AlertId, sink: &str, due: Timestamp) -> StoreFuture<()> {
        self.ask(|store| store.retry(alert, sink, due))
    }

    fn finish(&self, alert: AlertId, sink: &str) -> StoreFuture<()> {
        self.ask(|store| store.finish(alert, sink))
    }

    fn forget(&self, before: Timestamp) -> StoreFuture<u64> {
        self.ask(|store| store.forget(before))
    }
}

#[tokio::test]
async fn crossings_wait_while_the_store_is_down() {
    let alerts = "[[alerts]]\nwhen = { revoked = true }\n[[alerts]]\nwhen = { balance_below = '20%' }\n";
    let down = Arc::new(Down::default());
    let node = Node::with(alerts, |builder| builder.alert_store(Arc::clone(&down)));
    revoke(&node).await;
    let key = node.key("ada").await;
    node.request(&key, 90).await;
    let alerts = node.gate.alerts().unwrap();
    assert!(alerts.flush().await.is_err());
    assert_eq!((alerts.waiting(), node.sink.take().len()), (2, 0));
    down.is_up.store(true, Ordering::Relaxed);
    let mut lines = node.lines().await;
    lines.sort();
    assert_eq!(lines, ["account.balance_below 20% 10", "key.revoked - -"]);
    assert_eq!((alerts.waiting(), alerts.lost()), (0, 0));
}

/// A flood of crossings while the store is down: memory is bounded, and the lost ones are counted.
#[tokio::test]
async fn waiting_crossings_are_bounded_and_counted() {
    let down = Arc::new(Down::default());
    let node = Node::with("[[alerts]]\nwhen = { revoked = true }\n", |builder| {
        builder.alert_store(Arc::clone(&down))
    });
    let keys = node.keys();
    for _ in 0..10_005 {
        let key = keys.issue(tollgate::NewKey::new("eve", "a key")).await.unwrap();
        keys.revoke(key.key.id).await.unwrap();
    }
    let alerts = node.gate.alerts().unwrap();
    assert_eq!((alerts.waiting(), alerts.lost()), (10_000, 5));
}
