//! Back ends that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tollgate::account::Allowance;
use tollgate::alert::Delivery;
use tollgate::clock::Timestamp;
use tollgate::credit::{
    Adjusted, Adjustment, Balance, Bucket, Charge, Charged, CreditAdmin, Currency, Entry, EntryQuery, Refund,
    Settlement,
};
use tollgate::guard::{GuardLimits, Resilient};
use tollgate::limit::{Correction, Draw, LimitDecision, WindowStatus};
use tollgate::name::AccountId;
use tollgate::{
    Config, CreditLedger, ManualClock, MemoryLedger, MemoryLimiter, RateLimiter, StoreError, StoreFuture,
};

use crate::delivery::{Calls, Down};
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

    fn correct(&self, correction: &Correction<'_>) -> StoreFuture<()> {
        self.0.correct(correction)
    }
}

#[tokio::test]
async fn failing_back_end_is_told_once_per_outage() {
    let remote = Remote::default();
    let clock = ManualClock::starting_at("2026-04-10T12:00:00Z".parse().unwrap());
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
    let clock = ManualClock::starting_at("2026-04-10T12:00:00Z".parse().unwrap());
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

/// The alert store and one of two sinks are down: the other sink is told once.
#[tokio::test]
async fn failing_back_end_floods_no_sink() {
    let (remote, down) = (Remote::default(), Arc::new(Down::default()));
    let clock = ManualClock::starting_at("2026-04-10T12:00:00Z".parse().unwrap());
    let guarded = Resilient::with_clock(remote.clone(), GuardLimits::default(), clock.clone());
    let broken = Calls("broken", |_: &Delivery| StoreFuture::failed(StoreError::unavailable("down")));
    let node = Node::with(FAILING, |builder| {
        builder.clock(clock.clone()).limiter(guarded).alert_store(Arc::clone(&down)).alert_sink(broken)
    });
    let key = node.key("ada").await;
    remote.1.store(true, Ordering::Relaxed);
    for _ in 0..6 {
        assert!(!node.request(&key, 0).await);
    }
    for _ in 0..20 {
        clock.advance(Duration::from_secs(5));
        let _ = node.gate.alerts().unwrap().flush().await;
    }
    assert_eq!(node.sink.take().len(), 1, "the outage is told once");
}

/// A ledger whose authority cannot be read, as that of leased credits in an outage.
#[derive(Debug)]
struct Unread(Arc<MemoryLedger>);

impl CreditLedger for Unread {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        self.0.charge(charge)
    }
    fn settle(&self, settlement: &Settlement<'_>) -> StoreFuture<()> {
        self.0.settle(settlement)
    }
    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        self.0.refund(refund)
    }
    fn is_failing(&self) -> bool {
        true
    }
    fn admin(self: Arc<Self>) -> Option<Arc<dyn CreditAdmin>> {
        Some(self)
    }
}

impl CreditAdmin for Unread {
    fn balance_of(&self, _: &AccountId, _: &Currency, _: &Allowance, _: Timestamp) -> StoreFuture<Balance> {
        StoreFuture::failed(StoreError::unavailable("down"))
    }
    fn buckets_of(
        &self,
        _: &AccountId,
        _: &Currency,
        _: &Allowance,
        _: Timestamp,
    ) -> StoreFuture<Vec<Bucket>> {
        StoreFuture::failed(StoreError::unavailable("down"))
    }
    fn entries(&self, query: &EntryQuery) -> StoreFuture<Vec<Entry>> {
        self.0.entries(query)
    }
    fn adjust(&self, adjustment: &Adjustment<'_>) -> StoreFuture<Adjusted> {
        self.0.adjust(adjustment)
    }
    fn erase_balance(&self, account: &AccountId) -> StoreFuture<bool> {
        self.0.erase_balance(account)
    }
    fn forget_entries(&self, before: Timestamp) -> StoreFuture<u64> {
        self.0.forget_entries(before)
    }
}

/// The ledger cannot be asked about a low balance: the alert about the ledger, and those about quotas, do not wait.
#[tokio::test]
async fn failing_ledger_delays_no_other_alert() {
    let alerts = "[[alerts]]\nwhen = { balance_below = '20%' }\n[[alerts]]\nwhen = { quota_above = '80%' }\n\
                  [[alerts]]\nwhen = { back_end_failing = true }\n";
    let other = Node::new("");
    let config = format!("{}{alerts}", crate::stage::CONFIG);
    let builder = Config::from_toml(&config, "gate.toml").unwrap().builder().unwrap();
    let builder = builder.clock(other.clock.clone()).store(Arc::clone(&other.store));
    let builder = builder.ledger(Unread(Arc::clone(&other.ledger))).alert_sink(other.sink.clone());
    let node = Node { gate: builder.build().unwrap(), ..other };
    let key = node.key("ada").await;
    // The request ends before the task runs for the first time.
    assert!(node.request(&key, 90).await);
    for _ in 0..90 {
        node.clock.advance(Duration::from_secs(1));
        node.request(&key, 0).await;
    }
    let mut kinds = Vec::new();
    for _ in 0..10 {
        let _ = node.gate.alerts().unwrap().flush().await;
        node.clock.advance(Duration::from_mins(1));
        kinds.extend(node.sink.take().into_iter().map(|delivery| delivery.alert.kind.name()));
    }
    assert!(kinds.contains(&"quota.used_above"), "{kinds:?}");
    assert!(kinds.contains(&"back_end.failing"), "{kinds:?}");
}

/// An outage of four hours.
#[tokio::test]
async fn long_outage_is_told_each_hour() {
    let remote = Remote::default();
    let clock = ManualClock::starting_at("2026-04-10T12:00:00Z".parse().unwrap());
    let guarded = Resilient::with_clock(remote.clone(), GuardLimits::default(), clock.clone());
    let node = Node::with(FAILING, |builder| builder.clock(clock.clone()).limiter(guarded));
    let key = node.key("ada").await;
    remote.1.store(true, Ordering::Relaxed);
    let mut told = 0;
    for _ in 0..4 * 60 {
        for _ in 0..6 {
            assert!(!node.request(&key, 0).await);
        }
        told += node.told().await.len();
        clock.advance(Duration::from_mins(1));
    }
    assert_eq!(told, 4, "each hour");
}
