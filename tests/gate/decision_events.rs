//! Tests of the events about decisions: one for each decision, with its final cost.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use bytes::Bytes;
use http::request::Builder;
use http::{Request, Response};
use http_body_util::Empty;
use tollgate::account::Allowance;
use tollgate::credit::{Adjustment, AdjustmentKind, Charge, Charged, CreditAdmin, Refund, Settlement};
use tollgate::gate::{FinalCost, Outcome};
use tollgate::rule::{Cost, ScopeRule};
use tollgate::telemetry::{DecisionEvent, DecisionOutcome, DecisionSink};
use tollgate::{
    CreditLedger, Credits, DenialKind, Gate, GateBuilder, KeyId, MemoryLedger, RequestView, Rule, StoreError,
    StoreFuture, TollgateLayer,
};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{World, with_key, without_key};

const KEY: &str = "kwery_live_0123456789";

/// The parts of an event: rule, outcome, status, charged and settled credits, account.
type Seen = (Option<String>, DecisionOutcome, Option<u16>, u64, u64, Option<String>);

#[derive(Debug, Default, Clone)]
struct Recorder(Arc<Mutex<Vec<Seen>>>);

impl Recorder {
    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl DecisionSink for Recorder {
    fn record(&self, event: &DecisionEvent<'_>) {
        let rule = event.rule.map(|rule| rule.pattern().to_owned());
        let account = event.account.map(|account| account.as_str().to_owned());
        let status = event.status.map(|status| status.as_u16());
        let seen = (rule, event.outcome, status, event.charged.get(), event.settled.get(), account);
        assert!(!format!("{event:?}").contains(KEY));
        self.0.lock().unwrap().push(seen);
    }
}

/// A sink that panics.
#[derive(Debug)]
struct Broken;

impl DecisionSink for Broken {
    fn record(&self, _: &DecisionEvent<'_>) {
        panic!("a sink is broken");
    }
}

/// A gate in front of a route that costs 10 credits, with a broken sink before the recorder, and one key.
struct Stage {
    world: World,
    recorder: Recorder,
    gate: Gate,
    key: KeyId,
}

impl Stage {
    fn with_balance(credits: u64) -> Self {
        Self::of(&World::new(), credits, |builder| builder)
    }

    fn of(world: &World, credits: u64, change: impl FnOnce(GateBuilder) -> GateBuilder) -> Self {
        let (world, recorder) = (world.clone(), Recorder::default());
        let key = world.plain_key(KEY);
        world.set_balance(key, credits);
        let mut rule = Rule::new("/v1/data").unwrap();
        rule.cost = Cost::Fixed(Credits::new(10));
        rule.scopes = ScopeRule::Everyone;
        let gate = world.kwery().rule(rule).decision_sink(Broken).decision_sink(recorder.clone());
        Self { gate: change(gate).build().unwrap(), world, recorder, key }
    }

    fn account(&self) -> String {
        self.world.account_of(self.key)
    }
}

/// Sends a request to a service that answers in this way; `None` is a service that fails.
async fn send(gate: &Gate, request: Builder, answer: impl Fn() -> Option<Response<String>> + Clone) {
    let service = service_fn(move |_: Request<Empty<Bytes>>| {
        let answer = answer();
        async move { answer.ok_or("the service failed") }
    });
    let _ =
        TollgateLayer::new(gate.clone()).layer(service).oneshot(request.body(Empty::new()).unwrap()).await;
}

#[tokio::test]
async fn event_has_charged_and_settled_cost() {
    let stage = Stage::with_balance(100);
    let (Stage { world, recorder, gate, key }, account) = (&stage, Some(stage.account()));
    let rule = || Some("/v1/data".to_owned());
    let admitted = DecisionOutcome::Admitted;
    let request = || with_key("GET /v1/data", KEY);

    send(gate, request(), || Some(Response::new(String::new()))).await;
    assert_eq!(recorder.take(), [(rule(), admitted, Some(200), 10, 10, account.clone())]);
    let cheaper = || {
        let mut response = Response::new(String::new());
        response.extensions_mut().insert(FinalCost(Credits::new(3)));
        Some(response)
    };
    send(gate, request(), cheaper).await;
    assert_eq!(recorder.take(), [(rule(), admitted, Some(200), 10, 3, account.clone())]);
    let failed = || Some(Response::builder().status(503).body(String::new()).unwrap());
    send(gate, request(), failed).await;
    assert_eq!(recorder.take(), [(rule(), admitted, Some(503), 10, 0, account.clone())]);
    send(gate, request(), || None).await;
    assert_eq!(recorder.take(), [(rule(), admitted, None, 10, 0, account.clone())]);
    assert_eq!(world.balance(*key), 100 - 10 - 3);
}

#[tokio::test]
async fn client_that_leaves_is_recorded_once() {
    let Stage { recorder, gate, .. } = Stage::with_balance(100);
    let never =
        service_fn(|_: Request<Empty<Bytes>>| std::future::pending::<Result<Response<()>, Infallible>>());
    let service = TollgateLayer::new(gate.clone()).layer(never);
    let mut answer = Box::pin(service.oneshot(with_key("GET /v1/data", KEY).body(Empty::new()).unwrap()));
    let pending = std::future::poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx).is_pending())).await;
    assert!(pending);
    assert_eq!(recorder.take(), []);
    drop(answer);
    let events = recorder.take();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].2, events[0].3, events[0].4), (None, 10, 10));
}

#[tokio::test]
async fn handler_that_panics_is_recorded_once() {
    let Stage { world, recorder, gate, key } = Stage::with_balance(100);
    let request = with_key("GET /v1/data", KEY);
    let call = async move { send(&gate, request, || panic!("the handler is broken")).await };
    assert!(tokio::spawn(call).await.unwrap_err().is_panic());
    let events = recorder.take();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].2, events[0].3, events[0].4), (None, 10, 0));
    assert_eq!(world.balance(key), 100);
}

#[tokio::test]
async fn denial_is_recorded_with_its_reason() {
    let stage = Stage::with_balance(5);
    let (Stage { recorder, gate, .. }, account) = (&stage, Some(stage.account()));
    let answer = || Some(Response::new(String::new()));
    send(gate, with_key("GET /v1/data", KEY), answer).await;
    let events = recorder.take();
    let rule = Some("/v1/data".to_owned());
    let exhausted = DecisionOutcome::Denied(DenialKind::CreditsExhausted);
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0].0, events[0].1, events[0].3, events[0].4), (&rule, exhausted, 0, 0));
    assert_eq!(events[0].5, account);
    send(gate, without_key("GET /v1/data"), answer).await;
    let events = recorder.take();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].1, events[0].2), (DecisionOutcome::Denied(DenialKind::Missing), Some(401)));
    assert_eq!(events[0].5, None);
}

/// A ledger that does not answer a charge, or panics in a settlement.
#[derive(Debug)]
struct Faulty {
    ledger: Arc<MemoryLedger>,
    never_charges: bool,
    panics_later: bool,
}

impl CreditLedger for Faulty {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        if self.never_charges {
            return StoreFuture::boxed(std::future::pending());
        }
        self.ledger.charge(charge)
    }

    fn settle(&self, _: &Settlement<'_>) -> StoreFuture<()> {
        assert!(self.panics_later, "the ledger is broken");
        StoreFuture::boxed(async { panic!("the ledger is broken") })
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        self.ledger.refund(refund)
    }
}

fn with_faulty_ledger(never_charges: bool, panics_later: bool) -> Stage {
    let world = World::new();
    let ledger = Arc::clone(&world.ledger);
    Stage::of(&world.with_ledger(Faulty { ledger, never_charges, panics_later }), 100, |builder| builder)
}

#[tokio::test]
async fn settlement_that_panics_is_recorded() {
    for panics_later in [false, true] {
        let Stage { recorder, gate, world, key } = with_faulty_ledger(false, panics_later);
        send(&gate, with_key("GET /v1/data", KEY), || Some(Response::new(String::new()))).await;
        let events = recorder.take();
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].1, events[0].2), (DecisionOutcome::Admitted, Some(500)), "{panics_later}");
        assert_eq!((events[0].3, events[0].4), (10, 0), "{panics_later}");
        assert_eq!(world.balance(key), 100);
    }
}

#[tokio::test]
async fn client_that_leaves_a_decision_is_recorded() {
    let stage = with_faulty_ledger(true, false);
    let service = service_fn(|_: Request<Empty<Bytes>>| async { Ok::<_, Infallible>(Response::new(())) });
    let service = TollgateLayer::new(stage.gate.clone()).layer(service);
    let expected =
        || (Some("/v1/data".to_owned()), DecisionOutcome::Abandoned, None, 0, 0, Some(stage.account()));
    let mut answer = Box::pin(service.oneshot(with_key("GET /v1/data", KEY).body(Empty::new()).unwrap()));
    assert!(std::future::poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx).is_pending())).await);
    assert_eq!(stage.recorder.take(), []);
    drop(answer);
    assert_eq!(stage.recorder.take(), [expected()]);

    let request = with_key("GET /v1/data", KEY).body(()).unwrap();
    let view = RequestView::of(&request);
    let mut decision = Box::pin(stage.gate.admit(&view));
    assert!(std::future::poll_fn(|cx| Poll::Ready(decision.as_mut().poll(cx).is_pending())).await);
    drop(decision);
    assert_eq!(stage.recorder.take(), [expected()]);
}

#[cfg(feature = "tonic")]
#[tokio::test(start_paused = true)]
async fn missed_deadline_is_recorded_with_key_and_rule() {
    let stage = with_faulty_ledger(true, false);
    let request = with_key("POST /v1/data", KEY).header("content-type", "application/grpc");
    let request = request.header("te", "trailers").header("grpc-timeout", "5m");
    send(&stage.gate, request, || Some(Response::new(String::new()))).await;
    let late = DecisionOutcome::Denied(DenialKind::Unavailable);
    let expected = (Some("/v1/data".to_owned()), late, Some(200), 0, 0, Some(stage.account()));
    assert_eq!(stage.recorder.take(), [expected]);
}

#[tokio::test]
async fn account_without_limit_is_charged_nothing() {
    let stage = Stage::with_balance(100);
    let (account, id) = (stage.account().as_str().into(), "one".parse().unwrap());
    let now = tollgate::Clock::now(&stage.world.clock).wall();
    let adjustment = Adjustment::new(id, &account, AdjustmentKind::MakeUnlimited, &Allowance::None, now);
    let _ = stage.world.ledger.adjust(&adjustment).await.unwrap();
    let request = with_key("GET /v1/data", KEY).body(()).unwrap();
    let admission = stage.gate.admit(&RequestView::of(&request)).await.unwrap();
    assert_eq!(stage.gate.principal(&admission).unwrap().cost(), Credits::ZERO);
    admission.finish(Outcome::Served).await.unwrap();
    let events = stage.recorder.take();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].3, events[0].4), (0, 0));
}

#[tokio::test]
async fn observer_that_panics_is_recorded() {
    let stage =
        Stage::of(&World::new(), 5, |builder| builder.on_denial(|_| panic!("the observer is broken")));
    send(&stage.gate, with_key("GET /v1/data", KEY), || Some(Response::new(String::new()))).await;
    let events = stage.recorder.take();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].1, events[0].2), (DecisionOutcome::Denied(DenialKind::Internal), Some(500)));
}

/// A ledger that cannot be reached when a charge is settled.
#[derive(Debug)]
struct Unsettled(Arc<MemoryLedger>, bool);

impl CreditLedger for Unsettled {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        self.0.charge(charge)
    }

    fn settle(&self, _: &Settlement<'_>) -> StoreFuture<()> {
        let error = StoreError::unavailable("no connection");
        if self.1 { StoreFuture::boxed(async { Err(error) }) } else { StoreFuture::failed(error) }
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        self.0.refund(refund)
    }
}

#[tokio::test]
async fn failed_settlement_is_not_reported() {
    for fails_later in [false, true] {
        let world = World::new();
        let ledger = Unsettled(Arc::clone(&world.ledger), fails_later);
        let Stage { recorder, gate, .. } = Stage::of(&world.with_ledger(ledger), 100, |builder| builder);
        send(&gate, with_key("GET /v1/data", KEY), || Some(Response::new(String::new()))).await;
        let events = recorder.take();
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].1, events[0].2), (DecisionOutcome::Admitted, Some(200)), "{fails_later}");
        assert_eq!((events[0].3, events[0].4), (10, 0), "{fails_later}");
    }
}
