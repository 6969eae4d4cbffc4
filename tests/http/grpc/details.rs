//! The details of a refusal for programs: the wait, and the reason.

use std::time::Duration;

use tollgate::account::{InFlightLimit, QuotaPolicy, QuotaRef, QuotaScope};
use tollgate::respond::ErrorFormat;
use tollgate::rule::{ScopeRule, Weight};
use tollgate::{Plan, Rule};
use tonic::{Code, Status};
use tonic_types::{ErrorInfo, StatusExt};

use crate::grpc::fixture::{CHECK, KEY, ask, builder, client, serve};
use crate::support::World;

/// Calls once, on a key changed so.
async fn refusal(world: &World, builder: tollgate::GateBuilder) -> Status {
    let address = serve(world, builder.build().unwrap()).await;
    client(address).await.check(ask("", &[("x-api-key", KEY)])).await.unwrap_err()
}

fn info(status: &Status) -> ErrorInfo {
    let told = status.check_error_details().unwrap();
    told.error_info().unwrap().clone()
}

fn pushback(status: &Status) -> Option<&str> {
    status.metadata().get("grpc-retry-pushback-ms").map(|value| value.to_str().unwrap())
}

fn rate_limited(world: &World, quota: &str) {
    let quota: QuotaPolicy = quota.parse().unwrap();
    world.key(KEY, |record, _| record.quotas = Some(vec![QuotaRef::Policy(quota)]));
}

#[tokio::test]
async fn rate_limit_status_has_retry_pushback() {
    let world = World::new();
    rate_limited(&world, "1 per minute");
    let address = serve(&world, builder(&world).build().unwrap()).await;
    let call = async || client(address).await.check(ask("", &[("x-api-key", KEY)])).await;
    assert!(call().await.is_ok());
    world.clock.advance(Duration::from_micros(500_500));
    let status = call().await.unwrap_err();
    assert_eq!((status.code(), pushback(&status)), (Code::ResourceExhausted, Some("59500")));
    assert_eq!(status.metadata().get("retry-after"), None);
    let told = status.check_error_details().unwrap();
    assert_eq!(told.retry_info().unwrap().retry_delay, Some(Duration::from_millis(59_500)));
    let info = info(&status);
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("RATE_LIMITED", "tollgate"));
    assert_eq!(info.metadata["policy"], "minute");
    assert_eq!(info.metadata["request_id"], status.metadata().get("x-request-id").unwrap().to_str().unwrap());
}

/// Calls until a call is denied.
async fn exhausted(world: &World, builder: tollgate::GateBuilder) -> Status {
    let address = serve(world, builder.build().unwrap()).await;
    for _ in 0..10 {
        if let Err(status) = client(address).await.check(ask("", &[("x-api-key", KEY)])).await {
            return status;
        }
    }
    panic!("no call was denied");
}

#[tokio::test]
async fn quota_failure_names_the_limit_in_flight() {
    let (world, key) = (World::new(), InFlightLimit::new(2).unwrap());
    world.key(KEY, |_, account| account.plan = "limited".into());
    let rows = [
        (key.clone(), "key"),
        (key.clone().counting(QuotaScope::Account), "account"),
        (key.counting(QuotaScope::Pool("demo".into())), "pool:demo"),
    ];
    for (limit, subject) in rows {
        let mut plan = Plan::new("limited");
        plan.in_flight = Some(limit);
        let gate = builder(&world).plan(plan).build().unwrap();
        let request = http::Request::post(CHECK).header("x-api-key", KEY).body(()).unwrap();
        let view = tollgate::RequestView::of(&request);
        let held = [gate.admit(&view).await.unwrap(), gate.admit(&view).await.unwrap()];
        let address = serve(&world, gate).await;
        let status = client(address).await.check(ask("", &[("x-api-key", KEY)])).await.unwrap_err();
        assert_eq!((status.code(), pushback(&status)), (Code::ResourceExhausted, Some("1000")));
        let told = status.check_error_details().unwrap();
        let [violation] = &*told.quota_failure().unwrap().violations else { panic!("{told:?}") };
        assert_eq!((violation.subject.as_str(), violation.quota_id.as_str()), (subject, "in_flight"));
        assert_eq!((violation.quota_metric.as_str(), violation.quota_value), ("concurrent-requests", 2));
        assert_eq!(violation.description, status.message());
        drop(held);
    }
}

/// The subject, the quota's name and the quota of a violation.
type Violated = (&'static str, &'static str, i64);

#[tokio::test]
async fn quota_failure_names_the_window() {
    let world = World::new();
    let quota = |text: &str, name: &str, counts| {
        let policy = text.parse::<QuotaPolicy>().unwrap().with_name(name).unwrap();
        QuotaRef::Policy(policy.counting(counts))
    };
    let quotas = vec![
        quota("9 per second", "wide", QuotaScope::Key),
        quota("2 per minute", "burst", QuotaScope::Account),
        quota("2 in any hour", "hourly", QuotaScope::Pool("demo".into())),
    ];
    world.key(KEY, |record, _| record.quotas = Some(quotas));
    let named = || ErrorFormat::problem().realm("Acme API").unwrap();
    // Without the state of every window, the one with the longest wait is named.
    let rows: [(_, &[Violated]); 2] = [
        (builder(&world).limit_headers(), &[("account", "burst", 2), ("pool:demo", "hourly", 2)]),
        (builder(&world), &[("pool:demo", "hourly", 2)]),
    ];
    for (builder, expected) in rows {
        let status = exhausted(&world, builder.error_format(named())).await;
        let told = status.check_error_details().unwrap();
        let violations = told.quota_failure().unwrap().violations.clone();
        let listed = violations.iter().map(|it| (it.subject.as_str(), it.quota_id.as_str(), it.quota_value));
        assert_eq!(listed.collect::<Vec<_>>(), expected);
        for violation in &violations {
            assert_eq!(violation.description, status.message());
            assert_eq!(
                (violation.api_service.as_str(), violation.quota_metric.as_str()),
                ("Acme API", "requests")
            );
            assert!(violation.quota_dimensions.is_empty());
        }
        assert!(told.retry_info().is_some());
        assert_eq!(info(&status).metadata["policy"], "hourly");
    }
}

/// A violation names the unit of the quota, and each quota that lacks units for the call.
#[tokio::test]
async fn quota_failure_names_the_unit() {
    let world = World::new();
    let tokens = "100 per minute".parse::<QuotaPolicy>().unwrap().with_unit("tokens").unwrap();
    let requests = "2 per hour".parse::<QuotaPolicy>().unwrap().with_unit("requests").unwrap();
    let quotas = vec![tokens, requests, "50 per day".parse().unwrap()];
    world.key(KEY, |record, _| record.quotas = Some(quotas.into_iter().map(QuotaRef::Policy).collect()));
    let weighed = |weight| {
        let mut rule = Rule::new(CHECK).unwrap();
        rule.weight = weight;
        rule
    };
    let heavy = builder(&world).limit_headers().rule(weighed(Weight::Fixed(40)));
    let status = exhausted(&world, heavy).await;
    let told = status.check_error_details().unwrap();
    let violations = told.quota_failure().unwrap().violations.clone();
    let listed = violations.iter().map(|it| (it.quota_id.as_str(), it.quota_metric.as_str(), it.quota_value));
    assert_eq!(listed.collect::<Vec<_>>(), [("day", "units", 50)]);
    let all = exhausted(&world, builder(&world).limit_headers().rule(weighed(Weight::Fixed(50)))).await;
    let told = all.check_error_details().unwrap();
    let violations = told.quota_failure().unwrap().violations.clone();
    let listed = violations.iter().map(|it| (it.quota_id.as_str(), it.quota_metric.as_str()));
    assert_eq!(listed.collect::<Vec<_>>(), [("day", "units")]);
}

#[tokio::test]
async fn too_heavy_call_is_an_invalid_argument() {
    let world = World::new();
    rate_limited(&world, "3 per minute");
    let mut rule = Rule::new(CHECK).unwrap();
    rule.weight = Weight::Fixed(4);
    let status = refusal(&world, builder(&world).rule(rule)).await;
    assert_eq!((status.code(), pushback(&status)), (Code::InvalidArgument, None));
    let info = info(&status);
    let told = ["policy", "weight", "capacity"].map(|name| info.metadata[name].as_str());
    assert_eq!((info.reason.as_str(), told), ("WEIGHT_TOO_LARGE", ["minute", "4", "3"]));
    assert!(status.check_error_details().unwrap().quota_failure().is_none());
}

#[tokio::test]
async fn other_denials_have_no_quota_failure() {
    let world = World::new();
    let id = world.plain_key(KEY);
    world.set_balance(id, 1);
    let status = refusal(&world, builder(&world).limit_headers()).await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.check_error_details().unwrap().quota_failure().is_none());
}

#[tokio::test]
async fn retry_pushback_is_capped() {
    let world = World::new();
    rate_limited(&world, "1 per day");
    let bounded = ErrorFormat::problem().longest_wait(Duration::from_mins(1)).unwrap();
    let address = serve(&world, builder(&world).error_format(bounded).build().unwrap()).await;
    let call = async || client(address).await.check(ask("", &[("x-api-key", KEY)])).await;
    assert!(call().await.is_ok());
    assert_eq!(pushback(&call().await.unwrap_err()), Some("60000"));
}

#[tokio::test]
async fn exhausted_credits_forbid_a_retry() {
    let world = World::new();
    let id = world.plain_key(KEY);
    world.set_balance(id, 1);
    let status = refusal(&world, builder(&world)).await;
    assert_eq!((status.code(), pushback(&status)), (Code::ResourceExhausted, Some("-1")));
    let told = status.check_error_details().unwrap();
    assert!(told.retry_info().is_none());
    let info = info(&status);
    assert_eq!(info.reason, "CREDITS_EXHAUSTED");
    assert_eq!((info.metadata["balance"].as_str(), info.metadata["cost"].as_str()), ("1", "2"));
}

#[tokio::test]
async fn error_info_has_code_and_realm() {
    let world = World::new();
    world.key(KEY, |record, _| record.scopes = Some(Vec::new()));
    let mut rule = Rule::new(&format!("POST {CHECK}")).unwrap();
    rule.scopes = ScopeRule::AnyOf(vec!["health:read".into(), "all".into()]);
    let error_text = tollgate::respond::ErrorText {
        code: Some("scope-lacking".into()),
        message: Some("ß \"{required_scope}\" %\n is needed".into()),
        ..tollgate::respond::ErrorText::default()
    };
    let error_format = ErrorFormat::json(r#"{"error": "{code}"}"#)
        .unwrap()
        .realm("Acme API")
        .unwrap()
        .error_text(tollgate::DenialKind::ScopeRequired, error_text);
    let status = refusal(&world, builder(&world).rule(rule).error_format(error_format)).await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(status.message(), "ß \"health:read or all\" %\n is needed");
    let info = info(&status);
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("SCOPE_LACKING", "Acme API"));
    assert_eq!(info.metadata["required_scope"], "health:read or all");
    assert_eq!(info.metadata.len(), 2, "{info:?}");
    assert_eq!(pushback(&status), None);
}

#[tokio::test]
async fn details_of_any_length_round_trip() {
    // Around the lengths that take one more byte to write.
    for length in [1, 100, 126, 127, 128, 3_000] {
        let world = World::new();
        let message = "m".repeat(length);
        let error_text = tollgate::respond::ErrorText {
            message: Some(message.clone()),
            ..tollgate::respond::ErrorText::default()
        };
        let said = ErrorFormat::problem().error_text(tollgate::DenialKind::Unknown, error_text);
        let status = refusal(&world, builder(&world).error_format(said)).await;
        assert_eq!((status.message(), info(&status).reason.as_str()), (message.as_str(), "UNKNOWN"));
    }
}
