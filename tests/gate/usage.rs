//! The usage of a gate: equal to the number of requests, whatever the store does.
#![cfg(feature = "memory")]

mod edges;
mod faulty_store;
mod properties;

use std::sync::Arc;
use std::time::Duration;

use faulty_store::{Fault, FaultyStore};
use http::Request;
use tollgate::clock::Timestamp;
use tollgate::gate::Outcome;
use tollgate::key::Length;
use tollgate::name::AccountId;
use tollgate::rule::{Cost, ScopeRule};
use tollgate::telemetry::DecisionOutcome;
use tollgate::usage::{
    BatchId, MemoryUsage, OTHER, TopKey, TopOrder, TopQuery, Usage, UsageBatch, UsageCounts, UsageFilter,
    UsageOptions, UsagePart, UsageQuery, UsageRange, UsageReport, UsageRetention, UsageRow, UsageStatus,
    UsageStep, UsageStore, Written,
};
use tollgate::{
    AccountManager, Clock, Credits, DenialKind, Gate, GateBuilder, KeyFormat, KeySource, RequestView, Rule,
    StoreFuture,
};

use crate::support::World;

/// The key with this number.
fn key(number: usize) -> String {
    format!("kwery_{number:032}")
}

/// A gate with usage and a rule that costs two credits.
fn builder(world: &World) -> GateBuilder {
    let mut paid = Rule::new("GET /v1/paid").unwrap();
    paid.cost = Cost::Fixed(Credits::new(2));
    paid.scopes = ScopeRule::Everyone;
    world
        .bare()
        .source(KeySource::header("X-API-Key").unwrap())
        .format(KeyFormat::new("kwery_", Length::exactly(32)).unwrap())
        .rule(paid)
}

fn options(change: impl FnOnce(&mut UsageOptions)) -> UsageOptions {
    let mut options = UsageOptions::default();
    options.flush = None;
    change(&mut options);
    options
}

/// Sends a request, and ends it with this outcome if it is admitted.
async fn send(gate: &Gate, route: &str, key: &str, outcome: Outcome) -> Option<DenialKind> {
    let request = Request::get(route).header("X-API-Key", key).body(()).unwrap();
    match gate.admit(&RequestView::of(&request)).await {
        Ok(admission) => {
            admission.finish(outcome).await.unwrap();
            None
        }
        Err(denial) => Some(denial.kind()),
    }
}

pub(crate) async fn report(gate: &Gate, filter: UsageFilter, step: UsageStep) -> UsageReport {
    let range = UsageRange::latest(step, gate.clock().now().wall());
    gate.usage().unwrap().report(filter, range).await.unwrap()
}

async fn requests(gate: &Gate) -> u64 {
    let report = report(gate, UsageFilter::all(), UsageStep::Month).await;
    report.points.iter().map(|point| point.counts.requests).sum()
}

/// Returns the number of requests in the last hours that the store has counted.
async fn in_hours(gate: &Gate) -> u64 {
    let (now, step) = (gate.clock().now().wall(), UsageStep::Hour);
    let range = UsageRange::new(step, now.saturating_sub(Duration::from_hours(48)), step.after(now)).unwrap();
    let report = gate.usage().unwrap().report(UsageFilter::all(), range).await.unwrap();
    report.points.iter().map(|point| point.counts.requests).sum()
}

fn status(gate: &Gate) -> UsageStatus {
    gate.usage().unwrap().status()
}

#[tokio::test]
async fn gate_without_usage_has_none() {
    assert!(builder(&World::new()).build().unwrap().usage().is_none());
    assert!(builder(&World::new()).usage_options(UsageOptions::default()).build().unwrap().usage().is_some());
    let twice = builder(&World::new()).usage_store(MemoryUsage::new()).usage_store(MemoryUsage::new());
    assert_eq!(twice.build().unwrap_err().member(), "usage_store");
}

#[tokio::test]
async fn settled_credits_are_counted() {
    let world = World::new();
    let id = world.plain_key(&key(1));
    let gate = builder(&world).usage_options(options(|_| {})).build().unwrap();
    for outcome in [Outcome::Served, Outcome::ServedAt(Credits::new(1)), Outcome::Failed] {
        assert_eq!(send(&gate, "/v1/paid", &key(1), outcome).await, None);
    }
    assert_eq!(requests(&gate).await, 0, "counts are written by a flush");
    gate.usage().unwrap().flush().await.unwrap();
    let report = report(&gate, UsageFilter::key(id), UsageStep::Minute).await;
    let point = &report.points[0];
    assert_eq!((point.counts.requests, point.admitted, point.counts.credits), (3, 3, 3));
    assert_eq!(point.counts.last_seen, gate.clock().now().wall());
    assert_eq!(world.balance(id), 100 - 3);
}

#[tokio::test]
async fn rules_are_counted_by_route() {
    let world = World::new();
    world.plain_key(&key(1));
    let mut post = Rule::new("POST /v1/paid").unwrap();
    post.scopes = ScopeRule::Everyone;
    let gate = builder(&world).rule(post).usage_options(options(|_| {})).build().unwrap();
    send(&gate, "/v1/paid", &key(1), Outcome::Served).await;
    send(&gate, "/v1/elsewhere", &key(1), Outcome::Served).await;
    gate.usage().unwrap().flush().await.unwrap();
    for (route, expected) in [("GET /v1/paid", 1), ("POST /v1/paid", 0), ("", 1)] {
        let report = report(&gate, UsageFilter::rule(route), UsageStep::Hour).await;
        let found: u64 = report.points.iter().map(|point| point.counts.requests).sum();
        assert_eq!(found, expected, "{route}");
    }
}

#[tokio::test]
async fn unknown_keys_share_a_row() {
    let world = World::new();
    let gate = builder(&world).usage_options(options(|options| options.max_rows = 32)).build().unwrap();
    for number in 0..1_000 {
        assert_eq!(send(&gate, "/v1/paid", &key(number), Outcome::Served).await, Some(DenialKind::Unknown));
    }
    gate.usage().unwrap().flush().await.unwrap();
    let report = report(&gate, UsageFilter::all(), UsageStep::Day).await;
    assert_eq!(report.points[0].refused, [(DenialKind::Unknown, 1_000)]);
    assert_eq!(status(&gate), UsageStatus::default());
}

#[tokio::test]
async fn detail_beyond_the_bound_is_folded() {
    let world = World::new();
    for number in 0..500 {
        world.plain_key(&key(number));
    }
    let gate = builder(&world).usage_options(options(|options| options.max_rows = 64)).build().unwrap();
    for number in 0..500 {
        send(&gate, "/v1/paid", &key(number), Outcome::Served).await;
        send(&gate, "/v1/paid", &key(number), Outcome::Served).await;
    }
    gate.usage().unwrap().flush().await.unwrap();
    let status = status(&gate);
    let all = report(&gate, UsageFilter::all(), UsageStep::Day).await;
    let other = report(&gate, UsageFilter::rule(OTHER), UsageStep::Day).await;
    assert_eq!((all.points[0].counts.requests, all.points[0].counts.credits), (1_000, 2_000));
    assert_eq!(other.points[0].counts.requests, status.folded);
    let range = UsageRange::latest(UsageStep::Day, gate.clock().now().wall());
    let top = gate.usage().unwrap().top(UsageFilter::all(), range, TopOrder::Requests, 1_000).await.unwrap();
    let detailed: u64 = top.keys.iter().map(|top| top.counts.requests).sum();
    assert_eq!((detailed + status.folded, status.lost), (1_000, 0));
    assert!(top.keys.len() <= 64 && top.keys.len() > 32, "{} keys", top.keys.len());
}

#[tokio::test]
async fn batch_with_a_lost_answer_counts_once() {
    let (world, store) = (World::new(), FaultyStore::default());
    world.plain_key(&key(1));
    let gate = builder(&world).usage_store(store.clone()).usage_options(options(|_| {})).build().unwrap();
    send(&gate, "/v1/paid", &key(1), Outcome::Served).await;
    store.set(Some(Fault::LosesAnswers));
    assert!(gate.usage().unwrap().flush().await.is_err());
    assert_eq!(requests(&gate).await, 1, "the batch was added");
    store.set(None);
    send(&gate, "/v1/paid", &key(1), Outcome::Served).await;
    gate.usage().unwrap().flush().await.unwrap();
    assert_eq!(requests(&gate).await, 2);
}

#[tokio::test]
async fn batches_wait_for_an_unreachable_store() {
    for fault in [Fault::IsUnreachable, Fault::Panics, Fault::PanicsLater] {
        let (world, store) = (World::new(), FaultyStore::default());
        let id = world.plain_key(&key(1));
        let gate = builder(&world).usage_store(store.clone()).usage_options(options(|_| {})).build().unwrap();
        store.set(Some(fault));
        for _ in 0..5 {
            assert_eq!(send(&gate, "/v1/paid", &key(1), Outcome::Served).await, None, "{fault:?}");
            assert!(gate.usage().unwrap().flush().await.is_err(), "{fault:?}");
            world.clock.advance(Duration::from_mins(1));
        }
        assert_eq!(status(&gate).waiting, 5, "{fault:?}");
        store.set(None);
        gate.usage().unwrap().shutdown().await.unwrap();
        let minutes = report(&gate, UsageFilter::key(id), UsageStep::Minute).await.points.len();
        assert_eq!((minutes, requests(&gate).await, status(&gate).waiting), (5, 5, 0), "{fault:?}");
    }
}

#[tokio::test]
async fn oldest_waiting_batches_are_dropped() {
    let (world, store) = (World::new(), FaultyStore::default());
    world.plain_key(&key(1));
    let options = options(|options| options.max_rows = 3);
    let gate = builder(&world).usage_store(store.clone()).usage_options(options).build().unwrap();
    store.set(Some(Fault::IsUnreachable));
    for _ in 0..5 {
        send(&gate, "/v1/paid", &key(1), Outcome::Served).await;
        assert!(gate.usage().unwrap().flush().await.is_err());
        world.clock.advance(Duration::from_mins(1));
    }
    assert_eq!((status(&gate).waiting, status(&gate).lost), (3, 2));
    store.set(None);
    gate.usage().unwrap().flush().await.unwrap();
    let minutes = report(&gate, UsageFilter::all(), UsageStep::Minute).await;
    let first = minutes.points[0].start;
    assert_eq!((minutes.points.len(), first.to_string().as_str()), (3, "2026-04-30T12:02:00Z"));
}

#[tokio::test]
async fn rejected_batch_is_dropped() {
    let (world, store) = (World::new(), FaultyStore::default());
    world.plain_key(&key(1));
    let gate = builder(&world).usage_store(store.clone()).usage_options(options(|_| {})).build().unwrap();
    store.set(Some(Fault::Rejects));
    send(&gate, "/v1/paid", &key(1), Outcome::Served).await;
    assert!(gate.usage().unwrap().flush().await.unwrap_err().is_rejected());
    assert_eq!((status(&gate).waiting, status(&gate).lost), (0, 1));
}

/// Lets the tasks of a paused runtime run until none can.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn task_writes_at_intervals() {
    let world = World::new();
    world.plain_key(&key(1));
    let interval = Duration::from_secs(10);
    let gate = builder(&world).usage_options(options(|options| options.flush = Some(interval)));
    let gate = gate.build().unwrap();
    send(&gate, "/v1/paid", &key(1), Outcome::Served).await;
    settle().await;
    assert_eq!(requests(&gate).await, 0);
    for expected in [1, 2] {
        tokio::time::advance(interval).await;
        settle().await;
        assert_eq!(requests(&gate).await, expected);
        send(&gate, "/v1/paid", &key(1), Outcome::Served).await;
    }
    gate.usage().unwrap().shutdown().await.unwrap();
    assert_eq!(requests(&gate).await, 3, "nothing is lost at shutdown");
    send(&gate, "/v1/paid", &key(1), Outcome::Served).await;
    tokio::time::advance(interval).await;
    settle().await;
    assert_eq!(requests(&gate).await, 3, "the task has ended");
    gate.usage().unwrap().flush().await.unwrap();
    assert_eq!(requests(&gate).await, 4);
}

#[tokio::test(start_paused = true)]
async fn task_removes_old_counts() {
    let world = World::new();
    world.plain_key(&key(1));
    let interval = Duration::from_mins(10);
    let gate = builder(&world).usage_options(options(|options| options.flush = Some(interval)));
    let gate = gate.build().unwrap();
    let first = gate.clock().now().wall();
    send(&gate, "/v1/paid", &key(1), Outcome::Served).await;
    settle().await;
    tokio::time::advance(interval).await;
    settle().await;
    world.clock.advance(Duration::from_hours(24 * 3));
    for _ in 0..6 {
        tokio::time::advance(interval).await;
        settle().await;
    }
    let usage = gate.usage().unwrap();
    for (step, expected) in [(UsageStep::Minute, 0), (UsageStep::Hour, 1)] {
        let range = UsageRange::new(step, first, step.after(first)).unwrap();
        let report = usage.report(UsageFilter::all(), range).await.unwrap();
        assert_eq!(report.points.len(), expected, "{step}");
    }
}

#[test]
fn task_starts_again_in_another_runtime() {
    let world = World::new();
    world.plain_key(&key(1));
    let interval = Duration::from_secs(10);
    let gate = builder(&world).usage_options(options(|options| options.flush = Some(interval)));
    let gate = gate.build().unwrap();
    for expected in [1, 2] {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            send(&gate, "/v1/paid", &key(1), Outcome::Served).await;
            settle().await;
            tokio::time::advance(interval).await;
            settle().await;
            assert_eq!(requests(&gate).await, expected);
        });
    }
}

#[test]
fn runtime_without_time_admits_requests() {
    let world = World::new();
    world.plain_key(&key(1));
    let gate = builder(&world).usage_options(UsageOptions::default()).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for _ in 0..3 {
            assert_eq!(send(&gate, "/v1/paid", &key(1), Outcome::Served).await, None);
            settle().await;
        }
        gate.usage().unwrap().flush().await.unwrap();
        assert_eq!(requests(&gate).await, 3);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_requests_and_flushes_lose_nothing() {
    const EACH: usize = 2_000;
    let world = World::new();
    for number in 0..8 {
        world.plain_key(&key(number));
    }
    let gate = builder(&world).usage_options(options(|_| {})).build().unwrap();
    let mut work = tokio::task::JoinSet::new();
    for number in 0..8 {
        let gate = gate.clone();
        work.spawn_blocking(move || {
            tokio::runtime::Handle::current().block_on(async {
                for turn in 0..EACH {
                    send(&gate, "/v1/free", &key(number), Outcome::Served).await;
                    if turn % 100 == number {
                        gate.usage().unwrap().flush().await.unwrap();
                    }
                }
            });
        });
    }
    work.join_all().await;
    gate.usage().unwrap().shutdown().await.unwrap();
    assert_eq!(requests(&gate).await, 8 * EACH as u64);
}

#[tokio::test]
async fn erased_account_has_no_usage() {
    let world = World::new();
    let (one, other) = (world.plain_key(&key(1)), world.plain_key(&key(2)));
    let gate = builder(&world).usage_options(options(|_| {})).build().unwrap();
    for number in [1, 2] {
        send(&gate, "/v1/paid", &key(number), Outcome::Served).await;
    }
    let account = world.account_of(one).as_str().into();
    assert!(gate.usage().unwrap().erase_account(&account).await.unwrap());
    assert!(report(&gate, UsageFilter::key(one), UsageStep::Month).await.points.is_empty());
    assert_eq!(report(&gate, UsageFilter::key(other), UsageStep::Month).await.points.len(), 1);
}

#[tokio::test]
async fn reports_are_json_and_csv() {
    let world = World::new();
    let id = world.plain_key(&key(1));
    world.set_balance(id, 2);
    let gate = builder(&world).usage_options(options(|_| {})).build().unwrap();
    for _ in 0..3 {
        send(&gate, "/v1/paid", &key(1), Outcome::Served).await;
    }
    let usage = gate.usage().unwrap();
    usage.flush().await.unwrap();
    let report = report(&gate, UsageFilter::key(id), UsageStep::Hour).await;
    let expected = serde_json::json!({
        "step": "hour", "from": "2026-04-29T13:00:00Z", "to": "2026-04-30T13:00:00Z",
        "points": [{
            "start": "2026-04-30T12:00:00Z", "requests": 3, "admitted": 1, "abandoned": 0,
            "refused": { "credits_exhausted": 2 }, "credits": 2, "units": 0, "bytes": 0,
            "lastSeen": "2026-04-30T12:00:00Z",
        }],
    });
    assert_eq!(report.to_json(), expected);
    let csv = "start,requests,admitted,refused,abandoned,credits,units,bytes,last_seen\r\n\
               2026-04-30T12:00:00Z,3,1,2,0,2,0,0,2026-04-30T12:00:00Z\r\n";
    assert_eq!(report.to_csv(), csv);
    let top = usage.top(UsageFilter::all(), report.range, TopOrder::Refusals, 5).await.unwrap();
    assert_eq!(top.to_json()["keys"][0]["refused"], 2);
    let account = world.account_of(id);
    let csv = format!(
        "key,account,requests,refused,credits,units,bytes,last_seen\r\n\
         {id},{account},3,2,2,0,0,2026-04-30T12:00:00Z\r\n"
    );
    assert_eq!(top.to_csv(), csv);
}

#[tokio::test]
async fn usage_is_a_sink_of_several_gates() {
    let world = World::new();
    world.plain_key(&key(1));
    let usage = Usage::new(Arc::new(MemoryUsage::new()), options(|_| {}), world.clock.clone()).unwrap();
    for gate in [builder(&world), builder(&world)] {
        let gate = gate.decision_sink(usage.clone()).build().unwrap();
        send(&gate, "/v1/paid", &key(1), Outcome::Served).await;
    }
    usage.flush().await.unwrap();
    let range = UsageRange::latest(UsageStep::Day, world.clock.now().wall());
    let report = usage.report(UsageFilter::all(), range).await.unwrap();
    assert_eq!((report.points.len(), report.points[0].counts.requests), (1, 2));
}

#[tokio::test]
async fn erasure_of_an_account_includes_its_usage() {
    let (world, store) = (World::new(), MemoryUsage::new());
    let id = world.plain_key(&key(1));
    let gate = builder(&world).usage_store(store).usage_options(options(|_| {})).build().unwrap();
    let account = world.store.key(id).unwrap().account.id.clone();
    send(&gate, "/v1/paid", &key(1), Outcome::Served).await;
    gate.usage().unwrap().flush().await.unwrap();
    assert_eq!(requests(&gate).await, 1);
    send(&gate, "/v1/paid", &key(1), Outcome::Served).await;
    AccountManager::new(gate.clone()).unwrap().erase(&account).await.unwrap();
    assert_eq!((requests(&gate).await, status(&gate).waiting), (0, 0), "nor what was not written yet");
}

/// Requests that are younger than the retention of a step.
#[tokio::test]
async fn counts_within_the_retention_are_kept() {
    let world = World::new();
    world.plain_key(&key(1));
    let set = options(|options| {
        options.keep = UsageRetention {
            minutes: Duration::from_hours(1),
            hours: Duration::from_hours(24),
            days: Duration::from_hours(24 * 31),
        };
    });
    let gate = builder(&world).usage_options(set).build().unwrap();
    world.clock.advance(Duration::from_mins(59));
    assert_eq!(send(&gate, "/v1/paid", &key(1), Outcome::Served).await, None);
    let usage = gate.usage().unwrap();
    usage.flush().await.unwrap();
    // 23 hours and two minutes later.
    world.clock.advance(Duration::from_mins(23 * 60 + 2));
    usage.prune().await.unwrap();
    assert_eq!(in_hours(&gate).await, 1, "the request was 23 hours ago");
}

/// The id of a batch whose requests are older than a day: the clock of its node is a day late.
#[tokio::test]
async fn id_of_a_batch_is_remembered_for_a_day() {
    let store = MemoryUsage::new();
    let now: Timestamp = "2026-04-30T12:00:00Z".parse().unwrap();
    let then = now.saturating_sub(Duration::from_hours(25));
    let counts = UsageCounts::of_request(then, 2);
    let rows = vec![UsageRow::new(None, "/a", DecisionOutcome::Admitted, then, counts)];
    let batch = UsageBatch::new(BatchId { node: [7; 16], number: 1 }, rows);
    assert_eq!(store.write(&batch).await.unwrap(), Written::Added);
    store.prune(&UsageRetention::default(), now).await.unwrap();
    assert_eq!(store.write(&batch).await.unwrap(), Written::Repeated, "it was written a moment ago");
}

/// A usage store whose retention takes time.
#[derive(Debug, Clone, Default)]
struct SlowPrune(Arc<MemoryUsage>);

impl UsageStore for SlowPrune {
    fn write(&self, batch: &UsageBatch) -> StoreFuture<Written> {
        self.0.write(batch)
    }
    fn read(&self, query: &UsageQuery) -> StoreFuture<Vec<UsagePart>> {
        self.0.read(query)
    }
    fn top(&self, query: &TopQuery) -> StoreFuture<Vec<TopKey>> {
        self.0.top(query)
    }
    fn prune(&self, _: &UsageRetention, _: Timestamp) -> StoreFuture<u64> {
        StoreFuture::boxed(async {
            tokio::time::sleep(Duration::from_mins(5)).await;
            Ok(0)
        })
    }
    fn erase_account(&self, account: &AccountId) -> StoreFuture<bool> {
        self.0.erase_account(account)
    }
}

/// Lets the tasks of a paused runtime run until none can.
async fn pass(time: Duration) {
    for _ in 0..time.as_secs() {
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn retention_delays_no_flush() {
    let world = World::new();
    world.plain_key(&key(1));
    let set = options(|options| options.flush = Some(Duration::from_secs(10)));
    let gate = builder(&world).usage_store(SlowPrune::default()).usage_options(set).build().unwrap();
    assert_eq!(send(&gate, "/v1/paid", &key(1), Outcome::Served).await, None);
    pass(Duration::from_secs(11)).await;
    assert_eq!(in_hours(&gate).await, 1);
    assert_eq!(send(&gate, "/v1/paid", &key(1), Outcome::Served).await, None);
    pass(Duration::from_mins(1)).await;
    assert_eq!(in_hours(&gate).await, 2, "the request is a minute old, the interval 10 seconds");
}
