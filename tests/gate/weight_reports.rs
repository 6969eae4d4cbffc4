//! Weights that the handler reports: the gate draws a reserve, and corrects it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use support::faulty_back_ends::{Failing, Later};
use support::providers::KWERY;
use support::{World, from, with_key, without_key};
use tollgate::account::NetworkCut;
use tollgate::gate::WeightReport;
use tollgate::rule::Weight;
use tollgate::{Gate, GateBuilder, KeyId, Plan, RequestView, Rule, TollgateLayer};
use tower::{Layer, ServiceExt, service_fn};

fn world() -> (World, KeyId) {
    let world = World::new();
    let id = world.key(KWERY, |_, account| account.plan = "limited".into());
    (world, id)
}

/// A gate whose rule reserves 40 units, over a quota of 100.
fn gate(world: &World, with: impl FnOnce(GateBuilder) -> GateBuilder) -> Gate {
    let mut plan = Plan::new("limited");
    plan.quotas = vec!["100 per minute".parse().unwrap()];
    let mut rule = Rule::new("POST /chat").unwrap();
    rule.weight = Weight::Reported { reserve: 40, most: 90 };
    with(world.kwery().plan(plan).rule(rule)).build().unwrap()
}

async fn left(gate: &Gate, world: &World, id: KeyId) -> u32 {
    gate.key_usage(&world.store.key(id).unwrap()).await.unwrap().windows[0].remaining
}

fn request() -> Request<Empty<Bytes>> {
    with_key("POST /chat", KWERY).body(Empty::new()).unwrap()
}

/// Sends a request to a handler that reports these weights, one after the other.
async fn send(gate: &Gate, reports: &'static [u32]) -> u16 {
    let handler = service_fn(move |request: Request<Empty<Bytes>>| async move {
        let report = request.extensions().get::<WeightReport>().unwrap();
        assert_eq!(report.reserve(), 40);
        for weight in reports {
            report.report(*weight);
        }
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"answer"))))
    });
    let answer = TollgateLayer::new(gate.clone()).layer(handler).oneshot(request()).await.unwrap();
    answer.status().as_u16()
}

#[tokio::test]
async fn report_corrects_the_windows() {
    let (world, id) = world();
    let gate = gate(&world, |builder| builder);
    // The last report counts, and no more than the rule's highest weight.
    for (reports, expected) in [(&[10][..], 90), (&[70, 5], 85), (&[0], 85), (&[40], 45), (&[41], 4)] {
        assert_eq!(
            (send(&gate, reports).await, left(&gate, &world, id).await),
            (200, expected),
            "{reports:?}"
        );
    }
    assert_eq!(send(&gate, &[]).await, 429, "the reserve is not left");
    world.clock.advance(Duration::from_mins(2));
    assert_eq!((send(&gate, &[u32::MAX]).await, left(&gate, &world, id).await), (200, 10));
}

#[tokio::test]
async fn no_report_keeps_the_reservation() {
    let (world, id) = world();
    let gate = gate(&world, |builder| builder);
    assert_eq!((send(&gate, &[]).await, left(&gate, &world, id).await), (200, 60));
    // The client leaves before the handler works.
    let pending = service_fn(|_: Request<Empty<Bytes>>| {
        std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>()
    });
    let mut answer = Box::pin(TollgateLayer::new(gate.clone()).layer(pending).oneshot(request()));
    let polled = answer.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(polled.is_pending());
    drop(answer);
    assert_eq!(left(&gate, &world, id).await, 20);
}

#[tokio::test]
async fn debt_of_a_report_is_paid_first() {
    let (world, id) = world();
    let gate = gate(&world, |builder| builder);
    for expected in [10, 10] {
        assert_eq!(send(&gate, &[90]).await, 200);
        assert_eq!(left(&gate, &world, id).await, expected);
        world.clock.advance(Duration::from_secs(54));
    }
    assert_eq!(send(&gate, &[90]).await, 200);
    // 10 are left of 100. The next 30 units are admitted by the refill of 18 seconds, and owe 50 then.
    world.clock.advance(Duration::from_secs(18));
    assert_eq!(send(&gate, &[90]).await, 200);
    assert_eq!(left(&gate, &world, id).await, 0);
    world.clock.advance(Duration::from_secs(53));
    assert_eq!(send(&gate, &[1]).await, 429);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(send(&gate, &[1]).await, 200);
}

#[tokio::test]
async fn report_after_a_stream() {
    let (world, id) = world();
    let gate = gate(&world, |builder| builder);
    let handler = service_fn(|request: Request<Empty<Bytes>>| async move {
        let report = request.extensions().get::<WeightReport>().unwrap().clone();
        let words = futures_util::stream::unfold((0_u32, report), |(sent, report)| async move {
            report.report(sent * 3);
            let frame = http_body::Frame::data(Bytes::from_static(b"word "));
            (sent < 5).then_some((Ok::<_, Infallible>(frame), (sent + 1, report)))
        });
        Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(words))))
    });
    let service = TollgateLayer::new(gate.clone()).layer(handler);
    let answer = service.clone().oneshot(request()).await.unwrap();
    assert_eq!(left(&gate, &world, id).await, 60, "the body is not sent yet");
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), 25);
    assert_eq!(left(&gate, &world, id).await, 85);
    // The client leaves after two words.
    let mut body = service.oneshot(request()).await.unwrap().into_body();
    for _ in 0..2 {
        assert!(body.frame().await.unwrap().is_ok());
    }
    drop(body);
    assert_eq!(left(&gate, &world, id).await, 82);
}

#[tokio::test]
async fn adapters_pass_the_report_on() {
    let (world, id) = world();
    let gate = gate(&world, |builder| builder);
    let request = request();
    let admission = gate.admit(&RequestView::of(&request)).await.unwrap();
    let report = admission.weight_report().unwrap();
    report.report(12);
    drop(admission);
    assert_eq!(left(&gate, &world, id).await, 60);
    drop(report);
    assert_eq!(left(&gate, &world, id).await, 88);
    let other = with_key("GET /other", KWERY).body(()).unwrap();
    assert!(gate.admit(&RequestView::of(&other)).await.unwrap().weight_report().is_none());
}

#[tokio::test]
async fn two_gates_get_one_report() {
    let (world, id) = world();
    // The inner gate does not know that the outer one has drawn.
    let outer = gate(&world, GateBuilder::without_principal);
    let inner = gate(&world.with_limiter(tollgate::MemoryLimiter::new()), |builder| builder);
    let handler = service_fn(|request: Request<Empty<Bytes>>| async move {
        request.extensions().get::<WeightReport>().unwrap().report(7);
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let both = TollgateLayer::new(outer.clone()).layer(TollgateLayer::new(inner.clone()).layer(handler));
    assert_eq!(both.oneshot(request()).await.unwrap().status(), 200);
    assert_eq!([left(&outer, &world, id).await, left(&inner, &world, id).await], [93, 93]);
}

#[tokio::test]
async fn anonymous_request_has_a_report() {
    let world = World::new();
    let gate = gate(&world, |builder| {
        let mut plan = Plan::new("anonymous");
        plan.quotas = vec!["100 per minute".parse().unwrap()];
        let mut rule = Rule::new("POST /ask").unwrap();
        (rule.anonymous, rule.weight) = (true, Weight::Reported { reserve: 40, most: 90 });
        builder.plan(plan).anonymous("anonymous", NetworkCut::default()).rule(rule)
    });
    for (reported, left) in [(10, 60), (50, 50), (1, 0)] {
        let request = from(without_key("POST /ask"), "192.0.2.7").body(()).unwrap();
        let admission = gate.admit(&RequestView::of(&request)).await.unwrap();
        admission.weight_report().unwrap().report(reported);
        assert_eq!(gate.principal(&admission).unwrap().window_status().unwrap().remaining, left);
    }
}

/// A limiter that answers later, and one that fails when it is to correct.
#[tokio::test]
async fn correction_runs_on_its_own() {
    let (world, id) = world();
    let slow = gate(&world.with_limiter(Later(Arc::clone(&world.limiter))), |builder| builder);
    assert_eq!(send(&slow, &[10]).await, 200);
    while left(&slow, &world, id).await != 90 {
        tokio::task::yield_now().await;
    }
    let failing = Failing::new(Arc::clone(&world.limiter));
    failing.down.store(false, std::sync::atomic::Ordering::SeqCst);
    let down = Arc::clone(&failing.down);
    let broken = gate(&world.with_limiter(failing), |builder| builder);
    let admission = broken.admit(&RequestView::of(&request())).await.unwrap();
    let report = Mutex::new(admission.weight_report());
    drop(admission);
    down.store(true, std::sync::atomic::Ordering::SeqCst);
    let report = report.lock().unwrap().take().unwrap();
    report.report(1);
    drop(report);
    assert_eq!(left(&slow, &world, id).await, 50, "the reserve stays");
}
