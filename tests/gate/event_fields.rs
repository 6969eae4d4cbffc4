//! Tests of the fields of decision events.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tollgate::account::{Allowance, QuotaPolicy, QuotaRef};
use tollgate::adapter::Peer;
use tollgate::credit::{Refund, Settlement};
use tollgate::gate::{Outcome, TrustedProxies};
use tollgate::key::Length;
use tollgate::respond::RequestIds;
use tollgate::rule::{Cost, ScopeRule};
use tollgate::telemetry::{DecisionEvent, DecisionOutcome, DecisionSink, EventAddresses};
use tollgate::{
    CreditLedger, Credits, DenialKind, Gate, GateBuilder, KeyFormat, KeySource, ManualClock, Plan,
    RequestView, Rule, StoreFuture, TollgateLayer,
};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::events::Recorder;
use crate::support::{Answer, World, with_key, without_key};
use crate::two_gates::send;

const KEY: &str = "kwery_live_0123456789";
const EXPIRES: &str = "2026-06-01T00:00:00Z";

/// A gate with a route of 2 credits per unit, for a key with 3 requests per minute that expires.
fn gate(world: &World, change: impl FnOnce(GateBuilder) -> GateBuilder) -> (Gate, Recorder) {
    let recorder = Recorder::default();
    world.key(KEY, |record, account| {
        record.expires_at = Some(EXPIRES.parse().unwrap());
        account.plan = "metered".into();
    });
    let mut rule = Rule::new("/v1/items/{name}").unwrap();
    let (each, parameter) = (Credits::new(2), "limit".to_owned());
    rule.cost = Cost::PerUnit { parameter, each, least: 1, default: 5, most: 100 };
    rule.scopes = ScopeRule::Everyone;
    let mut plan = Plan::new("metered");
    plan.quotas = ["3 per minute", "100 per hour"].map(quota).to_vec();
    let builder = world.kwery().rule(rule).plan(plan).decision_sink(recorder.clone());
    (change(builder).build().unwrap(), recorder)
}

fn quota(text: &str) -> QuotaRef {
    QuotaRef::Policy(text.parse::<QuotaPolicy>().unwrap())
}

#[tokio::test]
async fn request_id_is_that_of_the_response() {
    let world = World::new();
    let ids = RequestIds::default().in_every_answer();
    let (gate, recorder) = gate(&world, |builder| builder.request_ids(ids));
    for (request, status) in [(with_key("GET /v1/items/a", KEY), 200), (without_key("GET /v1/items/a"), 401)]
    {
        let answer = world.send(&gate, request).await;
        let assigned = recorder.only();
        assert_eq!((assigned.status, answer.status), (Some(status), status));
        assert_eq!(answer.header("x-request-id"), Some(&*assigned.request_id));
        assert!(assigned.request_id.starts_with("req_"), "{assigned:?}");
    }
    for request in [with_key("GET /v1/items/a", KEY), without_key("GET /v1/items/a")] {
        let _ = world.send(&gate, request.header("X-Request-ID", "mine-7")).await;
        assert_eq!(recorder.only().request_id, "mine-7");
    }
}

/// A client that sends its key as the id of the request, or within it.
#[tokio::test]
async fn key_in_a_request_id_is_not_recorded() {
    let world = World::new();
    let (gate, recorder) = gate(&world, |builder| builder);
    for id in [KEY.to_owned(), format!("key-{KEY}"), format!("{KEY}-1")] {
        let answer = world.send(&gate, with_key("GET /v1/items/a", KEY).header("X-Request-ID", &id)).await;
        let event = recorder.only();
        assert!(event.request_id.starts_with("req_") && !event.text.contains(KEY), "{}", event.text);
        assert!(!format!("{:?}", answer.headers).contains(KEY), "{:?}", answer.headers);
        let answer = world.send(&gate, without_key("GET /v1/items/a").header("X-Request-ID", &id)).await;
        assert!(answer.header("x-request-id").unwrap().starts_with("req_"), "{:?}", answer.headers);
        assert!(recorder.only().request_id.starts_with("req_"));
    }
}

#[tokio::test]
async fn request_id_is_that_of_a_managed_response() {
    let world = World::new();
    let (gate, recorder) = gate(&world, |builder| builder.management("/keys"));
    let service = TollgateLayer::new(gate).layer(world.inner.clone());
    let request = with_key("GET /keys", KEY).body(Empty::<Bytes>::new()).unwrap();
    let answer = Answer::read(service.oneshot(request).await.unwrap()).await;
    let event = recorder.only();
    assert_eq!((answer.status, event.status), (200, Some(200)));
    assert_eq!(answer.header("x-request-id"), Some(&*event.request_id));
}

#[tokio::test]
async fn admission_has_windows_balance_and_units() {
    let world = World::new();
    let (gate, recorder) = gate(&world, |builder| builder);
    for (uri, units, left, balance) in [("?limit=7", 7, 2, 86), ("", 5, 1, 76)] {
        let answer = world.send(&gate, with_key(&format!("GET /v1/items/a{uri}"), KEY)).await;
        let event = recorder.only();
        assert_eq!((answer.status, event.outcome), (200, DecisionOutcome::Admitted));
        assert_eq!((event.units, event.charged, event.balance), (Some(units), 2 * units, Some(balance)));
        let reset = u64::from(3 - left) * 20;
        assert_eq!(event.windows, [("minute".to_owned(), 3, left, reset)]);
        assert_eq!((event.expires.as_deref(), event.environment.as_deref()), (Some(EXPIRES), Some("live")));
        assert_eq!((event.rule.as_deref(), event.bytes), (Some("/v1/items/{name}"), None));
        assert_eq!(event.time, "2026-04-30T12:00:00Z");
    }
}

#[tokio::test]
async fn every_reported_window_is_in_the_event() {
    let world = World::new();
    let (gate, recorder) = gate(&world, |builder| builder.limit_headers().without_principal());
    let _ = world.send(&gate, with_key("GET /v1/items/a", KEY)).await;
    let names = recorder.only().windows.into_iter().map(|window| (window.0, window.1, window.2));
    assert_eq!(names.collect::<Vec<_>>(), [("minute".to_owned(), 3, 2), ("hour".to_owned(), 100, 99)]);
}

#[tokio::test]
async fn windows_need_no_principal() {
    let world = World::new();
    let (gate, recorder) = gate(&world, GateBuilder::without_principal);
    let _ = world.send(&gate, with_key("GET /v1/items/a", KEY)).await;
    assert_eq!(recorder.only().windows, [("minute".to_owned(), 3, 2, 20)]);
}

#[tokio::test]
async fn denial_has_the_window_or_balance_that_denied() {
    let world = World::new();
    let (gate, recorder) = gate(&world, |builder| builder);
    let answer = world.send(&gate, with_key("GET /v1/items/a?limit=99", KEY)).await;
    let event = recorder.only();
    assert_eq!((answer.status, event.balance, event.charged), (402, Some(100), 0));
    assert_eq!(event.windows, [("minute".to_owned(), 3, 2, 20)]);
    for _ in 0..2 {
        assert_eq!(world.send(&gate, with_key("GET /v1/items/a", KEY)).await.status, 200);
        recorder.only();
    }
    assert_eq!(world.send(&gate, with_key("GET /v1/items/a", KEY)).await.status, 429);
    let event = recorder.only();
    assert_eq!(event.outcome, DecisionOutcome::Denied(DenialKind::RateLimited));
    assert_eq!(
        (event.windows, event.balance, event.units),
        (vec![("minute".to_owned(), 3, 0, 60)], None, None)
    );
    assert_eq!(event.expires.as_deref(), Some(EXPIRES));
}

/// A ledger that takes five milliseconds for a charge, and answers later.
#[derive(Debug)]
struct Slow<L> {
    ledger: L,
    clock: ManualClock,
    answers: bool,
}

impl<L: CreditLedger> CreditLedger for Slow<L> {
    fn charge(&self, charge: &tollgate::credit::Charge<'_>) -> StoreFuture<tollgate::credit::Charged> {
        self.clock.advance(Duration::from_millis(5));
        if self.answers { self.ledger.charge(charge) } else { StoreFuture::boxed(std::future::pending()) }
    }

    fn settle(&self, settlement: &Settlement<'_>) -> StoreFuture<()> {
        self.clock.advance(Duration::from_secs(2));
        self.ledger.settle(settlement)
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        self.ledger.refund(refund)
    }
}

fn slow(answers: bool) -> (World, Gate, Recorder) {
    let world = World::new();
    let ledger = Slow { ledger: world.ledger.clone(), clock: world.clock.clone(), answers };
    let world = world.with_ledger(ledger);
    let (gate, recorder) = gate(&world, |builder| builder);
    (world, gate, recorder)
}

#[tokio::test]
async fn elapsed_is_the_time_of_the_gate_alone() {
    let (world, gate, recorder) = slow(true);
    let clock = world.clock.clone();
    let service = service_fn(move |_: Request<Empty<Bytes>>| {
        clock.advance(Duration::from_secs(30));
        async { Ok::<_, Infallible>(Response::new(String::new())) }
    });
    let service = TollgateLayer::new(gate.clone()).layer(service);
    let _ = service.oneshot(with_key("GET /v1/items/a", KEY).body(Empty::new()).unwrap()).await.unwrap();
    let event = recorder.only();
    assert_eq!((event.elapsed, &*event.time), (Duration::from_millis(5), "2026-04-30T12:00:00Z"));
    let _ = world.send(&gate, with_key("GET /v1/items/a?limit=90", KEY)).await;
    let event = recorder.only();
    assert_eq!(
        (event.outcome, event.elapsed.as_millis()),
        (DecisionOutcome::Denied(DenialKind::CreditsExhausted), 5)
    );
}

#[tokio::test]
async fn departure_has_id_client_and_elapsed() {
    let (_, gate, recorder) = slow(false);
    let request = with_key("GET /v1/items/a", KEY).header("X-Request-ID", "left-1").body(()).unwrap();
    let view = RequestView::of(&request);
    let mut decision = Box::pin(gate.admit(&view));
    assert!(std::future::poll_fn(|cx| Poll::Ready(decision.as_mut().poll(cx).is_pending())).await);
    drop(decision);
    let event = recorder.only();
    assert_eq!((event.outcome, &*event.request_id), (DecisionOutcome::Abandoned, "left-1"));
    assert_eq!((event.client.as_deref(), event.elapsed.as_millis()), (Some("203.0.113.0/24"), 5));
    assert_eq!(event.windows, [("minute".to_owned(), 3, 2, 20)]);
}

#[tokio::test]
async fn client_is_cut_as_configured() {
    use EventAddresses::{Full, Network};
    const V6: &str = "2001:db8:1234:5678::9";
    let rows = [
        (None, "203.0.113.9", None, Some("203.0.113.0/24")),
        (Some(Network), V6, None, Some("2001:db8:1234::/48")),
        (Some(Network), "::ffff:203.0.113.9", None, Some("203.0.113.0/24")),
        (Some(Full), "203.0.113.9", None, Some("203.0.113.9/32")),
        (Some(Full), V6, None, Some("2001:db8:1234:5678::9/128")),
        (Some(EventAddresses::None), "203.0.113.9", None, None),
        (None, "10.0.0.1", Some("198.51.100.7"), Some("198.51.100.0/24")),
        (None, "203.0.113.9", Some("198.51.100.7"), Some("203.0.113.0/24")),
        (None, "10.0.0.1", Some("unknown"), None),
    ];
    for (addresses, peer, forwarded, expected) in rows {
        let world = World::new();
        let proxies = TrustedProxies::new(["10.0.0.0/8".parse().unwrap()]);
        let (gate, recorder) = gate(&world, |builder| {
            let builder = builder.trusted_proxies(proxies);
            match addresses {
                Some(addresses) => builder.event_addresses(addresses),
                None => builder,
            }
        });
        for key in [KEY, "kwery_live_unknown_key"] {
            let mut request = Request::get("/v1/items/a").header("X-API-Key", key);
            request = request.extension(Peer(peer.parse().unwrap()));
            if let Some(forwarded) = forwarded {
                request = request.header("X-Forwarded-For", forwarded);
            }
            let _ = world.send(&gate, request).await;
            assert_eq!(recorder.only().client.as_deref(), expected, "{peer} {forwarded:?}");
        }
    }
}

#[tokio::test]
async fn event_has_no_byte_of_path_query_or_headers() {
    let world = World::new();
    let (gate, recorder) = gate(&world, |builder| builder.event_addresses(EventAddresses::Full));
    for key in [KEY, "kwery_live_other_key_1"] {
        let request = with_key("GET /v1/items/rawsegment?limit=3&raw=rawquery", key);
        let _ = world.send(&gate, request.header("X-Raw", "rawheader").header("Cookie", "rawcookie")).await;
        let text = recorder.only().text;
        for hidden in [key, &key[..14], "rawsegment", "rawquery", "rawheader", "rawcookie", "x-raw"] {
            assert!(!text.contains(hidden), "{hidden}: {text}");
        }
    }
}

#[tokio::test]
async fn gate_without_adapter_has_the_same_fields() {
    let world = World::new();
    let (gate, recorder) = gate(&world, |builder| builder);
    let request =
        with_key("GET /v1/items/a?limit=4", KEY).header("X-Request-ID", "direct-1").body(()).unwrap();
    let admission = gate.admit(&RequestView::of(&request)).await.unwrap();
    assert!(recorder.take().is_empty());
    admission.finish(Outcome::Failed).await.unwrap();
    let event = recorder.only();
    assert_eq!((&*event.request_id, event.units, event.balance), ("direct-1", Some(4), Some(92)));
    assert_eq!((event.status, event.charged, event.settled), (None, 8, 0));
    assert_eq!(event.client.as_deref(), Some("203.0.113.0/24"));
    let request = without_key("GET /v1/items/a").header("X-Request-ID", "direct-2").body(()).unwrap();
    let _ = gate.admit(&RequestView::of(&request)).await.unwrap_err();
    assert_eq!(recorder.only().request_id, "direct-2");
}

#[tokio::test]
async fn public_request_and_preflight_have_no_event() {
    let world = World::new();
    let mut open = Rule::new("/open").unwrap();
    open.public = true;
    let (gate, recorder) = gate(&world, |builder| builder.rule(open));
    let _ = world.send(&gate, without_key("GET /open")).await;
    let preflight = without_key("OPTIONS /v1/items/a").header("Origin", "https://example.com");
    let _ = world.send(&gate, preflight.header("Access-Control-Request-Method", "GET")).await;
    assert_eq!(world.calls(), 2);
    assert!(recorder.take().is_empty());
}

#[tokio::test]
async fn unlimited_account_has_no_balance() {
    let world = World::new();
    let mut plan = Plan::new("free");
    plan.credits = Allowance::Unlimited;
    let (gate, recorder) = gate(&world, |builder| builder.plan(plan));
    world.key("kwery_live_unlimited_1", |_, account| account.plan = "free".into());
    let _ = world.send(&gate, with_key("GET /v1/items/a?limit=2", "kwery_live_unlimited_1")).await;
    let event = recorder.only();
    assert_eq!((event.balance, event.units, event.expires), (None, Some(2), None));
    assert!(event.windows.is_empty());
}

/// A sink that reads neither the id of a request nor its client.
#[derive(Debug)]
struct Counts(Mutex<Vec<(bool, bool)>>);

impl DecisionSink for Counts {
    fn record(&self, event: &DecisionEvent<'_>) {
        self.0.lock().unwrap().push((event.request_id.is_some(), event.client.is_some()));
    }

    fn reads_request(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn id_and_client_need_a_sink_that_reads_them() {
    let world = World::new();
    world.plain_key(KEY);
    let counts = Arc::new(Counts(Mutex::default()));
    let alone = world.kwery().decision_sink(Arc::clone(&counts)).build().unwrap();
    let reader = world.kwery().decision_sink(Arc::clone(&counts)).decision_sink(Recorder::default());
    for gate in [&alone, &reader.build().unwrap()] {
        let _ = world.send(gate, with_key("GET /v1/items/a", KEY)).await;
        let _ = world.send(gate, without_key("GET /v1/items/a")).await;
    }
    assert_eq!(*counts.0.lock().unwrap(), [(false, false), (false, false), (true, true), (true, true)]);
}

/// A client that sends a part of its key as the id of the request.
#[tokio::test]
async fn part_of_a_key_in_a_request_id_is_not_recorded() {
    let world = World::new();
    let (gate, recorder) = gate(&world, |builder| builder);
    let key = crate::support::providers::KWERY;
    let body = &key["kwery_live_".len()..];
    let middle = format!("{}-{}", &key[..26], &key[26..]);
    for id in [&key[..key.len() - 1], &key[1..], body, &body[..16], &body[1..16], &middle] {
        let answer = world.send(&gate, with_key("GET /v1/items/a", key).header("X-Request-ID", id)).await;
        assert!(answer.header("x-request-id").is_none_or(|sent| sent.starts_with("req_")), "{id}");
        assert!(recorder.only().request_id.starts_with("req_"), "{id}");
    }
    let _ = world.send(&gate, with_key("GET /v1/items/a", key).header("X-Request-ID", &body[..7])).await;
    assert_eq!(recorder.only().request_id, body[..7]);
}

/// A client sends a part of its key as the id of the request: beside two keys, in a wrong form, and behind a gate that
/// removes the key.
#[tokio::test]
async fn part_of_another_form_of_a_key_is_found() {
    const PART: &str = "abcdefghijklmnopqrstuvwx";
    let key = format!("kwery_{PART}yz012345");
    let (world, recorder) = (World::new(), Recorder::default());
    world.plain_key(&key);
    let builder = || {
        let format = KeyFormat::new("kwery_", Length::exactly(32)).unwrap();
        world.bare().source(KeySource::header("X-API-Key").unwrap()).format(format)
    };
    let gate = builder().decision_sink(recorder.clone()).build().unwrap();
    let plain = with_key("GET /v1/data", &key);
    let twice = with_key("GET /v1/data", &key).header("X-API-Key", &key);
    let malformed = with_key("GET /v1/data", &format!("{key} x"));
    let longer = with_key("GET /v1/data", &format!("{key}x"));
    let mut ids = Vec::new();
    for (name, request) in [("plain", plain), ("twice", twice), ("malformed", malformed), ("longer", longer)]
    {
        let request = request.header("X-Request-ID", PART).body(()).unwrap();
        let _ = gate.admit(&RequestView::of(&request)).await;
        ids.push((name, recorder.only().request_id));
    }
    let outer = builder().strip_headers().build().unwrap();
    let request = with_key("GET /v1/data", &key).header("X-Request-ID", PART);
    let answer = send([&outer, &gate], &world, request).await;
    assert_eq!(answer.status, 200);
    ids.push(("removed", recorder.only().request_id));
    assert!(ids.iter().all(|(_, id)| !id.contains(PART)), "{ids:?}");
}
