//! Quotas that count the networks of clients.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use http::Request;
use http::request::Builder;
use support::providers::KWERY;
use support::{World, with_key};
use tollgate::account::{NetworkCut, QuotaPolicy, QuotaRef, QuotaScope};
use tollgate::adapter::Peer;
use tollgate::gate::TrustedProxies;
use tollgate::{DenialKind, Gate, GateBuilder, Plan, RequestView, Rule};

const OTHER: &str = "kwery_live_other00002";

fn quota(text: &str, ipv4: u8, ipv6: u8) -> QuotaRef {
    let counts = QuotaScope::Network(NetworkCut::new(ipv4, ipv6).unwrap());
    QuotaRef::Policy(text.parse::<QuotaPolicy>().unwrap().counting(counts))
}

/// A world with keys of two accounts, whose plan is `limited`.
fn world() -> World {
    let world = World::new();
    for secret in [KWERY, OTHER] {
        world.key(secret, |_, account| account.plan = "limited".into());
    }
    world
}

fn plan(quotas: impl IntoIterator<Item = QuotaRef>) -> Plan {
    let mut plan = Plan::new("limited");
    plan.quotas = quotas.into_iter().collect();
    plan
}

fn built(world: &World, with: impl FnOnce(GateBuilder) -> GateBuilder) -> Gate {
    with(world.kwery()).build().unwrap()
}

fn from(key: &str, address: &str) -> Builder {
    with_key("GET /v1/x", key).extension(Peer(address.parse().unwrap()))
}

#[tokio::test]
async fn keys_of_a_network_share_its_quota() {
    let world = world();
    let gate = built(&world, |builder| builder.plan(plan([quota("2 per minute", 32, 64)])));
    let requests = [from(KWERY, "192.0.2.7"), from(OTHER, "192.0.2.7"), from(OTHER, "192.0.2.7")];
    assert_eq!(world.statuses(&gate, requests).await, [200, 200, 429]);
    // The same address in its IPv6 form, and another address.
    let requests = [from(KWERY, "::ffff:192.0.2.7"), from(KWERY, "192.0.2.8")];
    assert_eq!(world.statuses(&gate, requests).await, [429, 200]);
    let requests = [from(KWERY, "2001:db8::1"), from(OTHER, "2001:db8::2"), from(KWERY, "2001:db8::3")];
    assert_eq!(world.statuses(&gate, requests).await, [200, 200, 429]);
    assert_eq!(world.statuses(&gate, [from(KWERY, "2001:db8:0:1::1")]).await, [200]);
}

#[tokio::test]
async fn cut_sets_the_size_of_a_network() {
    let world = world();
    let gate = built(&world, |builder| builder.plan(plan([quota("1 per minute", 24, 48)])));
    let requests = [from(KWERY, "192.0.2.7"), from(KWERY, "192.0.2.250"), from(KWERY, "192.0.3.7")];
    assert_eq!(world.statuses(&gate, requests).await, [200, 429, 200]);
    let requests =
        [from(KWERY, "2001:db8::1"), from(KWERY, "2001:db8:0:ffff::1"), from(KWERY, "2001:db8:1::1")];
    assert_eq!(world.statuses(&gate, requests).await, [200, 429, 200]);
}

#[tokio::test]
async fn proxies_report_the_network() {
    let world = world();
    let gate = built(&world, |builder| {
        let proxies = TrustedProxies::new(["10.0.0.0/8".parse().unwrap()]);
        builder.trusted_proxies(proxies).plan(plan([quota("1 per minute", 32, 64)]))
    });
    let through = |forwarded: &str| from(KWERY, "10.0.0.1").header("X-Forwarded-For", forwarded);
    // A client can only write the left part.
    let requests = ["192.0.2.7", "198.51.100.1, 192.0.2.7", "192.0.2.7, 10.9.9.9", "192.0.2.8"].map(through);
    assert_eq!(world.statuses(&gate, requests).await, [200, 429, 429, 200]);
    // A client that is no proxy is counted by its own address.
    let direct = || from(KWERY, "203.0.113.1").header("X-Forwarded-For", "192.0.2.9");
    assert_eq!(world.statuses(&gate, [direct(), direct()]).await, [200, 429]);
}

#[tokio::test]
async fn unknown_address_is_misconfigured() {
    let world = world();
    let mut counting = Rule::new("GET /counting").unwrap();
    counting.quotas = vec![quota("9 per minute", 32, 64)];
    let proxies = TrustedProxies::new(["10.0.0.0/8".parse().unwrap()]);
    let gate = built(&world, |builder| builder.trusted_proxies(proxies).plan(plan([])).rule(counting));
    let unknown = || Request::builder().uri("/counting").header("X-API-Key", KWERY);
    let unreadable =
        || unknown().extension(Peer("10.0.0.1".parse().unwrap())).header("X-Forwarded-For", "unknown");
    for request in [unknown(), unreadable()] {
        let request = request.body(()).unwrap();
        let denial = gate.admit(&RequestView::of(&request)).await.unwrap_err();
        assert_eq!(denial.kind(), DenialKind::Misconfigured);
        assert!(denial.operator_problem().unwrap().contains("`ConnectInfo`"));
    }
    assert_eq!(world.send(&gate, unknown()).await.status, 500);
    let elsewhere = Request::builder().uri("/other").header("X-API-Key", KWERY);
    assert_eq!(world.send(&gate, elsewhere).await.status, 200);
}

#[tokio::test]
async fn key_and_network_take_all_or_none() {
    let world = world();
    let mut rule = Rule::new("GET /v1/x").unwrap();
    rule.quotas = vec![quota("3 per minute", 32, 64)];
    let limited = plan(["2 per minute".parse().unwrap()]);
    let gate = built(&world, |builder| builder.limit_headers().plan(limited).rule(rule));
    let home = |key| from(key, "192.0.2.7");
    assert_eq!(world.statuses(&gate, [KWERY, KWERY, KWERY].map(home)).await, [200, 200, 429]);
    let answer = world.send(&gate, home(OTHER)).await;
    assert_eq!(answer.status, 200, "the key that was refused took nothing from the network");
    let told = answer.header("ratelimit").unwrap();
    // The partition key is `network rule:GET /v1/x`.
    assert!(told.contains(r#""minute";r=0;t=20;pk=:bmV0d29yayBydWxlOkdFVCAvdjEveA==:"#), "{told}");
    assert_eq!(world.statuses(&gate, [home(OTHER)]).await, [429]);
}

#[tokio::test]
async fn key_usage_leaves_networks_out() {
    let world = World::new();
    let id = world.key(KWERY, |_, account| account.plan = "limited".into());
    let quotas = [quota("2 per minute", 32, 64), "5 per hour".parse().unwrap()];
    let gate = built(&world, |builder| builder.plan(plan(quotas)));
    assert_eq!(world.statuses(&gate, [from(KWERY, "192.0.2.7")]).await, [200]);
    let record = world.store.key(id).unwrap();
    let usage = gate.key_usage(&record).await.unwrap();
    let windows: Vec<_> =
        usage.windows.iter().map(|window| (window.policy.as_str(), window.remaining)).collect();
    assert_eq!(windows, [("hour", 4)]);
}
