//! Heap allocations of the gate, counted: none for a request that is let in, three at the most for one that is refused.

use std::sync::{Arc, Mutex};

use crate::harness::drive::{call, poll_now};
use crate::harness::{gate, world};
#[cfg(feature = "metrics")]
use crate::recorder::Metrics;
use allocation_counter::measure;
use axum::extract::Request;
use http::{HeaderValue, Method};
use tollgate::account::{
    AccountStatus, Allowance, InFlightLimit, NetworkCut, QuotaPolicy, QuotaRef, QuotaScope,
};
use tollgate::adapter::Peer;
use tollgate::clock::SystemClock;
use tollgate::credit::{
    Adjustment, AdjustmentKind, BucketTerms, Charge, ChargeId, Charged, CreditAdmin, Refund, Settlement,
};
use tollgate::gate::TrustedProxies;
use tollgate::key::{KeyHash, KeyStatus};
use tollgate::telemetry::{DecisionEvent, DecisionSink};
use tollgate::usage::UsageOptions;
use tollgate::{
    Account, Clock, CreditLedger, Credits, DenialKind as Kind, GateBuilder, KeyRecord, KeySource, KeyStore,
    MemoryLedger, MemoryStore, StoreError, StoreFuture, TollgateLayer,
};
use tower::{Layer, Service, service_fn};

/// The most that any refusal may allocate.
const REFUSAL: u64 = 3;

/// The allocations of one request, when all that is made once has been made.
fn allocations<S: Service<Request>>(mut service: S, request: impl Fn() -> Request) -> u64 {
    for _ in 0..3 {
        drop(call(&mut service, request()));
    }
    let request = request();
    measure(|| drop(call(&mut service, request))).count_total
}

fn behind(gate: GateBuilder) -> impl Service<Request> {
    let gate = gate.build().expect("the gate is complete");
    TollgateLayer::new(gate).layer(service_fn(world::handler))
}

/// A charge over three buckets allocates nothing once the buckets are there.
#[test]
fn charges_over_three_buckets_allocate_nothing() {
    let (ledger, account, clock) = (MemoryLedger::new(), Account::new("acme", "pro"), SystemClock::new());
    let now = clock.now();
    for (number, amount) in [(1, 10), (2, 20), (3, 30)] {
        let mut terms = BucketTerms::default();
        terms.priority = number;
        let kind = AdjustmentKind::TopUpInto { amount: Credits::new(amount), terms };
        let id = number.to_string().parse().unwrap();
        let made = Adjustment::new(id, &account.id, kind, &Allowance::None, now.wall());
        let _done = poll_now(ledger.adjust(&made));
    }
    let charge = |number: u128, amount: u64, cost: Option<u64>| {
        let id = ChargeId::from_bytes(number.to_be_bytes());
        let charge = Charge::new(id, &account, Credits::new(amount), &Allowance::None, now);
        let charged = poll_now(ledger.charge(&charge)).unwrap();
        assert!(matches!(charged, Charged::Posted { .. }), "{charged:?}");
        let closed = match cost {
            Some(cost) => ledger.settle(&Settlement::new(&account, id, Credits::new(cost), &clock)),
            None => ledger.refund(&Refund::new(&account, id, &clock)),
        };
        poll_now(closed).unwrap();
    };
    charge(0, 40, None);
    let counted = measure(|| {
        charge(1, 40, None);
        charge(2, 35, Some(0));
        charge(3, 12, Some(9));
    });
    assert_eq!(counted.count_total, 0);
    assert_eq!(ledger.balance("acme"), Some(Credits::new(51)));
}

fn admitted() -> Request {
    world::request(&world::key(0))
}

#[test]
fn admission_allocates_only_the_principal() {
    let bare = allocations(service_fn(world::handler), admitted);
    assert_eq!(allocations(behind(gate::with_keys(4).without_principal()), admitted), bare);
    // The request has extensions already, so that the principal's box is all that an insert allocates.
    assert_eq!(allocations(behind(gate::with_keys(4)), admitted), bare + 1);
}

/// A decision sink that reads an event.
#[derive(Debug)]
struct Reader;

impl DecisionSink for Reader {
    fn record(&self, event: &DecisionEvent<'_>) {
        assert!(event.request_id.is_some() && event.key.is_some());
        assert!(event.windows.iter().count() <= 1);
    }
}

#[test]
fn event_of_an_admission_allocates_nothing() {
    let bare = allocations(service_fn(world::handler), admitted);
    let gate = || gate::with_keys(4).without_principal().decision_sink(Reader);
    assert_eq!(allocations(behind(gate()), admitted), bare);
    let proxies = TrustedProxies::new(["10.0.0.0/8".parse().unwrap()]);
    let forwarded = || {
        let mut request = with_header("x-forwarded-for", "198.51.100.7, 10.0.0.2");
        request.headers_mut().extend(admitted().headers().clone());
        request.extensions_mut().insert(Peer([10, 0, 0, 1].into()));
        request
    };
    let bare = allocations(service_fn(world::handler), forwarded);
    assert_eq!(allocations(behind(gate().trusted_proxies(proxies)), forwarded), bare);
}

#[cfg(feature = "metrics")]
#[test]
fn metrics_of_an_admission_allocate_nothing() {
    let recorded = Metrics::default();
    let _installed = recorded.install();
    let bare = allocations(service_fn(world::handler), admitted);
    // The sink reads the elapsed time, so that it is measured for every decision.
    let gate = gate::with_keys(4).without_principal().decision_sink(Reader).metrics();
    assert_eq!(allocations(behind(gate), admitted), bare);
    assert_eq!(recorded.value("tollgate_decision_duration_seconds{outcome=\"admitted\"}"), 4);
}

#[test]
fn rule_quota_allocates_nothing() {
    let bare = allocations(service_fn(world::handler), admitted);
    let mut rule = tollgate::Rule::new("GET /v1/candles/BTC").unwrap();
    rule.scopes = tollgate::rule::ScopeRule::Everyone;
    rule.quotas = ["1000 per minute", "5000 per hour"].map(|text| text.parse().unwrap()).into();
    let gate = || gate::with_keys(4).without_principal();
    assert_eq!(allocations(behind(gate().rule(rule)), admitted), bare);
}

#[test]
fn limit_on_requests_in_flight_allocates_nothing() {
    let bare = allocations(service_fn(world::handler), admitted);
    let limit = || InFlightLimit::new(8).unwrap();
    let mut rule = tollgate::Rule::new("GET /v1/candles/BTC").unwrap();
    rule.scopes = tollgate::rule::ScopeRule::Everyone;
    rule.in_flight = Some(limit().counting(QuotaScope::Account));
    let gate = gate::with_keys(4).without_principal().rule(rule).in_flight(limit());
    assert_eq!(allocations(behind(gate), admitted), bare);
}

#[test]
fn network_quota_allocates_nothing() {
    let with_peer = || {
        let mut request = admitted();
        request.extensions_mut().insert(Peer([192, 0, 2, 7].into()));
        request
    };
    let bare = allocations(service_fn(world::handler), with_peer);
    let counts = QuotaScope::Network(NetworkCut::default());
    let quota = "1000 per minute".parse::<QuotaPolicy>().unwrap().counting(counts);
    let mut rule = tollgate::Rule::new("GET /v1/candles/BTC").unwrap();
    rule.scopes = tollgate::rule::ScopeRule::Everyone;
    rule.quotas = vec![QuotaRef::Policy(quota)];
    let gate = || gate::with_keys(4).without_principal();
    assert_eq!(allocations(behind(gate().rule(rule)), with_peer), bare);
}

#[test]
fn weight_allocates_nothing() {
    let bare = allocations(service_fn(world::handler), admitted);
    let header = http::HeaderName::from_static("x-weight");
    let in_header = tollgate::rule::Weight::Header { header, least: 1, default: 3, most: 9 };
    let parameter = "limit".to_owned();
    let in_query = tollgate::rule::Weight::Parameter { parameter, least: 1, default: 3, most: 9_999 };
    for weight in [tollgate::rule::Weight::Fixed(4), in_header, in_query] {
        let mut rule = tollgate::Rule::new("GET /v1/candles/BTC").unwrap();
        rule.scopes = tollgate::rule::ScopeRule::Everyone;
        rule.quotas = ["1000000 per minute", "1000000 in any hour"].map(|text| text.parse().unwrap()).into();
        rule.weight = weight;
        let gate = gate::with_keys(4).without_principal();
        assert_eq!(allocations(behind(gate.rule(rule)), admitted), bare);
    }
}

#[test]
fn usage_of_an_admission_allocates_nothing() {
    let bare = allocations(service_fn(world::handler), admitted);
    let gate = gate::with_keys(4).without_principal().usage_options(UsageOptions::default()).build().unwrap();
    let service = || TollgateLayer::new(gate.clone()).layer(service_fn(world::handler));
    assert_eq!(allocations(service(), admitted), bare);
    // The first flushes give each shard a map with room for the next interval.
    for _ in 0..3 {
        drop(call(&mut service(), admitted()));
        poll_now(gate.usage().unwrap().flush()).unwrap();
    }
    let mut service = service();
    let (first, second) = (admitted(), admitted());
    assert_eq!(measure(|| drop(call(&mut service, first))).count_total, bare);
    poll_now(gate.usage().unwrap().flush()).unwrap();
    assert_eq!(measure(|| drop(call(&mut service, second))).count_total, bare);
}

#[test]
fn full_header_map_allocates_nothing() {
    let full = || {
        let mut request = admitted();
        while request.headers().len() < request.headers().capacity() {
            let name = format!("x-filler-{}", request.headers().len());
            request
                .headers_mut()
                .insert(http::HeaderName::try_from(name).unwrap(), HeaderValue::from_static("1"));
        }
        request
    };
    let bare = allocations(service_fn(world::handler), full);
    assert_eq!(allocations(behind(gate::with_keys(4).without_principal()), full), bare);
}

/// A request that is refused.
struct Refused {
    kind: Kind,
    source: fn() -> KeySource,
    request: fn() -> Request,
    record: fn(&mut KeyRecord),
    gate: fn(GateBuilder) -> GateBuilder,
    balance: u64,
    /// True if the store fails.
    down: bool,
}

/// One that would be let in, to be changed in what it is refused for.
fn refused(kind: Kind) -> Refused {
    Refused {
        kind,
        source: gate::header,
        request: admitted,
        record: |_| {},
        gate: |gate| gate,
        balance: 1_000,
        down: false,
    }
}

fn asking(kind: Kind, request: fn() -> Request) -> Refused {
    Refused { request, ..refused(kind) }
}

fn of_record(kind: Kind, record: fn(&mut KeyRecord)) -> Refused {
    Refused { record, ..refused(kind) }
}

fn bearer() -> KeySource {
    KeySource::authorization("Bearer").unwrap()
}

fn with_header(name: &'static str, value: &'static str) -> Request {
    let mut request = world::keyless(world::ROUTE);
    request.headers_mut().append(name, HeaderValue::from_static(value));
    request
}

fn with_route(route: &str) -> Request {
    let mut request = admitted();
    *request.uri_mut() = route.parse().unwrap();
    request
}

fn account(record: &mut KeyRecord) -> &mut tollgate::Account {
    Arc::get_mut(&mut record.account).expect("the account is not shared yet")
}

/// A store that cannot be reached.
#[derive(Debug)]
struct Down(StoreError);

impl KeyStore for Down {
    fn find(&self, _: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        StoreFuture::failed(self.0.clone())
    }
}

fn of_request() -> Vec<Refused> {
    vec![
        asking(Kind::Missing, || world::keyless(world::ROUTE)),
        Refused {
            source: bearer,
            ..asking(Kind::Malformed, || with_header("authorization", "Basic dXNlcjpwYXNz"))
        },
        asking(Kind::InvalidFormat, || with_header("x-api-key", "nonsense")),
        asking(Kind::Unknown, || world::request(&world::key(7))),
        asking(Kind::Duplicate, || {
            let mut request = admitted();
            request.headers_mut().append("x-api-key", HeaderValue::from_static("another"));
            request
        }),
        asking(Kind::MethodNotAllowed, || {
            let mut request = admitted();
            *request.method_mut() = Method::TRACE;
            request
        }),
        asking(Kind::BadRequest, || with_route("*")),
        asking(Kind::NotGranted, || with_route("/v1/candles/../x")),
        asking(Kind::RouteDenied, || with_route("/v1//candles")),
        asking(Kind::ParameterForbidden, || with_route("/v1/candles/BTC?cursor=1")),
        asking(Kind::ParameterAboveCap, || with_route("/v1/candles/BTC?limit=1001")),
        asking(Kind::ParameterUnreadable, || with_route("/v1/candles/BTC?limit=many")),
    ]
}

fn of_key() -> Vec<Refused> {
    vec![
        of_record(Kind::Revoked, |record| record.status = KeyStatus::Revoked),
        of_record(Kind::Paused, |record| record.status = KeyStatus::Paused),
        of_record(Kind::Expired, |record| record.expires_at = Some("2020-01-01T00:00:00Z".parse().unwrap())),
        of_record(Kind::AddressNotAllowed, |record| record.allowlist = Some(Vec::new())),
        of_record(Kind::ScopeRequired, |record| record.scopes = Some(Vec::new())),
        of_record(Kind::AccountSuspended, |record| account(record).status = AccountStatus::Suspended),
        of_record(Kind::AccountDeleted, |record| account(record).status = AccountStatus::Deleted),
        of_record(Kind::SubscriptionRequired, |record| account(record).subscription = None),
        of_record(Kind::AgreementRequired, |record| account(record).agreements.clear()),
        of_record(Kind::PlanRequired, |record| account(record).plan = "free".into()),
        of_record(Kind::Misconfigured, |record| account(record).plan = "unheard-of".into()),
        of_record(Kind::RateLimited, |record| record.quotas = Some(vec!["1 per day".parse().unwrap()])),
        Refused { balance: 0, ..refused(Kind::CreditsExhausted) },
        Refused {
            request: || {
                let mut request = admitted();
                request.headers_mut().insert("early-data", HeaderValue::from_static("1"));
                request
            },
            gate: |gate| gate.trusted_proxies(TrustedProxies::new(["127.0.0.0/8".parse().unwrap()])),
            ..refused(Kind::TooEarly)
        },
        Refused { down: true, ..refused(Kind::Unavailable) },
    ]
}

/// The allocations of a refusal, and the kind that it is of.
fn measure_refusal(case: &Refused) -> (Option<Kind>, u64) {
    let (store, ledger) = (MemoryStore::new(), MemoryLedger::new());
    let mut record = gate::record(0, gate::account(0));
    (case.record)(&mut record);
    let now = SystemClock::new().now().wall();
    ledger.set_balance(record.account.id.as_str(), Credits::new(case.balance), now);
    store.put_key(record);
    let seen = Arc::new(Mutex::new(None));
    let kind = Arc::clone(&seen);
    let store: Arc<dyn KeyStore> =
        if case.down { Arc::new(Down(StoreError::timed_out())) } else { Arc::new(store) };
    let builder = gate::builder(store, ledger)
        .source((case.source)())
        .on_denial(move |denial| *kind.lock().unwrap() = Some(denial.kind()));
    let allocated = allocations(behind((case.gate)(builder)), case.request);
    (*seen.lock().unwrap(), allocated)
}

#[test]
fn refusal_allocates_at_most_three_times() {
    let mut above = Vec::new();
    for case in of_request().into_iter().chain(of_key()) {
        let (kind, allocated) = measure_refusal(&case);
        assert_eq!(kind, Some(case.kind));
        println!("{:<24} {allocated}", case.kind.name());
        if allocated > REFUSAL {
            above.push((case.kind, allocated));
        }
    }
    assert!(above.is_empty(), "above {REFUSAL}: {above:?}");
}

#[test]
fn second_challenge_costs_one_allocation() {
    let missing =
        Refused { gate: |gate| gate.source(bearer()), ..asking(Kind::Missing, || world::keyless("/")) };
    assert_eq!(measure_refusal(&missing), (Some(Kind::Missing), REFUSAL + 1));
}
