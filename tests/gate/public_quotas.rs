//! Quotas of public rules, whose requests have no key.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::request::Builder;
use support::events::Recorder;
use support::faulty_back_ends::{Failing, Later};
use support::providers::KWERY;
use support::{World, from, with_key, without_key};
use tollgate::account::{NetworkCut, QuotaPolicy, QuotaRef, QuotaScope};
use tollgate::{DenialKind, Gate, GateBuilder, RequestView, Rule};

fn quota(text: &str) -> QuotaPolicy {
    text.parse::<QuotaPolicy>().unwrap().counting(QuotaScope::Network(NetworkCut::default()))
}

fn public(route: &str, quotas: impl IntoIterator<Item = QuotaRef>) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    rule.public = true;
    rule.quotas = quotas.into_iter().collect();
    rule
}

fn status_rule() -> Rule {
    public("GET /status", [QuotaRef::Policy(quota("2 per minute"))])
}

fn built(world: &World, with: impl FnOnce(GateBuilder) -> GateBuilder) -> Gate {
    with(world.kwery()).build().unwrap()
}

fn home(route: &str) -> Builder {
    from(without_key(route), "192.0.2.7")
}

#[tokio::test]
async fn public_quota_limits_each_network() {
    let world = World::new();
    for later in [false, true] {
        let world = if later {
            world.with_limiter(Later(Arc::new(tollgate::MemoryLimiter::new())))
        } else {
            world.clone()
        };
        let gate = built(&world, |builder| builder.rule(status_rule()).limit_headers());
        let served = world.send(&gate, home("GET /status")).await;
        // The partition key is `network rule:GET /status`.
        let key = "pk=:bmV0d29yayBydWxlOkdFVCAvc3RhdHVz:";
        let told = (served.header("ratelimit-policy").unwrap(), served.header("ratelimit").unwrap());
        assert_eq!(served.status, 200);
        assert_eq!(told.0, format!("\"minute\";q=2;w=60;{key}"));
        assert_eq!(told.1, format!("\"minute\";r=1;t=30;{key}"));
        // A key is not read, and HEAD counts as GET.
        let with_a_key = from(with_key("HEAD /status", "kwery_live_unknown"), "192.0.2.7");
        assert_eq!(world.statuses(&gate, [with_a_key]).await, [200]);
        let denied = world.send(&gate, home("GET /status")).await;
        assert_eq!((denied.status, denied.member("/error").as_str()), (429, "rate_limit_exceeded"));
        assert_eq!(
            (denied.header("retry-after"), denied.member("/retry_after").as_str()),
            (Some("30"), "30")
        );
        assert_eq!(denied.header("ratelimit").unwrap(), format!("\"minute\";r=0;t=30;{key}"));
        assert_eq!(world.statuses(&gate, [from(without_key("GET /status"), "192.0.2.8")]).await, [200]);
        world.clock.advance(Duration::from_secs(30));
        assert_eq!(world.statuses(&gate, [home("GET /status"), home("GET /status")]).await, [200, 429]);
    }
}

#[tokio::test]
async fn other_requests_are_not_limited() {
    let world = World::new();
    let gate = built(&world, |builder| {
        builder
            .rule(public("/status", [QuotaRef::Policy(quota("1 per minute"))]))
            .rule(public("GET /open", []))
    });
    assert_eq!(world.statuses(&gate, [home("GET /status"), home("GET /status")]).await, [200, 429]);
    let preflight = home("OPTIONS /status")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "GET");
    assert_eq!(world.statuses(&gate, [preflight, home("GET /open")]).await, [200, 200]);
}

#[tokio::test]
async fn shared_quota_counts_over_public_rules() {
    let world = World::new();
    world.plain_key(KWERY);
    let named = || [QuotaRef::Named("perhost".to_owned())];
    let mut keyed = Rule::new("GET /keyed").unwrap();
    keyed.quotas = named().into();
    let gate = built(&world, |builder| {
        builder
            .quota("perhost", quota("3 per minute"))
            .rule(public("GET /a", named()))
            .rule(public("GET /b", named()))
            .rule(keyed)
    });
    let keyed = || from(with_key("GET /keyed", KWERY), "192.0.2.7");
    let requests = [home("GET /a"), home("GET /b"), keyed(), home("GET /a"), keyed()];
    assert_eq!(world.statuses(&gate, requests).await, [200, 200, 200, 429, 429]);
}

#[tokio::test]
async fn pool_limits_all_clients() {
    let world = World::new();
    let pool = "2 per minute".parse::<QuotaPolicy>().unwrap().counting(QuotaScope::Pool("status".into()));
    let gate = built(&world, |builder| builder.rule(public("GET /status", [QuotaRef::Policy(pool)])));
    // A pool needs no address.
    let unknown = Request::builder().uri("/status");
    let requests = [home("GET /status"), unknown, from(without_key("GET /status"), "192.0.2.8")];
    assert_eq!(world.statuses(&gate, requests).await, [200, 200, 429]);
}

#[tokio::test]
async fn odd_path_needs_a_key_and_is_counted() {
    let world = World::new();
    world.plain_key(KWERY);
    let gate = built(&world, |builder| builder.rule(status_rule()));
    let keyed = || from(with_key("GET /status/", KWERY), "192.0.2.7");
    let requests = [home("GET /status/"), keyed(), keyed(), keyed(), home("GET /status")];
    assert_eq!(world.statuses(&gate, requests).await, [401, 200, 200, 429, 429]);
}

#[tokio::test]
async fn address_that_is_unknown_is_an_error() {
    let world = World::new();
    let gate = built(&world, |builder| builder.rule(status_rule()));
    let request = Request::builder().uri("/status").body(()).unwrap();
    let denial = gate.admit(&RequestView::of(&request)).await.unwrap_err();
    assert_eq!(
        (denial.kind(), denial.rule().unwrap().route().as_str()),
        (DenialKind::Misconfigured, "GET /status")
    );
    assert!(denial.operator_problem().unwrap().contains("`Peer`"));
}

#[tokio::test]
async fn limiter_that_fails_denies() {
    let world = World::new();
    let limiter = Failing::new(Arc::new(tollgate::MemoryLimiter::new()));
    let world = world.with_limiter(limiter.clone());
    let gate = built(&world, |builder| builder.rule(status_rule()));
    limiter.down.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(world.statuses(&gate, [home("GET /status")]).await, [503]);
}

#[tokio::test]
async fn denial_is_recorded_without_a_key() {
    let (world, events) = (World::new(), Recorder::default());
    let gate = built(&world, |builder| builder.rule(status_rule()).decision_sink(events.clone()));
    let requests = [home("GET /status"), home("GET /status"), home("GET /status")];
    assert_eq!(world.statuses(&gate, requests).await, [200, 200, 429]);
    // Admitted public requests have no event.
    let event = events.only();
    assert_eq!((event.account.as_deref(), event.environment.as_deref()), (None, None));
    assert!(event.text.contains("key: None") && event.text.contains("plan: None"), "{}", event.text);
    assert_eq!(event.outcome, tollgate::telemetry::DecisionOutcome::Denied(DenialKind::RateLimited));
    assert_eq!((event.rule.as_deref(), event.status), (Some("/status"), Some(429)));
    assert_eq!(event.windows, [("minute".to_owned(), 2, 0, 60)]);
}
