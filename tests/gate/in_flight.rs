//! Limits on requests in flight: whose requests they count, and what a refusal leaves untouched.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;
use crate::two_gates::send;

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use support::faulty_back_ends::{Failing, Later};
use support::providers::KWERY;
use support::{World, from, with_key, without_key};
use tollgate::account::{InFlightLimit, NetworkCut, QuotaPolicy, QuotaRef, QuotaScope};
use tollgate::adapter::Peer;
use tollgate::gate::{Admission, Check, Outcome};
use tollgate::key::KeyStatus;
use tollgate::rule::Cost;
use tollgate::{
    Config, Credits, Denial, DenialKind, Gate, GateBuilder, KeyId, Plan, RequestView, Rule, TollgateLayer,
};
use tower::{Layer, ServiceExt};

const OTHER: &str = "kwery_live_other00002";

/// A builder with the default order of the checks.
fn gate_of(world: &World) -> GateBuilder {
    world.kwery().order([])
}

fn limit(most: u32) -> InFlightLimit {
    InFlightLimit::new(most).unwrap()
}

fn plan(in_flight: Option<InFlightLimit>) -> Plan {
    let mut plan = Plan::new("limited");
    plan.in_flight = in_flight;
    plan
}

fn rule(route: &str, in_flight: Option<InFlightLimit>) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    rule.in_flight = in_flight;
    rule
}

/// A world with two keys of one account, whose plan is `limited`.
fn world() -> (World, [KeyId; 2]) {
    let world = World::new();
    let key = |secret| {
        world.key(secret, |_, account| (account.id, account.plan) = ("ada".into(), "limited".into()))
    };
    let keys = [KWERY, OTHER].map(key);
    (world, keys)
}

async fn admit(gate: &Gate, route: &str, key: &str) -> Result<Admission, Denial> {
    admit_from(gate, route, key, "203.0.113.9").await
}

async fn admit_from(gate: &Gate, route: &str, key: &str, address: &str) -> Result<Admission, Denial> {
    let (method, path) = route.split_once(' ').unwrap();
    let request = Request::builder().method(method).uri(path).header("X-API-Key", key);
    let request = request.extension(Peer(address.parse().unwrap())).body(()).unwrap();
    gate.admit(&RequestView::of(&request)).await
}

/// Returns the admissions among these requests, each a route and a key.
async fn admitted(gate: &Gate, requests: &[(&str, &str)]) -> Vec<Admission> {
    let mut admitted = Vec::new();
    for (route, key) in requests {
        match admit(gate, route, key).await {
            Ok(admission) => admitted.push(admission),
            Err(denial) => assert_eq!(denial.kind(), DenialKind::InFlightLimited),
        }
    }
    admitted
}

#[tokio::test]
async fn finished_requests_free_their_slots() {
    let (world, _) = world();
    let gate = gate_of(&world).plan(plan(Some(limit(2)))).build().unwrap();
    let all = [("GET /a", KWERY); 3];
    for _ in 0..3 {
        let mut held = admitted(&gate, &all).await;
        assert_eq!(held.len(), 2);
        held.remove(0).finish(Outcome::Served).await.unwrap();
        assert_eq!(admitted(&gate, &all).await.len(), 1, "a finished request frees its slot");
        // Dropped without an outcome, as when a handler panics.
        drop(held);
    }
    let mut admission = admit(&gate, "GET /a", KWERY).await.unwrap();
    let slot = admission.slot().unwrap();
    drop(admission);
    assert_eq!(admitted(&gate, &all).await.len(), 1, "a clone of the slot holds it");
    drop(slot);
    assert_eq!(admitted(&gate, &all).await.len(), 2);
    assert!(
        admit(&gate_of(&world).plan(plan(None)).build().unwrap(), "GET /a", KWERY)
            .await
            .unwrap()
            .slot()
            .is_none()
    );
}

type Build = fn(GateBuilder) -> GateBuilder;

#[tokio::test]
async fn limits_count_their_owners() {
    let (a, b) = (("GET /a", KWERY), ("GET /b", KWERY));
    let (other_a, other_b) = (("GET /a", OTHER), ("GET /b", OTHER));
    let requests = [a, a, b, b, other_a, other_a, other_b, other_b];
    let account = |most| limit(most).counting(QuotaScope::Account);
    let pool = |most| limit(most).counting(QuotaScope::Pool("all".into()));
    let total: Build = |builder| builder.in_flight(limit(3));
    let none: Build = |builder| builder;
    let rows = [
        ("a key", plan(Some(limit(3))), [None, None], none, 6),
        ("an account", plan(Some(account(3))), [None, None], none, 3),
        ("a pool", plan(Some(pool(5))), [None, None], none, 5),
        ("a rule, by key", plan(None), [Some(limit(1)), None], none, 6),
        ("two rules", plan(None), [Some(limit(1)), Some(limit(1))], none, 4),
        ("two rules and the plan", plan(Some(limit(1))), [Some(limit(1)), Some(limit(1))], none, 2),
        ("a rule, by account", plan(None), [Some(account(1)), None], none, 5),
        ("all requests", plan(None), [None, None], total, 3),
        ("all requests and a rule", plan(None), [Some(limit(1)), None], total, 3),
        ("all requests and the plan", plan(Some(limit(1))), [None, None], total, 2),
    ];
    for (name, plan, [of_a, of_b], with, expected) in rows {
        let (world, _) = world();
        let builder = gate_of(&world).plan(plan).rule(rule("/a", of_a)).rule(rule("/b", of_b));
        let gate = with(builder).build().unwrap();
        for _ in 0..2 {
            assert_eq!(admitted(&gate, &requests).await.len(), expected, "{name}");
        }
    }
}

#[tokio::test]
async fn networks_are_counted() {
    let (world, _) = world();
    let network = QuotaScope::Network(NetworkCut::new(24, 64).unwrap());
    let gate = gate_of(&world).plan(plan(Some(limit(1).counting(network)))).build().unwrap();
    let held = admit_from(&gate, "GET /a", KWERY, "192.0.2.1").await.unwrap();
    let denied = admit_from(&gate, "GET /a", OTHER, "192.0.2.200").await.unwrap_err();
    assert_eq!(denied.kind(), DenialKind::InFlightLimited);
    assert!(admit_from(&gate, "GET /a", OTHER, "192.0.3.1").await.is_ok());
    drop(held);
    assert!(admit_from(&gate, "GET /a", OTHER, "192.0.2.200").await.is_ok());
    // A client whose address is unknown does not escape the limit.
    let request = Request::get("/a").header("X-API-Key", KWERY).body(()).unwrap();
    let denied = gate.admit(&RequestView::of(&request)).await.unwrap_err();
    assert_eq!(denied.kind(), DenialKind::Misconfigured);
}

#[tokio::test]
async fn anonymous_requests_are_counted_by_network() {
    let (world, _) = world();
    let mut open = rule("GET /a", Some(limit(1).counting(QuotaScope::Account)));
    open.anonymous = true;
    let mut plan = plan(Some(limit(2)));
    plan.quotas.push("1000 per minute".parse().unwrap());
    let builder = gate_of(&world).plan(plan).rule(open);
    let gate = builder.anonymous("limited", NetworkCut::default()).build().unwrap();
    let admit = async |address: &str| {
        let request = Request::get("/a").extension(Peer(address.parse().unwrap())).body(()).unwrap();
        gate.admit(&RequestView::of(&request)).await
    };
    let held = admit("192.0.2.1").await.unwrap();
    assert_eq!(admit("192.0.2.1").await.unwrap_err().kind(), DenialKind::InFlightLimited);
    assert!(admit("192.0.2.2").await.is_ok());
    // A key has slots of its own.
    assert_eq!(admitted(&gate, &[("GET /a", KWERY); 2]).await.len(), 1);
    drop(held);
    assert!(admit("192.0.2.1").await.is_ok());
}

#[tokio::test]
async fn key_limit_replaces_the_plans() {
    let (world, [id, _]) = world();
    let gate = gate_of(&world).plan(plan(Some(limit(2)))).build().unwrap();
    let set = |most| {
        let mut record = (*world.store.key(id).unwrap()).clone();
        record.in_flight = most;
        world.store.put_key(record);
    };
    for (most, expected) in [(None, 2), (Some(1), 1), (Some(3), 3), (None, 2)] {
        set(most);
        assert_eq!(admitted(&gate, &[("GET /a", KWERY); 4]).await.len(), expected, "{most:?}");
        assert_eq!(
            admitted(&gate, &[("GET /a", OTHER); 4]).await.len(),
            2,
            "another key has the plan's limit"
        );
    }
    // The slots that are held count towards a new limit.
    let held = admitted(&gate, &[("GET /a", KWERY); 2]).await;
    set(Some(3));
    assert_eq!(admitted(&gate, &[("GET /a", KWERY); 4]).await.len(), 1);
    drop(held);
    assert_eq!(admitted(&gate, &[("GET /a", KWERY); 4]).await.len(), 3);
}

fn costly(in_flight: Option<InFlightLimit>) -> Rule {
    let mut costly = rule("GET /costly", in_flight);
    costly.cost = Cost::Fixed(Credits::new(10));
    costly
}

#[tokio::test]
async fn refused_request_draws_and_pays_nothing() {
    let (world, [id, _]) = world();
    let mut plan = plan(Some(limit(1)));
    plan.quotas.push("3 per hour".parse().unwrap());
    let gate = gate_of(&world).limit_headers().plan(plan).rule(costly(None)).build().unwrap();
    let held = admit(&gate, "GET /costly", KWERY).await.unwrap();
    for _ in 0..5 {
        let answer = world.send(&gate, with_key("GET /costly", KWERY)).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
        assert_eq!(answer.member("/error"), "in_flight_limited", "{answer:?}");
    }
    assert_eq!(world.balance(id), 90, "only the first request was charged");
    held.finish(Outcome::Served).await.unwrap();
    let answer = world.send(&gate, with_key("GET /costly", KWERY)).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("ratelimit").unwrap().starts_with("\"hour\";r=1"), "{answer:?}");
}

#[tokio::test]
async fn limit_headers_name_the_limit() {
    const AT_ONCE: &str = "qu=\"concurrent-requests\"";
    let (of_plan, of_rule) = (limit(1), limit(1).counting(QuotaScope::Account));
    let rows: [(_, _, Build, _); 3] = [
        (Some(of_plan), None, |builder| builder, format!("\"in_flight\";q=1;{AT_ONCE}")),
        // `account rule:GET /a`
        (
            None,
            Some(of_rule),
            |builder| builder,
            format!("\"in_flight\";q=1;{AT_ONCE};pk=:YWNjb3VudCBydWxlOkdFVCAvYQ==:"),
        ),
        // `all`
        (None, None, |builder| builder.in_flight(limit(1)), format!("\"in_flight\";q=1;{AT_ONCE};pk=:YWxs:")),
    ];
    for (of_plan, of_rule, with, policy) in rows {
        let (world, [id, _]) = world();
        let mut plan = plan(of_plan);
        plan.quotas.push("3 per hour".parse().unwrap());
        let builder = gate_of(&world).limit_headers().plan(plan).rule(rule("GET /a", of_rule));
        let gate = with(builder).build().unwrap();
        let answer = world.send(&gate, with_key("GET /a", KWERY)).await;
        assert_eq!(answer.header("ratelimit-policy").unwrap(), format!("\"hour\";q=3;w=3600, {policy}"));
        assert_eq!(answer.header("ratelimit"), Some("\"hour\";r=2;t=1200"));
        let held = admit(&gate, "GET /a", KWERY).await.unwrap();
        // No time is known after which a slot is free.
        let answer = world.send(&gate, with_key("GET /a", KWERY)).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
        assert_eq!(answer.header("ratelimit-policy").unwrap(), policy);
        let limit = policy.replace(&format!("q=1;{AT_ONCE}"), "r=0");
        assert_eq!(answer.header("ratelimit").unwrap(), limit);
        drop(held);
        // A denial that does not tell whether the key exists has no limit of it.
        let mut record = (*world.store.key(id).unwrap()).clone();
        record.status = KeyStatus::Revoked;
        world.store.put_key(record);
        let answer = world.send(&gate, with_key("GET /a", KWERY)).await;
        assert_eq!((answer.status, answer.header("ratelimit-policy")), (401, None));
    }
}

fn public(route: &str, in_flight: InFlightLimit) -> Rule {
    let mut public = rule(route, Some(in_flight));
    public.public = true;
    public
}

fn of_network(most: u32) -> InFlightLimit {
    limit(most).counting(QuotaScope::Network(NetworkCut::default()))
}

async fn enter(gate: &Gate, path: &str, address: &str) -> Result<Admission, Denial> {
    let request = Request::get(path).extension(Peer(address.parse().unwrap())).body(()).unwrap();
    gate.admit(&RequestView::of(&request)).await
}

#[tokio::test]
async fn public_requests_are_counted_by_network() {
    for later in [false, true] {
        let (mut world, _) = world();
        if later {
            world = world.with_limiter(Later(Arc::clone(&world.limiter)));
        }
        let pool = limit(3).counting(QuotaScope::Pool("status".into()));
        let builder = gate_of(&world).rule(public("GET /a", of_network(2))).rule(public("GET /b", pool));
        let gate = builder.plan(plan(None)).in_flight(limit(1)).build().unwrap();
        for _ in 0..2 {
            let mut held = Vec::new();
            for _ in 0..2 {
                held.push(enter(&gate, "/a", "192.0.2.1").await.unwrap());
            }
            let denied = enter(&gate, "/a", "192.0.2.1").await.unwrap_err();
            assert_eq!(denied.kind(), DenialKind::InFlightLimited);
            assert_eq!(denied.rule().unwrap().route(), "GET /a");
            held.push(enter(&gate, "/a", "192.0.2.2").await.unwrap());
            for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
                held.push(enter(&gate, "/b", address).await.unwrap());
            }
            assert!(enter(&gate, "/b", "192.0.2.4").await.is_err());
            // The limit on all requests is that of requests with a key.
            assert_eq!(admitted(&gate, &[("GET /c", KWERY); 2]).await.len(), 1);
        }
    }
}

#[tokio::test]
async fn full_public_rule_draws_nothing() {
    for (order, left) in [(&[] as &[Check], 1), (&[Check::Format, Check::LookUp, Check::RateLimits], 0)] {
        let (world, _) = world();
        let network = QuotaScope::Network(NetworkCut::default());
        let mut rule = public("GET /a", of_network(1));
        rule.quotas.push(QuotaRef::Policy("3 per hour".parse::<QuotaPolicy>().unwrap().counting(network)));
        let gate = gate_of(&world).order(order.iter().copied()).rule(rule).limit_headers().build().unwrap();
        let held = enter(&gate, "/a", "192.0.2.1").await.unwrap();
        let home = || from(without_key("GET /a"), "192.0.2.1");
        let answer = world.send(&gate, home()).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
        assert_eq!(answer.member("/error"), "in_flight_limited");
        assert!(answer.header("ratelimit").unwrap().contains("\"in_flight\";r=0;pk="), "{answer:?}");
        drop(held);
        let answer = world.send(&gate, home()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let (told, policies) = (answer.header("ratelimit").unwrap(), answer.header("ratelimit-policy"));
        assert!(told.starts_with(&format!("\"hour\";r={left};t=1200;pk=")), "{told}");
        assert!(policies.unwrap().contains(", \"in_flight\";q=1;qu="), "{answer:?}");
        // A request that a quota denies gives its slot back.
        for _ in 0..3 {
            let _ = enter(&gate, "/a", "192.0.2.1").await;
        }
        assert_eq!(enter(&gate, "/a", "192.0.2.1").await.unwrap_err().kind(), DenialKind::RateLimited);
    }
}

#[tokio::test]
async fn later_denial_frees_the_slot() {
    let (world, [id, _]) = world();
    let gate = gate_of(&world).plan(plan(Some(limit(1)))).rule(costly(None)).build().unwrap();
    world.set_balance(id, 0);
    for _ in 0..3 {
        let denial = admit(&gate, "GET /costly", KWERY).await.unwrap_err();
        assert_eq!(denial.kind(), DenialKind::CreditsExhausted);
    }
    // The slot is free although the decision and its denial are still there.
    let denial = admit(&gate, "GET /costly", KWERY).await.unwrap_err();
    assert_eq!(admitted(&gate, &[("GET /free", KWERY); 2]).await.len(), 1);
    drop(denial);
}

#[tokio::test]
async fn order_is_configurable() {
    let (first, last) = (&[] as &[Check], &[Check::Format, Check::LookUp, Check::RateLimits, Check::Credits]);
    for (order, left) in [(first, 2), (last, 0)] {
        let (world, [id, _]) = world();
        let mut plan = plan(Some(limit(1)));
        plan.quotas.push("3 per hour".parse().unwrap());
        let builder = gate_of(&world).order(order.iter().copied()).plan(plan).rule(costly(None));
        let gate = builder.build().unwrap();
        let held = admit(&gate, "GET /costly", KWERY).await.unwrap();
        for _ in 0..2 {
            let denial = admit(&gate, "GET /costly", KWERY).await.unwrap_err();
            assert_eq!(denial.kind(), DenialKind::InFlightLimited);
        }
        // The charge of a refused request is refunded, whatever the order. A draw is not.
        assert_eq!(world.balance(id), 90);
        held.finish(Outcome::Served).await.unwrap();
        let window = &gate.key_usage(&world.store.key(id).unwrap()).await.unwrap().windows[0];
        assert_eq!(window.remaining, left, "{order:?}");
    }
}

#[tokio::test]
async fn status_503_is_configurable() {
    const KEY: &str = "acme_0123456789abcdef0123456789abcdef";
    let (world, _) = world();
    world.key(KEY, |_, account| account.plan = "limited".into());
    let text = "sources = [{ header = 'X-API-Key' }]
        formats = [{ prefix = 'acme_', body = 32 }]
        plans.limited.in_flight = 1
        errors.in_flight_limited.status = 503";
    let config = Config::from_toml(text, "acme.toml").unwrap();
    let gate = config.builder().unwrap().store(world.store.clone()).build().unwrap();
    let held = admit(&gate, "GET /a", KEY).await.unwrap();
    let answer = world.send(&gate, with_key("GET /a", KEY)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(answer.member("/detail"), "Too many requests are in flight: at most 1 are allowed at once.");
    drop(held);
}

#[tokio::test]
async fn two_layers_hold_one_slot() {
    let (world, _) = world();
    let one = |builder: GateBuilder| builder.plan(plan(Some(limit(1)))).build().unwrap();
    let (gate, other) = (one(gate_of(&world)), one(gate_of(&world)));
    // The same gate, and another gate with the same limiter.
    for gates in [[&gate, &gate], [&gate, &other], [&other, &gate]] {
        for _ in 0..2 {
            assert_eq!(send(gates, &world, with_key("GET /a", KWERY)).await.status, 200);
        }
    }
    // An inner gate applies the limit of its own rule and its limit on all requests, which the outer gate does not hold.
    let account = || limit(1).counting(QuotaScope::Account);
    let (of_rule, of_all) = (
        one(gate_of(&world).rule(rule("GET /a", Some(account())))),
        one(gate_of(&world).in_flight(limit(1))),
    );
    for inner in [&of_rule, &of_all] {
        let held = admit(inner, "GET /a", OTHER).await.unwrap();
        assert_eq!(send([&gate, inner], &world, with_key("GET /a", KWERY)).await.status, 429);
        assert_eq!(send([inner, &gate], &world, with_key("GET /a", KWERY)).await.status, 429);
        drop(held);
        assert_eq!(send([&gate, inner], &world, with_key("GET /a", KWERY)).await.status, 200);
        assert_eq!(send([inner, &gate], &world, with_key("GET /a", KWERY)).await.status, 200);
    }
}

#[tokio::test]
async fn revocation_needs_no_slot() {
    let (world, [id, _]) = world();
    let gate = gate_of(&world).plan(plan(Some(limit(1)))).management("/keys").build().unwrap();
    let held = admit(&gate, "GET /a", KWERY).await.unwrap();
    let service = TollgateLayer::new(gate).layer(world.inner.clone());
    let status = async |route: &str| {
        let request = with_key(route, KWERY).body(Empty::<Bytes>::new()).unwrap();
        service.clone().oneshot(request).await.unwrap().status().as_u16()
    };
    assert_eq!(status("GET /keys").await, 429);
    assert_eq!(status(&format!("DELETE /keys/{id}")).await, 204);
    drop(held);
}

/// A limiter that has no slots would refuse every request.
#[test]
fn limiter_without_slots_fails_at_start() {
    let world = World::new();
    let of = |limiter| world.with_limiter(limiter).kwery();
    let lacking = || of(Failing::new(Arc::clone(&world.limiter)));
    let rows: [(&str, &str, Build); 3] = [
        ("in_flight", "3", |builder| builder.in_flight(limit(3))),
        ("plans.limited.in_flight", "4", |builder| builder.plan(plan(Some(limit(4))))),
        ("rules[0].in_flight", "5", |builder| builder.rule(rule("GET /a", Some(limit(5))))),
    ];
    for (member, value, build) in rows {
        let error = build(lacking()).build().unwrap_err();
        assert_eq!((error.member(), error.value()), (member, value));
        assert!(
            error.problem().contains("does not limit") && error.expected().contains("RedisLimiter"),
            "{error}"
        );
        assert!(build(world.kwery()).build().is_ok(), "{member}");
    }
    assert!(lacking().plan(plan(None)).build().is_ok());
}

/// Each node then applies its share of the limit.
#[cfg(feature = "fleet")]
#[tokio::test]
async fn fallback_has_slots_for_a_limiter_without() {
    use tollgate::guard::{BackEndPolicies, GuardLimits, LimiterFailure, LimiterPolicy};
    use tollgate::limit::{LocalFallback, LocalShare};

    let (world, _) = world();
    let lacking = Failing::new(Arc::clone(&world.limiter));
    lacking.down.store(false, std::sync::atomic::Ordering::Relaxed);
    let nodes = 2.try_into().unwrap();
    let mut policies = BackEndPolicies::default();
    let on_failure = LimiterFailure::Local(nodes);
    policies.limiter = Some(LimiterPolicy { limits: GuardLimits::default(), on_failure });
    let fallback = LocalFallback::new(lacking.clone(), LocalShare::new(nodes));
    let gates = [
        gate_of(&world.with_limiter(fallback)),
        gate_of(&world.with_limiter(lacking)).back_end_policies(policies),
    ];
    for builder in gates {
        let gate = builder.plan(plan(Some(limit(4)))).build().unwrap();
        for _ in 0..2 {
            assert_eq!(admitted(&gate, &[("GET /a", KWERY); 4]).await.len(), 2, "the share of two nodes");
        }
    }
}

#[tokio::test]
async fn client_that_leaves_frees_the_slot() {
    use std::future::Future;
    use std::task::{Context, Waker};

    let (world, _) = world();
    // A ledger that answers later: the decision waits, with the slot held.
    let later = world.with_ledger(Later(world.ledger.clone()));
    let gate = gate_of(&later).plan(plan(Some(limit(1)))).rule(costly(None)).build().unwrap();
    let request = Request::get("/costly").header("X-API-Key", KWERY).body(()).unwrap();
    let view = RequestView::of(&request);
    {
        let mut waiting = std::pin::pin!(gate.admit(&view));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(admitted(&gate, &[("GET /free", KWERY)]).await.len(), 0, "the slot is held");
    }
    assert_eq!(admitted(&gate, &[("GET /free", KWERY)]).await.len(), 1);
}
