//! Tests of a request that passes two gates: it is judged by both, and drawn and charged once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::convert::Infallible;

use bytes::Bytes;
use http::request::Builder;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use support::{Answer, World, with_key, without_key};
use tollgate::gate::FinalCost;
use tollgate::key::KeyHasher;
use tollgate::rule::{Cost, ScopeRule};
use tollgate::{Credits, Gate, GateBuilder, KeyId, KeySource, Plan, Principal, Rule, TollgateLayer};
use tower::{Layer, ServiceExt, service_fn};

const KEY: &str = "kwery_live_0123456789";

fn costing(route: &str, cost: u64) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    rule.cost = Cost::Fixed(Credits::new(cost));
    rule.scopes = ScopeRule::Everyone;
    rule
}

/// A world with one key of 100 credits, which may be used for data and is limited to 3 requests.
fn world() -> (World, KeyId) {
    let world = World::new();
    let id = world.key(KEY, |record, account| {
        record.scopes = Some(vec!["data".into()]);
        account.plan = "limited".into();
    });
    (world, id)
}

fn gate(world: &World) -> GateBuilder {
    let mut plan = Plan::new("limited");
    plan.quotas = vec!["3 per hour".parse().unwrap()];
    let mut otherwise = Rule::otherwise();
    otherwise.scopes = ScopeRule::Everyone;
    world.kwery().plan(plan).otherwise(otherwise)
}

pub(crate) async fn send(gates: [&Gate; 2], world: &World, request: Builder) -> Answer {
    let [outer, inner] = gates.map(|gate| TollgateLayer::new(gate.clone()));
    let service = outer.layer(inner.layer(world.inner.clone()));
    Answer::read(service.oneshot(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap()).await
}

#[tokio::test]
async fn both_gates_judge_and_one_charges() {
    let (world, id) = world();
    let mut admin = Rule::new("/v1/admin").unwrap();
    admin.scopes = ScopeRule::AnyOf(vec!["admin".into()]);
    let plain = gate(&world).build().unwrap();
    let (admin, costly) = (gate(&world).rule(admin).build().unwrap(), {
        let mut rule = costing("/v1/data", 10);
        rule.scopes = ScopeRule::AnyOf(vec!["data".into()]);
        gate(&world).rule(rule).build().unwrap()
    });
    for gates in [[&admin, &plain], [&plain, &admin]] {
        assert_eq!(send(gates, &world, with_key("GET /v1/admin", KEY)).await.status, 403);
    }
    assert_eq!(world.calls(), 0);
    // Whichever of the two asks for credits takes them, and both together once.
    for (gates, left) in [([&costly, &plain], 90), ([&plain, &costly], 80), ([&costly, &costly], 70)] {
        world.clock.advance(std::time::Duration::from_hours(2));
        let served = send(gates, &world, with_key("GET /v1/data", KEY)).await;
        assert_eq!((served.status, world.balance(id)), (200, left));
        let principal = world.inner.principal().unwrap();
        assert_eq!(principal.window_status().unwrap().remaining, 2);
        assert_eq!(principal.balance().map(Credits::get), Some(left), "the handler is told what is left");
    }
    assert_eq!(world.ledger.open_charges(&world.account_of(id)), 0);
}

#[tokio::test]
async fn third_gate_adds_no_charge() {
    let (world, id) = world();
    let gate = gate(&world).rule(costing("/v1/data", 10)).build().unwrap();
    let layer = || TollgateLayer::new(gate.clone());
    let service = layer().layer(layer().layer(layer().layer(world.inner.clone())));
    let request = with_key("GET /v1/data", KEY).body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
    assert_eq!(
        (world.balance(id), world.inner.principal().unwrap().window_status().unwrap().remaining),
        (90, 2)
    );
}

#[tokio::test]
async fn lower_cost_reaches_the_charging_gate() {
    let (world, id) = world();
    let gate = gate(&world).rule(costing("/v1/data", 10)).build().unwrap();
    let inner = service_fn(|_: Request<Empty<Bytes>>| async {
        let mut response = Response::new(Full::<Bytes>::default());
        response.extensions_mut().insert(FinalCost(Credits::new(4)));
        Ok::<_, Infallible>(response)
    });
    let layer = || TollgateLayer::new(gate.clone());
    let request = with_key("GET /v1/data", KEY).body(Empty::<Bytes>::new()).unwrap();
    layer().layer(layer().layer(inner)).oneshot(request).await.unwrap();
    assert_eq!(world.balance(id), 96);
}

#[tokio::test]
async fn inner_gate_finds_the_removed_key() {
    let (world, id) = world();
    let stripping = gate(&world).strip_headers().build().unwrap();
    let plain = gate(&world).build().unwrap();
    let by_query = || without_key(&format!("GET /v1/data?a=1&api-key={KEY}"));
    world.clock.advance(std::time::Duration::from_hours(2));
    for (gates, request) in [
        ([&plain, &plain], by_query()),
        ([&stripping, &plain], with_key("GET /v1/data", KEY)),
        ([&stripping, &stripping], with_key("GET /v1/data", KEY)),
    ] {
        let served = send(gates, &world, request).await;
        assert_eq!(served.status, 200, "{served:?}");
        assert_eq!(world.inner.principal().unwrap().key(), id);
    }
    // It is judged like any other: by the inner's own rules,
    let mut admin = Rule::new("/v1/data").unwrap();
    admin.scopes = ScopeRule::AnyOf(vec!["admin".into()]);
    let strict = gate(&world).rule(admin).build().unwrap();
    world.clock.advance(std::time::Duration::from_hours(2));
    assert_eq!(send([&plain, &strict], &world, by_query()).await.status, 403);
    // in the inner's own store,
    let elsewhere = gate(&World::new()).build().unwrap();
    assert_eq!(send([&plain, &elsewhere], &world, by_query()).await.status, 401);
    // by the inner's own hashes and formats.
    let peppered = gate(&world).hasher(KeyHasher::hmac_sha256(b"a pepper of sixteen bytes").unwrap());
    assert_eq!(send([&plain, &peppered.build().unwrap()], &world, by_query()).await.status, 401);
    world.clock.advance(std::time::Duration::from_hours(2));
    let format = tollgate::KeyFormat::new("other_", tollgate::key::Length::exactly(32)).unwrap();
    let other =
        world.bare().source(KeySource::query("api-key").unwrap()).format(format).plan(Plan::new("limited"));
    assert_eq!(send([&plain, &other.build().unwrap()], &world, by_query()).await.status, 401);
}

#[tokio::test]
async fn present_key_wins_over_a_removed_key() {
    let (world, _) = world();
    let bad = Gate::builder().source(KeySource::header("X-Other").unwrap()).plan(Plan::new("limited"));
    let format = tollgate::KeyFormat::new("", tollgate::key::Length::between(10, 256)).unwrap();
    let bad = bad.format(format).store(std::sync::Arc::clone(&world.store)).clock(world.clock.clone());
    let bad = bad.build().unwrap();
    let plain = gate(&world).build().unwrap();
    let request = without_key(&format!("GET /v1/data?api-key={KEY}"));
    assert_eq!(send([&plain, &bad], &world, request.header("x-other", "unknown_to_all")).await.status, 401);
}

/// The same id in another store is another key: it excuses no charge.
#[tokio::test]
async fn principal_of_another_store_is_charged() {
    let (world, id) = world();
    let other = World::new();
    other.key("kwery_live_of_another_store", |_, account| account.plan = "limited".into());
    let foreign = {
        let gate = gate(&other).rule(costing("/v1/data", 1)).build().unwrap();
        let request = with_key("GET /v1/x", "kwery_live_of_another_store").body(()).unwrap();
        let admission = gate.admit(&tollgate::RequestView::of(&request)).await.unwrap();
        gate.principal(&admission).unwrap()
    };
    assert_eq!(foreign.key(), id, "the ids are the same");
    let gate = gate(&world).rule(costing("/v1/data", 10)).build().unwrap();
    let request = with_key("GET /v1/data", KEY).extension(foreign);
    assert_eq!(world.send(&gate, request).await.status, 200);
    assert_eq!(world.balance(id), 90);
}

#[cfg(feature = "actix-web")]
#[actix_web::test]
async fn two_actix_gates_charge_once() {
    use actix_web::test::{TestRequest, call_service, init_service};
    use actix_web::{App, web};
    use tollgate::TollgateTransform;

    let (world, id) = world();
    let costly = gate(&world).rule(costing("/v1/data", 10)).build().unwrap();
    let told = async |who: Principal| format!("{:?}", who.balance().map(Credits::get));
    let scope =
        web::scope("/v1").wrap(TollgateTransform::new(costly.clone())).route("/data", web::get().to(told));
    let app = init_service(App::new().service(scope).wrap(TollgateTransform::new(costly))).await;
    let request = TestRequest::with_uri(&format!("/v1/data?api-key={KEY}&a=1")).to_request();
    let answer = call_service(&app, request).await;
    assert_eq!((answer.status().as_u16(), world.balance(id)), (200, 90));
    assert_eq!(actix_web::test::read_body(answer).await, "Some(90)");
}
