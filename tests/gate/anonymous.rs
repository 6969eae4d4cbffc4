//! Requests without a key under a plan of their own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::time::Duration;

use http::Request;
use http::request::Builder;
use support::events::Recorder;
use support::{World, from, with_key, without_key};
use tollgate::account::{Allowance, NetworkCut, ParamLimit, PlanRule, QuotaPolicy, QuotaRef, QuotaScope};
use tollgate::gate::{AttemptLimit, TrustedProxies};
use tollgate::key::{KeyStatus, Length};
use tollgate::manage::ManageError;
use tollgate::rule::{Cost, ScopeRule};
use tollgate::telemetry::DecisionOutcome;
use tollgate::usage::{UsageFilter, UsageOptions, UsageStep};
use tollgate::{
    Credits, DenialKind, Gate, GateBuilder, KeyFormat, KeyManager, KeySource, NewKey, Plan, RequestView, Rule,
};

const KEY: &str = "acme_0123456789abcdef0123456789abcdef";

fn plan(name: &str, quotas: &[&str]) -> Plan {
    let mut plan = Plan::new(name);
    plan.quotas = quotas.iter().map(|text| text.parse().unwrap()).collect();
    plan
}

fn open(route: &str) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    rule.anonymous = true;
    rule
}

/// A builder whose anonymous requests are limited to two a minute, at `GET /ticker` alone.
fn builder(world: &World) -> GateBuilder {
    world
        .bare()
        .source(KeySource::header("X-API-Key").unwrap())
        .source(KeySource::authorization("Bearer").unwrap())
        .source(KeySource::query("api-key").unwrap())
        .format(KeyFormat::new("acme_", Length::exactly(32)).unwrap())
        .literal("demo")
        .plan(plan("anonymous", &["2 per minute"]))
        .anonymous("anonymous", NetworkCut::default())
        .rule(open("GET /ticker"))
}

fn built(world: &World, with: impl FnOnce(GateBuilder) -> GateBuilder) -> Gate {
    with(builder(world)).build().unwrap()
}

fn home(route: &str) -> Builder {
    from(without_key(route), "192.0.2.7")
}

#[tokio::test]
async fn keyless_request_has_a_principal() {
    let world = World::new();
    let gate = built(&world, |builder| builder);
    let request = home("GET /ticker").body(()).unwrap();
    let admission = gate.admit(&RequestView::of(&request)).await.unwrap();
    assert!(admission.is_anonymous() && !admission.is_public());
    assert_eq!(admission.key(), None);
    let principal = gate.principal(&admission).unwrap();
    assert!(principal.is_anonymous());
    assert_eq!((principal.plan().name.as_str(), principal.cost()), ("anonymous", Credits::ZERO));
    assert_eq!(principal.window_status().unwrap().remaining, 1);

    world.plain_key(KEY);
    let request = with_key("GET /ticker", KEY).body(()).unwrap();
    let admission = gate.admit(&RequestView::of(&request)).await.unwrap();
    assert!(!admission.is_anonymous() && !gate.principal(&admission).unwrap().is_anonymous());
}

#[tokio::test]
async fn networks_are_limited_apart() {
    let world = World::new();
    let gate = built(&world, GateBuilder::limit_headers);
    let ticker = |address| from(without_key("GET /ticker"), address);
    let answer = world.send(&gate, ticker("192.0.2.7")).await;
    // The partition key is `network anonymous`.
    let key = "pk=:bmV0d29yayBhbm9ueW1vdXM=:";
    assert_eq!(answer.header("ratelimit").unwrap(), format!("\"minute\";r=1;t=30;{key}"));
    let requests = ["192.0.2.7", "192.0.2.7", "192.0.2.8", "2001:db8::1", "2001:db8::2", "2001:db8::3"];
    assert_eq!(world.statuses(&gate, requests.map(ticker)).await, [200, 429, 200, 200, 200, 429]);
    let denied = world.send(&gate, ticker("192.0.2.7")).await;
    assert_eq!((denied.status, denied.header("retry-after")), (429, Some("30")));
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(world.statuses(&gate, ["192.0.2.7"; 2].map(ticker)).await, [200, 429]);
}

/// A request with anything that is meant as a key is denied, whatever is wrong with it.
#[tokio::test]
async fn bad_key_is_never_anonymous() {
    use DenialKind as Kind;

    let world = World::new();
    let other = "acme_ffffffffffffffffffffffffffffffff";
    let keyed = |status: Option<KeyStatus>| {
        let secret = format!("acme_{:032}", status.map_or(9, |status| status as u8));
        world.key(&secret, |record, _| {
            record.status = status.unwrap_or_default();
            if status.is_none() {
                record.expires_at = Some("2026-04-30T12:00:00Z".parse().unwrap());
            }
        });
        secret
    };
    let [revoked, paused, expired] = [Some(KeyStatus::Revoked), Some(KeyStatus::Paused), None].map(keyed);
    world.plain_key(KEY);
    world.key("acme_restricted00000000000000000000000", |_, _| {});
    let suspended = "acme_suspended0000000000000000000000a";
    world.key(suspended, |_, account| account.status = tollgate::account::AccountStatus::Suspended);
    let away = "acme_away0000000000000000000000000000";
    world.key(away, |record, _| record.allowlist = Some(vec!["198.51.100.0/24".parse().unwrap()]));
    let gate = built(&world, |builder| builder);
    let rejecting = built(&world, GateBuilder::refuse_conflicts);

    let plain = || home("GET /ticker");
    let query = |query: &str| home(&format!("GET /ticker?{query}"));
    let bearer = |credential: &str| plain().header("authorization", credential);
    let rows: Vec<(&str, Builder, Kind)> = vec![
        ("an empty header", plain().header("x-api-key", ""), Kind::InvalidFormat),
        ("another format", plain().header("x-api-key", "other_0123"), Kind::InvalidFormat),
        ("not text", plain().header("x-api-key", &b"\xff"[..]), Kind::InvalidFormat),
        ("an unknown key", plain().header("x-api-key", other), Kind::Unknown),
        ("a revoked key", plain().header("x-api-key", &*revoked), Kind::Revoked),
        ("a paused key", plain().header("x-api-key", &*paused), Kind::Paused),
        ("an expired key", plain().header("x-api-key", &*expired), Kind::Expired),
        ("a suspended account", plain().header("x-api-key", suspended), Kind::AccountSuspended),
        ("another address", plain().header("x-api-key", away), Kind::AddressNotAllowed),
        ("an unknown literal", plain().header("x-api-key", "demo"), Kind::Unknown),
        ("a key twice", plain().header("x-api-key", KEY).header("x-api-key", KEY), Kind::Duplicate),
        ("a scheme alone", bearer("Bearer"), Kind::Malformed),
        ("a scheme and a space", bearer("Bearer "), Kind::Malformed),
        ("a foreign scheme", bearer("Basic QTpC"), Kind::Malformed),
        ("an unknown bearer", bearer(&format!("Bearer {other}")), Kind::Unknown),
        ("two credentials", bearer("Bearer a").header("authorization", "Bearer b"), Kind::Duplicate),
        ("an empty parameter", query("api-key="), Kind::InvalidFormat),
        ("a parameter alone", query("api-key"), Kind::InvalidFormat),
        ("an encoded name", query("api%2Dkey=x"), Kind::InvalidFormat),
        ("an unknown parameter", query(&format!("api-key={other}")), Kind::Unknown),
        ("a parameter twice", query(&format!("api-key={KEY}&api-key={KEY}")), Kind::Duplicate),
        (
            "an empty header before a key",
            query(&format!("api-key={KEY}")).header("x-api-key", ""),
            Kind::InvalidFormat,
        ),
        ("a key in another parameter", query(&format!("key={KEY}")), Kind::Malformed),
        ("an encoded key there", query(&format!("key={}", KEY.replace('_', "%5F"))), Kind::Malformed),
        ("a key in another header", plain().header("api-key", KEY), Kind::Malformed),
        ("a literal in another header", plain().header("api-key", "demo"), Kind::Malformed),
    ];
    for (name, request, kind) in rows {
        let request = request.body(()).unwrap();
        let denial = gate.admit(&RequestView::of(&request)).await.expect_err(name);
        assert_eq!(denial.kind(), kind, "{name}");
    }
    let both = plain().header("x-api-key", KEY).header("authorization", format!("Bearer {KEY}"));
    let both = both.body(()).unwrap();
    assert_eq!(rejecting.admit(&RequestView::of(&both)).await.unwrap_err().kind(), Kind::Duplicate);
    // None of them was counted as a request without a key.
    assert_eq!(world.statuses(&gate, [plain(), plain(), plain()]).await, [200, 200, 429]);
}

#[tokio::test]
async fn key_beside_the_only_source_is_denied() {
    let world = World::new();
    let gate = world
        .bare()
        .source(KeySource::header("X-Acme-Key").unwrap())
        .format(KeyFormat::new("acme_", Length::exactly(32)).unwrap())
        .plan(plan("anonymous", &["9 per minute"]))
        .anonymous("anonymous", NetworkCut::default())
        .rule(open("GET /ticker"))
        .build()
        .unwrap();
    let plain = || home("GET /ticker");
    let bearer = plain().header("authorization", format!("Bearer {KEY}"));
    let requests =
        [bearer, plain().header("x-api-key", KEY), plain().header("authorization", "Basic QTpC"), plain()];
    assert_eq!(world.statuses(&gate, requests).await, [401, 401, 200, 200]);
}

#[tokio::test]
async fn only_rules_that_say_so_serve_without_a_key() {
    let world = World::new();
    let mut named = open("GET /named/{x}");
    named.scopes = ScopeRule::AnyOf(vec!["read".into()]);
    let gate = built(&world, |builder| builder.rule(Rule::new("GET /closed").unwrap()).rule(named));
    let requests =
        ["GET /closed", "GET /nowhere", "POST /ticker", "GET /ticker/", "GET /named/%61"].map(home);
    assert_eq!(world.statuses(&gate, requests).await, [401, 401, 401, 401, 200]);
    assert_eq!(
        world.statuses(&gate, ["GET /named/a/../b", "GET /named//", "GET /named/a%2Fb"].map(home)).await,
        [401; 3]
    );
}

#[tokio::test]
async fn rule_quotas_count_the_network() {
    let world = World::new();
    world.plain_key(KEY);
    let mut anonymous = plan("anonymous", &["5 per minute"]);
    let mut terms = PlanRule::default();
    terms.quotas = vec!["1 per minute".parse().unwrap()];
    anonymous.rules.insert("GET /rare".to_owned(), terms);
    let account = "3 per hour".parse::<QuotaPolicy>().unwrap().counting(QuotaScope::Account);
    let mut rare = open("GET /rare");
    rare.quotas = vec!["9 per minute".parse().unwrap(), QuotaRef::Policy(account)];
    let gate = world
        .bare()
        .source(KeySource::header("X-API-Key").unwrap())
        .format(KeyFormat::new("acme_", Length::exactly(32)).unwrap())
        .plan(anonymous)
        .anonymous("anonymous", NetworkCut::new(24, 64).unwrap())
        .rule(rare)
        .rule(open("GET /ticker"))
        .build()
        .unwrap();
    let rare = |address| from(without_key("GET /rare"), address);
    // The plan's terms for the rule: one a minute. The cut is 24 bits.
    assert_eq!(
        world.statuses(&gate, ["192.0.2.7", "192.0.2.8", "192.0.3.7"].map(rare)).await,
        [200, 429, 200]
    );
    // The plan's own quota counts both routes, and the refused request took nothing.
    let ticker = || from(without_key("GET /ticker"), "192.0.2.9");
    assert_eq!(
        world.statuses(&gate, [ticker(), ticker(), ticker(), ticker(), ticker()]).await,
        [200, 200, 200, 200, 429]
    );
    for expected in [200, 200, 429] {
        world.clock.advance(Duration::from_mins(1));
        assert_eq!(
            world.statuses(&gate, [rare("192.0.2.7")]).await,
            [expected],
            "the third is the last of an hour"
        );
    }
    // A key at the same address has its own windows.
    let keyed = || from(with_key("GET /rare", KEY), "192.0.2.7");
    assert_eq!(world.statuses(&gate, [keyed(), keyed(), keyed(), keyed()]).await, [200, 200, 200, 429]);
}

#[tokio::test]
async fn plan_limits_parameters() {
    let world = World::new();
    let gate = builder(&world);
    let mut capped = plan("capped", &["9 per minute"]);
    capped.caps = [("limit".to_owned(), ParamLimit::AtMost(10))].into();
    let gate = gate.plan(capped).anonymous("capped", NetworkCut::default()).build().unwrap();
    assert_eq!(
        world.statuses(&gate, ["GET /ticker?limit=10", "GET /ticker?limit=11"].map(home)).await,
        [200, 400]
    );
}

#[tokio::test]
async fn unlimited_credits_pay_a_cost() {
    let world = World::new();
    let mut rich = plan("rich", &["9 per minute"]);
    rich.credits = Allowance::Unlimited;
    let mut dear = open("GET /dear");
    dear.cost = Cost::Fixed(Credits::new(7));
    let gate = world
        .bare()
        .source(KeySource::header("X-API-Key").unwrap())
        .format(KeyFormat::new("acme_", Length::exactly(32)).unwrap())
        .plan(rich)
        .anonymous("rich", NetworkCut::default())
        .rule(dear)
        .build()
        .unwrap();
    assert_eq!(world.statuses(&gate, [home("GET /dear")]).await, [200]);
}

#[tokio::test]
async fn unknown_address_is_an_error() {
    let world = World::new();
    let gate = built(&world, |builder| builder);
    let request = Request::builder().uri("/ticker").body(()).unwrap();
    let denial = gate.admit(&RequestView::of(&request)).await.unwrap_err();
    assert_eq!(denial.kind(), DenialKind::Misconfigured);
    assert_eq!((denial.key(), denial.account(), denial.plan().unwrap().as_str()), (None, None, "anonymous"));
}

#[tokio::test]
async fn blocked_network_is_served_without_a_key() {
    let world = World::new();
    let limit = AttemptLimit::new("1 per minute".parse().unwrap()).unwrap();
    let gate = built(&world, |builder| builder.attempts(limit));
    let wrong = || home("GET /ticker").header("x-api-key", "wrong");
    assert_eq!(world.statuses(&gate, [wrong(), wrong(), home("GET /ticker")]).await, [401, 429, 200]);
    // A request without a key is no failed attempt.
    let elsewhere = || from(without_key("GET /ticker"), "192.0.2.99");
    let wrong = || elsewhere().header("x-api-key", "wrong");
    assert_eq!(
        world.statuses(&gate, [elsewhere(), elsewhere(), elsewhere(), wrong()]).await,
        [200, 200, 429, 401]
    );
}

#[tokio::test]
async fn event_names_the_plan_and_no_key() {
    let (world, events) = (World::new(), Recorder::default());
    let gate =
        built(&world, |builder| builder.decision_sink(events.clone()).usage_options(UsageOptions::default()));
    for expected in [200, 200, 429] {
        assert_eq!(world.statuses(&gate, [home("GET /ticker")]).await, [expected]);
        let event = events.only();
        assert_eq!((event.account.as_deref(), event.environment.as_deref()), (None, None));
        assert!(event.text.contains("key: None") && event.text.contains("anonymous"), "{}", event.text);
        let outcome = match expected {
            200 => DecisionOutcome::Admitted,
            _ => DecisionOutcome::Denied(DenialKind::RateLimited),
        };
        assert_eq!((event.outcome, event.rule.as_deref()), (outcome, Some("/ticker")));
    }
    gate.usage().unwrap().flush().await.unwrap();
    let report = crate::usage::report(&gate, UsageFilter::rule("GET /ticker"), UsageStep::Day).await;
    let requests: u64 = report.points.iter().map(|point| point.counts.requests).sum();
    assert_eq!(requests, 3, "{report:?}");
}

#[tokio::test]
async fn anonymous_key_manages_nothing() {
    let world = World::new();
    let gate = built(&world, |builder| builder);
    let request = home("GET /ticker").body(()).unwrap();
    let admission = gate.admit(&RequestView::of(&request)).await.unwrap();
    let principal = gate.principal(&admission).unwrap();
    let manager = KeyManager::new(gate.clone()).unwrap().for_caller(&principal, None);
    let new = NewKey::new(principal.account().id.as_str(), "mine");
    let issued = manager.issue(new).await.map(drop);
    let listed = manager.list(&tollgate::manage::ListKeys::default()).await.map(drop);
    let revoked = manager.revoke(principal.key()).await.map(drop);
    for refused in [issued, listed, revoked] {
        assert!(matches!(refused, Err(ManageError::NotGranted)), "{refused:?}");
    }
}

#[tokio::test]
async fn response_varies_by_every_key_header() {
    let world = World::new();
    let gate = built(&world, |builder| builder);
    let answer = world.send(&gate, home("GET /ticker")).await;
    let varies: Vec<_> = answer.headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(varies, ["x-api-key", "authorization"]);
    assert_eq!(answer.header("cache-control"), None);
}

#[tokio::test]
async fn inner_gate_draws_once() {
    let world = World::new();
    let gate = built(&world, |builder| builder);
    let proxies = TrustedProxies::default();
    let inner = built(&world, |builder| builder.trusted_proxies(proxies).rule(open("GET /other")));
    let request = home("GET /ticker").body(()).unwrap();
    let admission = gate.admit(&RequestView::of(&request)).await.unwrap();
    let mut request = request;
    request.extensions_mut().insert(gate.principal(&admission).unwrap());
    let second = inner.admit(&RequestView::of(&request)).await.unwrap();
    assert!(second.is_anonymous());
    assert_eq!(world.statuses(&gate, [home("GET /ticker"), home("GET /ticker")]).await, [200, 429]);
}

#[tokio::test]
async fn removed_key_of_an_outer_gate_is_not_anonymous() {
    let world = World::new();
    world.plain_key(KEY);
    let outer = built(&world, GateBuilder::strip_headers);
    // The inner gate accepts keys of another format.
    let inner = world
        .bare()
        .source(KeySource::header("X-API-Key").unwrap())
        .format(KeyFormat::new("other_", Length::exactly(32)).unwrap())
        .plan(plan("anonymous", &["9 per minute"]))
        .anonymous("anonymous", NetworkCut::default())
        .rule(open("GET /ticker"))
        .build()
        .unwrap();
    let send =
        async |request: Builder| crate::two_gates::send([&outer, &inner], &world, request).await.status;
    assert_eq!(send(from(with_key("GET /ticker", KEY), "192.0.2.7")).await, 401);
    assert_eq!(send(home("GET /ticker")).await, 200);
}
