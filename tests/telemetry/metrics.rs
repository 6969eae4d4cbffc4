//! Tests of the metrics of gates and back ends.

use std::future::Future;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::Request;
use tokio::sync::broadcast;
use tollgate::account::{NetworkCut, QuotaPolicy, QuotaRef, QuotaScope};
use tollgate::adapter::Peer;
use tollgate::credit::{Charge, Charged, LeaseTerms, LeasedLedger, Refund, Settlement};
use tollgate::gate::{AttemptLimit, Outcome};
use tollgate::guard::{GuardLimits, Resilient};
use tollgate::key::{KeyHash, KeyHasher};
use tollgate::rule::{Cost, ScopeRule};
use tollgate::store::{CachedStore, Change, InvalidationBus, InvalidationSink};
use tollgate::telemetry::EventChannel;
use tollgate::usage::UsageOptions;
use tollgate::{
    CreditLedger, Credits, Gate, KeyRecord, KeyStore, ManualClock, MemoryLedger, MemoryLimiter, RequestView,
    Rule, StoreError, StoreFuture,
};

use crate::recorder::Metrics;
use crate::sinks::KEY;
use crate::support::faulty_back_ends::Later;
use crate::support::{World, with_key, without_key};

/// A gate with metrics, a route of 10 credits, and one key with 100 credits.
fn gate(world: &World) -> Gate {
    world.plain_key(KEY);
    let mut rule = Rule::new("GET /v1/items/{name}").unwrap();
    rule.cost = Cost::Fixed(Credits::new(10));
    rule.scopes = ScopeRule::Everyone;
    world.kwery().rule(rule).deny_unmatched().metrics().build().unwrap()
}

fn decisions(rule: &str, plan: &str, outcome: &str, kind: &str) -> String {
    format!(
        "tollgate_decisions_total{{rule=\"{rule}\",plan=\"{plan}\",outcome=\"{outcome}\",kind=\"{kind}\"}}"
    )
}

fn back_end(name: &str, back_end: &str, operation: &str) -> String {
    format!("tollgate_back_end_{name}{{back_end=\"{back_end}\",operation=\"{operation}\"")
}

const ROUTE: &str = "GET /v1/items/{name}";
const ADMITTED_DURATION: &str = "tollgate_decision_duration_seconds{outcome=\"admitted\"}";

#[tokio::test]
async fn decisions_are_counted_by_rule_plan_and_kind() {
    let metrics = Metrics::default();
    let _installed = metrics.install();
    let world = World::new();
    let gate = gate(&world);
    world.key("kwery_live_of_no_plan", |_, account| account.plan = "removed".into());
    let requests = (0..12).map(|_| with_key("GET /v1/items/a", KEY)).chain([
        without_key("GET /v1/items/a"),
        with_key("GET /other", KEY),
        with_key("GET /v1/items/a", "kwery_live_of_no_plan"),
    ]);
    for request in requests {
        let _ = world.send(&gate, request).await;
        world.clock.advance(Duration::from_millis(1));
    }
    let expected = [
        (decisions(ROUTE, "plain", "admitted", ""), 10),
        (decisions(ROUTE, "plain", "denied", "credits_exhausted"), 2),
        (decisions(ROUTE, "", "denied", "missing"), 1),
        (decisions("", "plain", "denied", "route_denied"), 1),
        (decisions(ROUTE, "unknown", "denied", "misconfigured"), 1),
    ];
    for (series, count) in &expected {
        assert_eq!(metrics.value(series), *count, "{series}");
    }
    let counted =
        metrics.series().iter().filter(|series| series.starts_with("tollgate_decisions_total")).count();
    assert_eq!(counted, expected.len());
    assert_eq!(metrics.value(ADMITTED_DURATION), 10);
    assert_eq!(metrics.value("tollgate_decision_duration_seconds{outcome=\"denied\"}"), 5);
}

#[tokio::test]
async fn durations_are_sampled() {
    for (reads, measured) in [(false, 3), (true, 30)] {
        let metrics = Metrics::default();
        let _installed = metrics.install();
        let world = World::new();
        world.plain_key(KEY);
        let builder = world.kwery().rule(Rule::new("GET /free").unwrap()).metrics();
        let (events, _receiver) = EventChannel::new(1);
        let gate = if reads { builder.decision_sink(events) } else { builder }.build().unwrap();
        // A decision every 10 µs, for 300 µs.
        for _ in 0..30 {
            let _ = world.send(&gate, with_key("GET /free", KEY)).await;
            world.clock.advance(Duration::from_micros(10));
        }
        assert_eq!(metrics.value(ADMITTED_DURATION), measured, "{reads}");
    }
}

#[tokio::test]
async fn gate_records_nothing_unless_configured() {
    let metrics = Metrics::default();
    let _installed = metrics.install();
    let world = World::new();
    let gate = world.kwery().build().unwrap();
    let _ = world.send(&gate, without_key("GET /v1/items/a")).await;
    assert_eq!(metrics.series(), [""; 0]);
}

/// The full number is 1,000,000: `TOLLGATE_UNKNOWN_KEYS=1000000`.
#[tokio::test]
async fn unknown_keys_add_no_series() {
    let keys = std::env::var("TOLLGATE_UNKNOWN_KEYS").map_or(100_000, |keys| keys.parse::<i64>().unwrap());
    let metrics = Metrics::default();
    let _installed = metrics.install();
    let world = World::new();
    let gate = gate(&world);
    let mut series = Vec::new();
    for number in 0..keys {
        let request = Request::get(format!("/v1/items/{number}?of={number}"));
        let request = request.header("X-API-Key", format!("kwery_live_unknown_{number}"));
        let request = request.header("User-Agent", number.to_string()).body(()).unwrap();
        let _ = gate.admit(&RequestView::of(&request)).await.unwrap_err();
        if number == 0 {
            series = metrics.series();
        }
    }
    assert_eq!(metrics.value(&decisions(ROUTE, "", "denied", "unknown")), keys);
    assert_eq!(metrics.series(), series);
}

/// A ledger that answers after five milliseconds, or fails.
#[derive(Debug)]
struct Remote {
    ledger: Arc<MemoryLedger>,
    clock: ManualClock,
    fails: bool,
}

impl CreditLedger for Remote {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        if self.fails {
            return StoreFuture::failed(StoreError::timed_out());
        }
        let (clock, charged) = (self.clock.clone(), self.ledger.charge(charge));
        StoreFuture::boxed(async move {
            clock.advance(Duration::from_millis(5));
            charged.await
        })
    }

    fn settle(&self, _: &Settlement<'_>) -> StoreFuture<()> {
        StoreFuture::boxed(async { panic!("the ledger is broken") })
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        if self.fails {
            return self.ledger.refund(refund);
        }
        StoreFuture::failed(StoreError::unavailable("down"))
    }
}

#[tokio::test]
async fn awaited_back_ends_are_measured() {
    for fails in [false, true] {
        let metrics = Metrics::default();
        let _installed = metrics.install();
        let world = World::new();
        let remote = Remote { ledger: Arc::clone(&world.ledger), clock: world.clock.clone(), fails };
        let gate = gate(&world.with_ledger(remote));
        let request = with_key("GET /v1/items/a", KEY).body(()).unwrap();
        let admitted = gate.admit(&RequestView::of(&request)).await;
        let duration = back_end("duration_seconds", "ledger", "charge") + "}";
        let timeouts = back_end("errors_total", "ledger", "charge") + ",error=\"timed_out\"}";
        if fails {
            assert!(admitted.is_err());
            assert_eq!((metrics.value(&duration), metrics.value(&timeouts)), (0, 1));
        } else {
            assert_eq!((metrics.value(&duration), metrics.nanos(&duration)), (1, 5_000_000));
            assert!(admitted.unwrap().finish(Outcome::Served).await.is_err());
            assert_eq!(metrics.nanos(ADMITTED_DURATION), 5_000_000);
            let panics = back_end("errors_total", "ledger", "settle") + ",error=\"panicked\"}";
            assert_eq!(metrics.value(&panics), 1);
            // The gate refunds a charge whose settlement panicked.
            let refunds = back_end("errors_total", "ledger", "refund") + ",error=\"unavailable\"}";
            assert_eq!(metrics.value(&refunds), 1);
        }
        // The store in memory answers at once.
        assert_eq!(metrics.value(&(back_end("duration_seconds", "store", "find") + "}")), 0);
        assert_eq!(metrics.value("tollgate_open_charges"), 0);
    }
}

#[tokio::test]
async fn open_charges_are_those_of_running_requests() {
    const OPEN: &str = "tollgate_open_charges";
    for later in [false, true] {
        let metrics = Metrics::default();
        let _installed = metrics.install();
        let world = World::new();
        let world = if later { world.with_ledger(Later(Arc::clone(&world.ledger))) } else { world };
        let gate = gate(&world);
        let request = with_key("GET /v1/items/a", KEY).body(()).unwrap();
        let view = RequestView::of(&request);
        let mut running = Vec::new();
        for count in 1..=10 {
            running.push(gate.admit(&view).await.unwrap());
            assert_eq!(metrics.value(OPEN), count);
        }
        // This one has no credits.
        let _ = gate.admit(&view).await.unwrap_err();
        assert_eq!(metrics.value(OPEN), 10);
        running.pop().unwrap().finish(Outcome::Served).await.unwrap();
        running.pop().unwrap().finish(Outcome::Failed).await.unwrap();
        drop(running.pop());
        tokio::task::yield_now().await;
        assert_eq!(metrics.value(OPEN), 7);
        running.clear();
        if later {
            let mut leaves = Box::pin(gate.admit(&view));
            assert!(std::future::poll_fn(|cx| Poll::Ready(leaves.as_mut().poll(cx).is_pending())).await);
            assert!(metrics.value(OPEN) > 0);
            drop(leaves);
        }
        tokio::task::yield_now().await;
        assert_eq!(metrics.value(OPEN), 0);
    }
}

/// A store that fails on demand.
#[derive(Debug, Clone)]
struct Failing(Arc<AtomicBool>);

impl KeyStore for Failing {
    fn find(&self, _: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        if self.0.load(Ordering::SeqCst) {
            StoreFuture::failed(StoreError::unavailable("connection refused"))
        } else {
            StoreFuture::ready(None)
        }
    }
}

#[tokio::test]
async fn open_circuits_are_counted() {
    const OPEN: &str = "tollgate_circuits_open{back_end=\"Failing\"}";
    const OPENINGS: &str = "tollgate_circuit_openings_total{back_end=\"Failing\"}";
    let metrics = Metrics::default();
    let _installed = metrics.install();
    let (fails, clock) = (Arc::new(AtomicBool::new(true)), World::new().clock);
    let mut limits = GuardLimits::default();
    limits.failures = 2;
    let store = Resilient::with_clock(Failing(Arc::clone(&fails)), limits, clock.clone());
    let hash = KeyHasher::sha256().hash(b"acme_secret");
    assert!(store.find(&hash).await.is_err());
    assert_eq!((metrics.value(OPEN), metrics.value(OPENINGS)), (0, 0));
    for _ in 0..3 {
        assert!(store.find(&hash).await.is_err());
        clock.advance(Duration::from_secs(2));
        assert_eq!((metrics.value(OPEN), metrics.value(OPENINGS)), (1, 1));
    }
    fails.store(false, Ordering::SeqCst);
    assert!(store.find(&hash).await.is_ok());
    assert_eq!((metrics.value(OPEN), metrics.value(OPENINGS)), (0, 1));
    fails.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        assert!(store.find(&hash).await.is_err());
    }
    assert_eq!((metrics.value(OPEN), metrics.value(OPENINGS)), (1, 2));
    drop(store);
    assert_eq!(metrics.value(OPEN), 0);
}

/// A store whose records are those of another one, unless it fails.
#[derive(Debug)]
struct Authority(Arc<tollgate::MemoryStore>, Failing);

impl KeyStore for Authority {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        if self.1.0.load(Ordering::SeqCst) { self.1.find(hash) } else { self.0.find(hash) }
    }
}

#[tokio::test]
async fn cache_counts_hits_misses_and_stale_answers() {
    let metrics = Metrics::default();
    let _installed = metrics.install();
    let world = World::new();
    world.plain_key(KEY);
    let fails = Arc::new(AtomicBool::new(false));
    let authority = Authority(Arc::clone(&world.store), Failing(Arc::clone(&fails)));
    let store = CachedStore::builder(authority).jitter(0).clock(world.clock.clone());
    let store = store.stale_for_at_most(Duration::from_secs(10)).stale_if_error(Duration::from_mins(5));
    let store = store.build().unwrap();
    let lookups =
        |result: &str| metrics.value(&format!("tollgate_cache_lookups_total{{result=\"{result}\"}}"));
    let counts = || (lookups("hit"), lookups("negative_hit"), lookups("miss"));
    let (known, unknown) = (KeyHasher::sha256().hash(KEY.as_bytes()), KeyHasher::sha256().hash(b"unknown"));
    for _ in 0..4 {
        assert!(store.find(&known).await.unwrap().is_some());
    }
    for _ in 0..3 {
        assert!(store.find(&unknown).await.unwrap().is_none());
    }
    assert_eq!((counts(), metrics.value("tollgate_cache_stale_answers_total")), ((3, 2, 2), 0));
    world.clock.advance(Duration::from_secs(11));
    fails.store(true, Ordering::SeqCst);
    for stale in 1..=2 {
        assert!(store.find(&known).await.unwrap().is_some());
        assert_eq!(
            (counts(), metrics.value("tollgate_cache_stale_answers_total")),
            ((3, 2, 2 + stale), stale)
        );
    }
}

/// A channel between stores of one process, whose announcements take a second, or fail.
#[derive(Debug, Clone)]
struct Bus {
    changes: broadcast::Sender<Change>,
    clock: ManualClock,
    fails: Arc<AtomicBool>,
}

impl InvalidationBus for Bus {
    fn announce(&self, change: &Change) -> StoreFuture<()> {
        if self.fails.load(Ordering::SeqCst) {
            return StoreFuture::failed(StoreError::unavailable("connection refused"));
        }
        self.clock.advance(Duration::from_secs(1));
        StoreFuture::from(self.changes.send(change.clone()).map(drop).map_err(StoreError::unavailable))
    }

    fn listen(&self, sink: InvalidationSink) -> StoreFuture<()> {
        let mut changes = self.changes.subscribe();
        StoreFuture::boxed(async move {
            sink.open();
            loop {
                sink.invalidate(&changes.recv().await.map_err(StoreError::unavailable)?);
            }
        })
    }
}

#[tokio::test]
async fn announcements_and_their_lag_are_counted() {
    let metrics = Metrics::default();
    let _installed = metrics.install();
    let world = World::new();
    let id = world.plain_key(KEY);
    let (changes, _keep) = broadcast::channel(100);
    let bus = Bus { changes, clock: world.clock.clone(), fails: Arc::default() };
    let store = CachedStore::builder(Arc::clone(&world.store)).clock(world.clock.clone());
    let store = Arc::new(store.invalidation_bus(bus.clone()).build().unwrap());
    while bus.changes.receiver_count() < 2 {
        tokio::task::yield_now().await;
    }
    let admin = Arc::clone(&store).admin().unwrap();
    let record = KeyRecord::clone(&world.store.key(id).unwrap());
    let _ = admin.replace(&record).await.unwrap();
    let sent = metrics.value("tollgate_announcements_sent_total");
    assert!(sent >= 1);
    while metrics.value("tollgate_announcements_received_total") < sent {
        tokio::task::yield_now().await;
    }
    assert_eq!(metrics.value("tollgate_announcement_lag_seconds"), sent);
    assert!(metrics.nanos("tollgate_announcement_lag_seconds") >= 1_000_000_000);
    assert_eq!(metrics.value("tollgate_announcement_errors_total"), 0);
    bus.fails.store(true, Ordering::SeqCst);
    let record = KeyRecord::clone(&world.store.key(id).unwrap());
    let _ = admin.replace(&record).await.unwrap();
    assert!(metrics.value("tollgate_announcement_errors_total") >= 1);
    assert_eq!(metrics.value("tollgate_announcements_sent_total"), sent);
}

#[tokio::test]
async fn leased_credits_are_taken_spent_and_returned() {
    let metrics = Metrics::default();
    let _installed = metrics.install();
    let world = World::new();
    let terms = LeaseTerms::of_nodes(NonZeroU32::MIN);
    let leased = LeasedLedger::with_clock(Arc::clone(&world.ledger), terms, world.clock.clone());
    let gate = gate(&world.with_ledger(leased.clone()));
    let account = world.account_of(tollgate::KeyId::from_bytes([0; 16]));
    world.ledger.set_balance(&account, Credits::new(10_000), tollgate::Clock::now(&world.clock).wall());
    let request = with_key("GET /v1/items/a", KEY).body(()).unwrap();
    for _ in 0..100 {
        let admission = gate.admit(&RequestView::of(&request)).await.unwrap();
        admission.finish(Outcome::Served).await.unwrap();
        world.clock.advance(Duration::from_millis(10));
        tokio::task::yield_now().await;
    }
    leased.close().await.unwrap();
    let blocks = |what: &str| metrics.value(&format!("tollgate_leases_{what}_total"));
    let credits = |what: &str| metrics.value(&format!("tollgate_leased_credits_{what}_total"));
    assert!(blocks("taken") > 0);
    assert_eq!(blocks("taken"), blocks("returned"));
    assert_eq!(credits("taken"), credits("spent") + credits("returned"));
    assert!(credits("spent") > 0 && credits("spent") <= 1_000, "{}", credits("spent"));
    assert_eq!(world.ledger.balance(&account).unwrap().get(), 9_000);
}

#[tokio::test]
async fn sweeps_and_dropped_events_are_counted() {
    let metrics = Metrics::default();
    let _installed = metrics.install();
    let world = World::new();
    let (channel, _events) = EventChannel::new(2);
    let gate = crate::sinks::gate(&world, channel);
    let _ = crate::sinks::send(&world, &gate, 5).await;
    assert_eq!(metrics.value("tollgate_events_dropped_total{sink=\"channel\"}"), 3);
    let now = tollgate::Clock::now(&world.clock).wall();
    assert_eq!(world.ledger.close_abandoned(now), 0);
    assert_eq!(metrics.value("tollgate_sweeps_total{ledger=\"memory\"}"), 1);
    assert_eq!(metrics.value("tollgate_swept_charges_total{ledger=\"memory\"}"), 0);
}

#[tokio::test]
async fn folded_requests_are_counted() {
    let metrics = Metrics::default();
    let _installed = metrics.install();
    let world = World::new();
    let mut options = UsageOptions::default();
    (options.flush, options.max_rows) = (None, 1);
    let gate = world.kwery().deny_unmatched().usage_options(options).build().unwrap();
    for number in 0..200 {
        let key = format!("kwery_live_{number:010}");
        world.plain_key(&key);
        let request = with_key("GET /v1/items/a", &key).body(()).unwrap();
        let _ = gate.admit(&RequestView::of(&request)).await;
    }
    let usage = gate.usage().unwrap();
    for _ in 0..2 {
        usage.flush().await.unwrap();
        assert!(usage.status().folded > 0);
        let folded = i64::try_from(usage.status().folded).unwrap();
        assert_eq!(metrics.value("tollgate_usage_folded_total"), folded);
    }
}

/// A limiter with a place for 64 networks.
#[tokio::test]
async fn networks_forgotten_by_quotas_are_counted() {
    const FORGOTTEN: &str = "tollgate_networks_forgotten_total{of=\"windows\"}";
    let metrics = Metrics::default();
    let _installed = metrics.install();
    let world = World::new().with_limiter(MemoryLimiter::new().with_network_capacity(64));
    let mut rule = Rule::new("GET /status").unwrap();
    rule.public = true;
    let quota: QuotaPolicy = "2 per minute".parse().unwrap();
    rule.quotas.push(QuotaRef::Policy(quota.counting(QuotaScope::Network(NetworkCut::default()))));
    let gate = world.kwery().rule(rule).build().unwrap();
    let mut request = without_key("GET /status").body(()).unwrap();
    let mut ask = async |address: u32| {
        request.extensions_mut().insert(Peer(Ipv4Addr::from_bits(address).into()));
        assert!(gate.admit(&RequestView::of(&request)).await.is_ok());
    };
    ask(1).await;
    assert_eq!(metrics.value(FORGOTTEN), 0);
    for address in 1..=200 {
        ask(address).await;
    }
    // At least 136 of the 200 networks have no place.
    assert!(metrics.value(FORGOTTEN) >= 136, "{}", metrics.value(FORGOTTEN));
    // A network whose window is full again is not forgotten.
    world.clock.advance(Duration::from_mins(1));
    let before = metrics.value(FORGOTTEN);
    ask(201).await;
    assert_eq!(metrics.value(FORGOTTEN), before);
}

#[tokio::test]
async fn forgotten_networks_are_counted() {
    const FORGOTTEN: &str = "tollgate_networks_forgotten_total{of=\"attempts\"}";
    let metrics = Metrics::default();
    let _installed = metrics.install();
    let world = World::new();
    let limit = AttemptLimit::new("2 per minute".parse().unwrap()).unwrap();
    let gate = world.kwery().attempts(limit).build().unwrap();
    let mut request = without_key("GET /v1/items/a").body(()).unwrap();
    let mut fail = async |address: u32| {
        request.extensions_mut().insert(Peer(Ipv4Addr::from_bits(address).into()));
        assert!(gate.admit(&RequestView::of(&request)).await.is_err());
    };
    for address in 0..1_000 {
        fail(address).await;
    }
    assert_eq!(metrics.value(FORGOTTEN), 0);
    // There are 524,288 places. Some sets of places are full long before.
    for address in 0..300_000 {
        fail(address).await;
    }
    assert!(metrics.value(FORGOTTEN) > 0);
    // A network whose quota is full again is not forgotten: its place is free.
    world.clock.advance(Duration::from_mins(1));
    let before = metrics.value(FORGOTTEN);
    for address in 300_000..310_000 {
        fail(address).await;
    }
    assert_eq!(metrics.value(FORGOTTEN), before);
}
