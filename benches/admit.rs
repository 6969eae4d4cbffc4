//! The time of the parts of a decision: admitted and denied requests, and the steps that take the most time.
//!
//! ```text
//! cargo bench --bench admit
//! ```
#![allow(missing_docs, reason = "criterion's macro makes a public function")]
#![allow(clippy::expect_used, reason = "what is constant here cannot fail")]

mod harness;

use std::hint::black_box;
use std::sync::Arc;

use axum::extract::Request;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use harness::drive::{call, poll_now};
use harness::{gate, world};
use http::HeaderValue;
use tollgate::account::{Allowance, QuotaPolicy, Quotas};
use tollgate::clock::SystemClock;
use tollgate::credit::{Charge, ChargeId, Settlement};
use tollgate::key::{KeyHasher, Length};
use tollgate::limit::Draw;
use tollgate::telemetry::{DecisionEvent, DecisionSink};
use tollgate::usage::UsageOptions;
use tollgate::{
    Account, Clock, CreditLedger, Credits, Gate, GateBuilder, KeyFormat, KeyRecord, KeyStore, MemoryLedger,
    MemoryLimiter, MemoryStore, RateLimiter, RequestView, TollgateLayer,
};
use tower::{Layer, Service, service_fn};

/// A gate with one key, changed before it is stored.
fn with_record(change: impl FnOnce(&mut KeyRecord)) -> GateBuilder {
    let (store, ledger) = (MemoryStore::new(), MemoryLedger::new());
    let mut record = gate::record(0, gate::account(0));
    change(&mut record);
    gate::add(&store, &ledger, record);
    gate::builder(store, ledger).source(gate::header()).without_principal()
}

fn behind(builder: GateBuilder) -> impl Service<Request> + Clone {
    let gate = builder.build().expect("the gate is complete");
    TollgateLayer::new(gate).layer(service_fn(world::handler))
}

fn malformed() -> Request {
    let mut request = world::keyless(world::ROUTE);
    request.headers_mut().insert("x-api-key", HeaderValue::from_static("acme_too-short"));
    request
}

/// The time of a request with its response, by outcome, compared with the service without a gate.
fn outcomes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    let mut measure = |name: &str, service: &mut dyn FnMut(Request), request: &dyn Fn() -> Request| {
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_batched(request, &mut *service, BatchSize::NumIterations(64));
        });
    };
    let admitted = || world::request(&world::key(0));
    let mut bare = service_fn(world::handler);
    measure("bare", &mut |request| drop(call(&mut bare, request)), &admitted);
    let mut open = behind(with_record(|_| {}));
    let mut open = |request| drop(call(&mut open, request));
    measure("admitted", &mut open, &admitted);
    measure("unknown", &mut open, &|| world::request(&world::key(1)));
    measure("malformed", &mut open, &malformed);
    measure("missing", &mut open, &|| world::keyless(world::ROUTE));
    let once = || vec!["1 per day".parse().expect("a quota")];
    let mut limited = behind(with_record(|record| record.quotas = Some(once())));
    measure("limited", &mut |request| drop(call(&mut limited, request)), &admitted);
}

/// A decision sink that does nothing.
#[derive(Debug)]
struct Idle;

impl DecisionSink for Idle {
    fn record(&self, event: &DecisionEvent<'_>) {
        black_box(event);
    }
}

/// The time of an admitted request with its response, by what is recorded of it.
fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recorded");
    let mut measure = |name: &str, gate: GateBuilder| {
        let mut service = behind(gate);
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            let request = || world::request(&world::key(0));
            bencher.iter_batched(
                request,
                |request| drop(call(&mut service, request)),
                BatchSize::NumIterations(64),
            );
        });
    };
    let usage = |gate: GateBuilder| gate.usage_options(UsageOptions::default());
    measure("nothing", with_record(|_| {}));
    measure("event", with_record(|_| {}).decision_sink(Idle));
    measure("usage", usage(with_record(|_| {})));
    #[cfg(feature = "metrics")]
    {
        // The exporter's thread adds up the samples of histograms.
        let exporter = metrics_exporter_prometheus::PrometheusBuilder::new()
            .set_buckets(&tollgate::metrics::DURATION_BUCKETS)
            .and_then(metrics_exporter_prometheus::PrometheusBuilder::install_recorder)
            .expect("no recorder is installed");
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(std::time::Duration::from_millis(100));
                exporter.run_upkeep();
            }
        });
        measure("metrics", with_record(|_| {}).metrics());
        measure("usage and metrics", usage(with_record(|_| {}).metrics()));
    }
}

/// The time of the decision, without the response.
fn decisions(criterion: &mut Criterion) {
    let gate: Gate = with_record(|_| {}).build().expect("the gate is complete");
    let mut group = criterion.benchmark_group("decision");
    let requests = [
        ("admitted", world::request(&world::key(0))),
        ("unknown", world::request(&world::key(1))),
        ("malformed", malformed()),
        ("missing", world::keyless(world::ROUTE)),
        ("public", world::keyless("/health")),
    ];
    for (name, request) in requests {
        group.bench_function(name, |bencher| {
            bencher.iter(|| drop(black_box(poll_now(gate.admit(&RequestView::of(&request))))));
        });
    }
}

/// Benches of the steps that handle the key.
fn key(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("key");
    let (key, hasher) = (world::key(0), KeyHasher::sha256());
    let plain = KeyFormat::new(world::PREFIX, Length::exactly(32)).expect("a format");
    let summed = plain.clone().with_checksum().expect("there is room");
    group.bench_function("format", |bencher| bencher.iter(|| plain.accepts(black_box(key.as_bytes()))));
    group.bench_function("format and checksum", |bencher| {
        bencher.iter(|| summed.accepts(black_box(key.as_bytes())));
    });
    group.bench_function("hash", |bencher| bencher.iter(|| hasher.hash(black_box(key.as_bytes()))));
    let store = MemoryStore::new();
    store.put_key(gate::record(0, gate::account(0)));
    let hash = hasher.hash(key.as_bytes());
    group.bench_function("look-up", |bencher| bencher.iter(|| poll_now(store.find(black_box(&hash)))));
}

/// Benches of the limiter and the ledger.
fn back_ends(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("back end");
    let (clock, record) = (SystemClock::new(), gate::record(0, gate::account(0)));
    group.bench_function("clock", |bencher| bencher.iter(|| clock.now()));
    let policy = |text: &str| text.parse::<QuotaPolicy>().expect("a quota");
    let windows = [policy("1000000000 per minute"), policy("4000000000 per day")];
    for count in [1, 2] {
        let (limiter, quotas) = (MemoryLimiter::new(), Quotas::new(windows[..count].iter().cloned()));
        let record = record.clone();
        group.bench_function(format!("draw from {count}"), |bencher| {
            bencher.iter(|| poll_now(limiter.draw(&Draw::new(&record, &quotas, clock.now()))));
        });
    }
    let (ledger, account, mut number) = (MemoryLedger::new(), Arc::new(Account::new("acme", "pro")), 0_u128);
    ledger.set_balance("acme", Credits::MAX, clock.now().wall());
    group.bench_function("charge and settle", |bencher| {
        bencher.iter(|| {
            number += 1;
            let (id, amount) = (ChargeId::from_bytes(number.to_be_bytes()), Credits::new(1));
            let charge = Charge::new(id, &account, amount, &Allowance::None, clock.now());
            (
                poll_now(ledger.charge(&charge)),
                poll_now(ledger.settle(&Settlement::new(&account, id, amount, &clock))),
            )
        });
    });
}

criterion_group!(benches, outcomes, records, decisions, key, back_ends);
criterion_main!(benches);
