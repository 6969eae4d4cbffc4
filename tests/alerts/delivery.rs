//! Delivery: retries, the same id, and requests that do not wait.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tollgate::alert::{
    Alert, AlertId, AlertKind, AlertSink, AlertStore, Crossing, Delivery, MemoryAlertStore,
};
use tollgate::clock::Timestamp;
use tollgate::gate::Outcome;
use tollgate::name::AccountId;
use tollgate::{Clock, ManualClock, StoreError, StoreFuture};

use crate::stage::{DAY, Node};

const BALANCE: &str = "[[alerts]]\nwhen = { balance_below = '20%' }\n";
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
async fn alert_is_lost_after_106_attempts() {
    let node = Node::new(REVOKED);
    node.sink.fail(Some(StoreError::unavailable("down")));
    revoke(&node).await;
    for attempt in 1..=106 {
        assert_eq!(node.gate.alerts().unwrap().lost(), 0, "{attempt}");
        node.flush().await;
        assert_eq!(node.sink.take_failed().len(), 1, "{attempt}");
        node.clock.advance(Duration::from_hours(1));
    }
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

    fn forward(&self, from: &str, sinks: &[String], now: Timestamp) -> StoreFuture<u64> {
        self.ask(|store| store.forward(from, sinks, now))
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

    fn forget(&self, before: Timestamp, sinks: &[String]) -> StoreFuture<u64> {
        self.ask(|store| store.forget(before, sinks))
    }

    fn erase(&self, account: &AccountId) -> StoreFuture<bool> {
        self.ask(|store| store.erase(account))
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
    let node = Node::with(REVOKED, |builder| builder.alert_store(Arc::clone(&down)));
    let keys = node.keys();
    for _ in 0..10_005 {
        let key = keys.issue(tollgate::NewKey::new("eve", "a key")).await.unwrap();
        keys.revoke(key.key.id).await.unwrap();
    }
    let alerts = node.gate.alerts().unwrap();
    assert_eq!((alerts.waiting(), alerts.lost()), (10_000, 5));
}

/// A sink with a name, which runs a function.
pub(crate) struct Calls<F>(pub(crate) &'static str, pub(crate) F);

impl<F> std::fmt::Debug for Calls<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl<F: Fn(&Delivery) -> StoreFuture<()> + Send + Sync + 'static> AlertSink for Calls<F> {
    fn name(&self) -> &str {
        self.0
    }
    fn deliver(&self, delivery: &Delivery) -> StoreFuture<()> {
        (self.1)(delivery)
    }
}

/// A clock that is set back by a second during an attempt.
#[tokio::test]
async fn set_back_clock_loses_no_alert() {
    let clock = ManualClock::starting_at("2026-04-10T12:00:00Z".parse().unwrap());
    let set = clock.clone();
    let slow = Calls("slow", move |_: &Delivery| {
        set.set_wall("2026-04-10T11:59:59Z".parse().unwrap());
        StoreFuture::failed(StoreError::unavailable("down"))
    });
    let node = Node::with(REVOKED, |builder| builder.clock(clock.clone()).alert_sink(slow));
    let key = node.key("ada").await;
    node.keys().revoke(key.id).await.unwrap();
    node.flush().await;
    assert_eq!(node.gate.alerts().unwrap().lost(), 0);
}

/// A hanging sink has many alerts that wait: another sink gets its alert in a minute.
#[tokio::test(start_paused = true)]
async fn hanging_sink_delays_no_other_sink() {
    let hangs = Calls("hangs", |_: &Delivery| StoreFuture::boxed(std::future::pending()));
    let times = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&times);
    let begun = tokio::time::Instant::now();
    let good = Calls("good", move |_: &Delivery| {
        kept.lock().unwrap().push(begun.elapsed());
        StoreFuture::ready(())
    });
    let node = Node::with(REVOKED, |builder| builder.alert_sink(hangs).alert_sink(good));
    for _ in 0..200 {
        let key = node.key("ada").await;
        node.keys().revoke(key.id).await.unwrap();
    }
    let _ = tokio::time::timeout(Duration::from_hours(1), async {
        while times.lock().unwrap().len() < 200 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    let last = times.lock().unwrap().last().copied().unwrap();
    assert!(last < Duration::from_mins(1), "the last alert came after {last:?}");
}

/// A sink whose future panics each time.
#[tokio::test]
async fn panicking_delivery_is_lost_and_paced() {
    let calls = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&calls);
    let panics = Calls("panics", move |_: &Delivery| {
        *counted.lock().unwrap() += 1;
        StoreFuture::boxed(async { panic!("a sink is broken") })
    });
    let node = Node::with(REVOKED, |builder| builder.alert_sink(panics));
    let key = node.key("ada").await;
    node.keys().revoke(key.id).await.unwrap();
    for _ in 0..90 * 60 {
        node.flush().await;
        node.clock.advance(Duration::from_mins(1));
    }
    assert_eq!(node.gate.alerts().unwrap().lost(), 1);
    let calls = *calls.lock().unwrap();
    assert!(calls < 200, "{calls} attempts");
}

/// An alert is noted while the clock is ahead, and its first delivery fails.
#[tokio::test]
async fn alert_of_a_fast_clock_is_delivered() {
    let node = Node::new(REVOKED);
    let key = node.key("ada").await;
    node.sink.fail(Some(StoreError::unavailable("down")));
    node.clock.set_wall("2027-04-10T12:00:00Z".parse().unwrap());
    node.keys().revoke(key.id).await.unwrap();
    node.flush().await;
    node.clock.set_wall("2026-04-10T12:00:00Z".parse().unwrap());
    node.sink.fail(None);
    for _ in 0..24 {
        node.clock.advance(Duration::from_hours(1));
        node.flush().await;
    }
    assert_eq!(node.sink.take().len(), 1, "the receiver is back for a day");
}

/// A webhook was removed from the configuration while an alert waited for it.
#[tokio::test]
async fn removed_sink_leaves_no_alert_behind() {
    let store = Arc::new(MemoryAlertStore::new());
    let node = Node::with(REVOKED, |builder| {
        builder
            .alert_store(Arc::clone(&store))
            .alert_sink(Calls("gone", |_: &Delivery| StoreFuture::failed(StoreError::unavailable("down"))))
    });
    let key = node.key("ada").await;
    node.keys().revoke(key.id).await.unwrap();
    node.flush().await;
    let next = node.other(REVOKED, |builder| builder.alert_store(Arc::clone(&store)));
    node.end().await;
    for _ in 0..500 {
        next.clock.advance(DAY);
        next.flush().await;
    }
    let names = ["gone".to_owned()];
    let now = next.clock.now().wall();
    let due = store.take_due(&names, now, Duration::from_secs(1), 10).await.unwrap();
    assert!(due.is_empty(), "the alert waits for a sink that no gate has had for 500 days: {due:?}");
}

/// A stream of four days ends, and its balance is low: the receiver is down for a second.
#[tokio::test]
async fn alert_of_a_long_request_is_repeated() {
    let node = Node::new(BALANCE);
    let key = node.key("ada").await;
    let stream = node.open(&key, 90).await.unwrap();
    node.clock.advance(4 * DAY);
    node.sink.fail(Some(StoreError::unavailable("down")));
    stream.finish(Outcome::Served).await.unwrap();
    node.flush().await;
    node.sink.fail(None);
    node.clock.advance(Duration::from_mins(1));
    assert_eq!(node.told().await.len(), 1, "lost: {}", node.gate.alerts().unwrap().lost());
}

/// A receiver is down for half an hour, and the clock of one of two nodes is 25 hours behind, so that each node finds the
/// times of the other wrong.
#[tokio::test]
async fn alert_of_a_late_clock_is_not_lost() {
    let store = Arc::new(MemoryAlertStore::new());
    let node = Node::with(REVOKED, |builder| builder.alert_store(Arc::clone(&store)));
    let clock = ManualClock::starting_at("2026-04-09T11:00:00Z".parse().unwrap());
    let late = Node::over(REVOKED, &clock, Arc::clone(&node.store), Arc::clone(&node.ledger), |builder| {
        builder.alert_store(Arc::clone(&store))
    });
    for node in [&node, &late] {
        node.sink.fail(Some(StoreError::unavailable("down")));
    }
    let key = node.key("ada").await;
    node.keys().revoke(key.id).await.unwrap();
    let mut seconds = 0;
    while seconds < 1_800 && node.gate.alerts().unwrap().lost() + late.gate.alerts().unwrap().lost() == 0 {
        node.flush().await;
        late.flush().await;
        node.clock.advance(Duration::from_secs(5));
        clock.advance(Duration::from_secs(5));
        seconds += 5;
    }
    let attempts = node.sink.take_failed().len() + late.sink.take_failed().len();
    let lost = node.gate.alerts().unwrap().lost() + late.gate.alerts().unwrap().lost();
    assert_eq!(lost, 0, "lost after {seconds} s and {attempts} attempts");
    node.sink.fail(None);
    node.flush().await;
    assert_eq!(node.sink.take().len(), 1);
}

/// The clock is years ahead when old crossings are removed.
#[tokio::test]
async fn fast_clock_removes_no_waiting_alert() {
    let node = Node::new(REVOKED);
    let key = node.key("ada").await;
    node.flush().await;
    node.sink.fail(Some(StoreError::unavailable("down")));
    node.keys().revoke(key.id).await.unwrap();
    node.flush().await;
    node.clock.advance(Duration::from_hours(1));
    node.clock.set_wall("2028-04-10T12:00:00Z".parse().unwrap());
    node.flush().await;
    node.clock.set_wall("2026-04-10T13:00:10Z".parse().unwrap());
    node.sink.fail(None);
    node.clock.advance(DAY);
    node.flush().await;
    assert_eq!((node.sink.take().len(), node.gate.alerts().unwrap().lost()), (1, 0));
}
