//! The gRPC statuses of refused calls.

use std::sync::Arc;

use http::Request;
use tollgate::account::{AccountStatus, ParamLimit, QuotaPolicy, QuotaRef};
use tollgate::gate::TrustedProxies;
use tollgate::key::KeyStatus;
use tollgate::rule::Cost;
use tollgate::{Account, Credits, Gate, KeyRecord, Plan, Rule};
use tonic::Code;

use crate::grpc::fixture::{CHECK, KEY, ask, builder, client, post, raw, serve};
use crate::support::World;
use crate::support::faulty_back_ends::Failing;

const GRPC: (&str, &str) = ("content-type", "application/grpc");

#[tokio::test]
async fn refused_call_is_a_status_without_body() {
    let world = World::new();
    let address = serve(&world, builder(&world).build().unwrap()).await;
    let head = raw(address, post(address, CHECK, &[GRPC, ("te", "trailers")])).await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("application/grpc"));
    assert_eq!(head.header("grpc-status"), Some("16"));
    assert_eq!(head.header("grpc-message"), Some("The%20API%20key%20is%20missing%20or%20not%20valid."));
    assert_eq!(head.header("cache-control"), Some("no-store"));
    assert!(head.headers.contains_key("x-request-id"), "{head:?}");
    for absent in ["content-length", "www-authenticate", "retry-after", "grpc-retry-pushback-ms"] {
        assert_eq!(head.header(absent), None, "{head:?}");
    }
    assert!(head.is_all && head.body.is_empty(), "the status is the last of the stream: {head:?}");
    assert_eq!(world.calls(), 0);

    let refused = client(address).await.check(ask("", &[])).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unauthenticated, "The API key is missing or not valid.")
    );
    let served = client(address).await.watch(ask("after:1:0", &[])).await.unwrap_err();
    assert_eq!(served.code(), Code::Unauthenticated);
}

/// A gate that refuses the key for a reason, and the code that says so.
struct Case {
    name: &'static str,
    code: i32,
    change: fn(&mut KeyRecord, &mut Account),
    gate: fn(&World) -> Gate,
    ask: fn(&mut Request<()>),
}

impl Case {
    fn of(name: &'static str, code: i32, change: fn(&mut KeyRecord, &mut Account)) -> Self {
        Self { name, code, change, gate: |world| builder(world).build().unwrap(), ask: |_| {} }
    }

    fn by(name: &'static str, code: i32, gate: fn(&World) -> Gate) -> Self {
        Self { gate, ..Self::of(name, code, |_, _| {}) }
    }

    fn asked(self, ask: fn(&mut Request<()>)) -> Self {
        Self { ask, ..self }
    }
}

fn signed(world: &World) -> Gate {
    let mut rule = Rule::new(&format!("POST {CHECK}")).unwrap();
    rule.agreements = vec!["terms".into()];
    builder(world).rule(rule).build().unwrap()
}

fn behind_a_proxy(world: &World) -> Gate {
    let proxies = TrustedProxies::new(["127.0.0.0/8".parse().unwrap()]);
    builder(world).trusted_proxies(proxies).build().unwrap()
}

fn counted(world: &World) -> Gate {
    let mut rule = Rule::new(&format!("POST {CHECK}")).unwrap();
    rule.cost =
        Cost::PerUnit { parameter: "limit".into(), each: Credits::new(1), least: 1, default: 1, most: 10 };
    builder(world).rule(rule).build().unwrap()
}

/// No client of gRPC asks with another query or method, but whoever writes frames may.
fn with_query(request: &mut Request<()>, query: &str) {
    let authority = request.uri().authority().unwrap();
    *request.uri_mut() = format!("http://{authority}{CHECK}?{query}").parse().unwrap();
}

fn subscribed(world: &World) -> Gate {
    let mut rule = Rule::new(&format!("POST {CHECK}")).unwrap();
    rule.subscription = true;
    builder(world).rule(rule).build().unwrap()
}

fn ranked(world: &World) -> Gate {
    let mut rule = Rule::new(&format!("POST {CHECK}")).unwrap();
    rule.min_plan = Some("high".into());
    let mut high = Plan::new("high");
    high.rank = Some(2);
    builder(world).plan(high).rule(rule).build().unwrap()
}

fn failing_store(world: &World) -> Gate {
    builder(&world.with_store(Failing::new(Arc::clone(&world.store)))).build().unwrap()
}

fn cases() -> Vec<Case> {
    vec![
        Case::of("revoked", 16, |record, _| record.status = KeyStatus::Revoked),
        Case::of("paused", 16, |record, _| record.status = KeyStatus::Paused),
        Case::of("expired", 16, |record, _| {
            record.expires_at = Some("2026-04-30T12:00:00Z".parse().unwrap());
        }),
        Case::of("address not allowed", 16, |record, _| {
            record.allowlist = Some(["198.51.100.0/24".parse().unwrap()].into());
        }),
        Case::of("deleted", 7, |_, account| account.status = AccountStatus::Deleted),
        Case::by("agreement", 7, signed),
        Case::of("path", 7, |record, _| record.paths = Some(vec!["/other.Service/*".parse().unwrap()])),
        Case::of("suspended", 7, |_, account| account.status = AccountStatus::Suspended),
        Case::of("scope", 7, |record, _| record.scopes = Some(vec!["other".into()])),
        Case::by("subscription", 7, subscribed),
        Case::by("plan", 7, ranked),
        Case::of("over the limit", 8, |record, _| {
            let never: QuotaPolicy = "1 per day".parse().unwrap();
            record.quotas = Some(vec![QuotaRef::Policy(never)]);
        }),
        Case::of("parameter", 3, |record, _| {
            record.caps = Some([("limit".to_owned(), ParamLimit::AtMost(10))].into());
        }),
        Case::by("a number of units above the highest", 3, counted),
        Case::of("forbidden parameter", 3, |record, _| {
            record.caps = Some([("limit".to_owned(), ParamLimit::Forbidden)].into());
        }),
        Case::of("unreadable parameter", 3, |record, _| {
            record.caps = Some([("limit".to_owned(), ParamLimit::AtMost(10))].into());
        })
        .asked(|request| with_query(request, "limit=%2B5")),
        Case::by("too early", 14, behind_a_proxy)
            .asked(|request| drop(request.headers_mut().insert("early-data", "1".parse().unwrap()))),
        Case::by("store down", 14, failing_store),
        Case::of("unknown plan", 13, |_, account| account.plan = "nowhere".into()),
    ]
}

#[tokio::test]
async fn each_denial_kind_has_its_grpc_code() {
    for case in cases() {
        let world = World::new();
        world.key(KEY, case.change);
        let address = serve(&world, (case.gate)(&world)).await;
        let call = || {
            let mut call = post(address, &format!("{CHECK}?limit=11"), &[GRPC, ("x-api-key", KEY)]);
            (case.ask)(&mut call);
            call
        };
        if case.name == "over the limit" {
            raw(address, call()).await;
            assert_eq!(world.calls(), 1, "the first is within");
        }
        let before = world.calls();
        let head = raw(address, call()).await;
        assert_eq!(
            (head.status, head.header("grpc-status")),
            (200, Some(&*case.code.to_string())),
            "{}",
            case.name
        );
        assert_eq!(world.calls(), before, "{}", case.name);
    }
    let world = World::new();
    let address = serve(&world, builder(&world).build().unwrap()).await;
    for bad in ["acme_", "acme_0000000000000000000000000000000", KEY] {
        let refused = client(address).await.check(ask("", &[("x-api-key", bad)])).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{bad}");
        assert!(!format!("{refused:?}").contains("acme_"), "{refused:?}");
    }
}

#[tokio::test]
async fn exhaustion_is_not_permission_denied() {
    let world = World::new();
    let id = world.plain_key(KEY);
    world.set_balance(id, 1);
    // A provider may well answer 403 over HTTP.
    let error_text = tollgate::respond::ErrorText {
        status: Some(http::StatusCode::FORBIDDEN),
        ..tollgate::respond::ErrorText::default()
    };
    let error_format = tollgate::respond::ErrorFormat::problem()
        .error_text(tollgate::DenialKind::CreditsExhausted, error_text);
    let address = serve(&world, builder(&world).error_format(error_format).build().unwrap()).await;
    let refused = client(address).await.check(ask("", &[("x-api-key", KEY)])).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.message(), "The request costs 2 credits, and the balance is 1.");
    assert_eq!(world.balance(id), 1);
}

#[tokio::test]
async fn metadata_key_is_read_once() {
    let world = World::new();
    let id = world.plain_key(KEY);
    let address = serve(&world, builder(&world).build().unwrap()).await;
    let bearer = format!("Bearer {KEY}");
    for (name, value) in [("x-api-key", KEY), ("authorization", &bearer)] {
        let served = client(address).await.check(ask("", &[(name, value)])).await.unwrap();
        assert_eq!(served.metadata().get("caller").unwrap().to_str().unwrap(), world.account_of(id));
    }
    for refused in [
        &[("x-api-key", KEY), ("x-api-key", KEY)][..],
        &[("authorization", &bearer), ("authorization", &bearer)],
        &[("authorization", KEY)],
    ] {
        let status = client(address).await.check(ask("", refused)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{refused:?}");
    }
    let mut binary = ask("", &[]);
    let value = tonic::metadata::MetadataValue::from_bytes(KEY.as_bytes());
    binary.metadata_mut().insert_bin("x-api-key-bin", value);
    let status = client(address).await.check(binary).await.unwrap_err();
    assert_eq!(status.message(), "The API key is missing or not valid.");
    assert_eq!(world.calls(), 2);
}

#[tokio::test]
async fn health_is_public_only_by_full_name() {
    let world = World::new();
    let mut public = Rule::new(&format!("POST {CHECK}")).unwrap();
    public.public = true;
    let address = serve(&world, builder(&world).rule(public).build().unwrap()).await;
    assert!(client(address).await.check(ask("", &[])).await.is_ok());
    assert_eq!(
        client(address).await.watch(ask("stay", &[])).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    for path in [
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.health/check",
        "/grpc.health.v1.Health/Check/",
        "/grpc.health.v1.Health%2FCheck",
    ] {
        let head = raw(address, post(address, path, &[GRPC])).await;
        assert_eq!(head.header("grpc-status"), Some("16"), "{path}");
    }
}

#[tokio::test]
async fn service_rule_covers_all_its_methods_only() {
    let world = World::new();
    world.key(KEY, |record, _| record.scopes = Some(vec!["health:read".into()]));
    let address = serve(&world, builder(&world).build().unwrap()).await;
    assert!(client(address).await.check(ask("", &[("x-api-key", KEY)])).await.is_ok());
    assert!(client(address).await.watch(ask("after:1:0", &[("x-api-key", KEY)])).await.is_ok());
    for path in ["/grpc.health.v1.Healthy/Check", "/grpc.health.v1.Health", "/grpc.health.v2.Health/Check"] {
        let head = raw(address, post(address, path, &[GRPC, ("x-api-key", KEY)])).await;
        assert_eq!(head.header("grpc-status"), Some("7"), "{path}");
    }
}

#[tokio::test]
async fn a_code_follows_the_configured_status() {
    use tollgate::DenialKind;
    use tollgate::respond::{ErrorFormat, ErrorText};

    let elsewhere = "192.0.2.0/24".parse::<ipnet::IpNet>().unwrap();
    for (status, code) in [
        (400, Code::InvalidArgument),
        (401, Code::Unauthenticated),
        (402, Code::ResourceExhausted),
        (403, Code::PermissionDenied),
        (404, Code::NotFound),
        (418, Code::Unauthenticated),
        (500, Code::Internal),
        (503, Code::Unavailable),
    ] {
        let world = World::new();
        world.key(KEY, |record, _| record.allowlist = Some(vec![elsewhere]));
        let error_text = ErrorText { status: Some(status.try_into().unwrap()), ..ErrorText::default() };
        let error_format = ErrorFormat::problem().error_text(DenialKind::AddressNotAllowed, error_text);
        let address = serve(&world, builder(&world).error_format(error_format).build().unwrap()).await;
        let refused = client(address).await.check(ask("", &[("x-api-key", KEY)])).await.unwrap_err();
        assert_eq!(refused.code(), code, "{status}");
    }
}
