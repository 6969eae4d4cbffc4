//! Errors, headers, and what caches may keep: section K of the security cases.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use bytes::Bytes;
use http_body_util::Empty;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;
use support::providers::{BACKQUANT, KWERY, QUANTDATA};
use support::{Answer, World, with_key, without_key};
use tollgate::account::Subscription;
use tollgate::key::KeyStatus;
use tollgate::respond::{ErrorFormat, ErrorText, RequestIds};
use tollgate::{DenialKind, Plan, Rule};

const TOOL: &str = "POST /v1/options/tool/gainers-losers";

fn problem(kind: &str, title: &str, status: u16, detail: &str, more: &str) -> String {
    format!(
        r#"{{"type":"https://quantdata.us/errors/{kind}","title":"{title}","status":{status},"detail":"{detail}","instance":"/v1/options/tool/gainers-losers"{more}}}"#
    )
}

#[tokio::test]
async fn quantdata_problems_are_byte_exact() {
    let url = "https://v3.quantdata.us/legal/agreement";
    let agree = format!("You must sign the OPRA market-data agreement before using this API. Sign at: {url}");
    let member = format!(r#","agreementUrl":"{url}""#);
    let key = |last: &str| format!("qd_{}{last}", "a".repeat(31));
    let world = World::new();
    let gate = world.quantdata().build().unwrap();
    world.key(&key("R"), |record, _| record.status = KeyStatus::Revoked);
    world.key(&key("S"), |_, account| account.subscription = Some(Subscription::Lapsed));
    world.key(&key("O"), |_, account| account.subscription = Some(Subscription::Active));
    let missing = "Missing or malformed Authorization header. Expected: Bearer qd_...";
    let active = "An active API subscription is required to access this endpoint.";
    let rows = [
        (None, problem("authentication", "Authentication Required", 401, missing, "")),
        (
            Some("qd_short".to_owned()),
            problem("authentication", "Authentication Failed", 401, "Invalid API key format.", ""),
        ),
        (Some(key("U")), problem("authentication", "Authentication Failed", 401, "Invalid API key.", "")),
        (
            Some(key("R")),
            problem("authentication", "Authentication Failed", 401, "API key has been revoked.", ""),
        ),
        (Some(key("S")), problem("authorization", "API Subscription Required", 403, active, "")),
        (Some(key("O")), problem("opra-agreement-required", "OPRA Agreement Required", 403, &agree, &member)),
    ];
    for (key, body) in rows {
        let request = without_key(&format!("{TOOL}?a=1"));
        let request = if let Some(key) = &key {
            request.header("authorization", format!("Bearer {key}"))
        } else {
            request
        };
        let answer = world.send(&gate, request).await;
        assert_eq!(
            (answer.body.as_str(), answer.header("content-type")),
            (body.as_str(), Some("application/problem+json"))
        );
        // The member says what the status line says.
        assert_eq!(answer.json()["status"], answer.status);
    }
}

#[tokio::test]
async fn status_member_equals_the_status_line() {
    let world = World::new();
    world.plain_key(KWERY);
    let hidden = ErrorText { status: Some(http::StatusCode::NOT_FOUND), ..ErrorText::default() };
    let rows = [
        (ErrorFormat::problem(), 401),
        // What is to be told under another status is told so by the presentation, in the line and in the body.
        (ErrorFormat::problem().error_text(DenialKind::Unauthorized, hidden), 404),
    ];
    for (error_format, status) in rows {
        let gate = world.kwery().error_format(error_format).build().unwrap();
        let rewriting = tower::ServiceBuilder::new()
            .layer(tollgate::TollgateLayer::new(gate))
            .map_response(|mut response: Response<_>| {
                *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
                response
            })
            .service(world.inner.clone());
        let send = |request: http::request::Builder| {
            tower::ServiceExt::oneshot(rewriting.clone(), request.body(Empty::<Bytes>::new()).unwrap())
        };
        let refused = Answer::read(send(without_key("GET /v1/x")).await.unwrap()).await;
        assert_eq!((refused.status, &refused.json()["status"]), (status, &status.into()));
        assert_eq!(refused.header("www-authenticate").is_some(), status == 401);
        let served = Answer::read(send(with_key("GET /v1/x", KWERY)).await.unwrap()).await;
        assert_eq!((served.status, served.body.as_str()), (418, "served"));
    }
}

/// Text from outside that a template must escape.
#[tokio::test]
async fn problem_path_is_escaped_and_not_decoded() {
    let world = World::new();
    let gate = world.quantdata().build().unwrap();
    for (path, told) in [
        ("/v1/%22%7D", "/v1/%22%7D"),
        ("/v1/\"x\"", "/v1/%22x%22"),
        ("/v1/{status}", "/v1/%7Bstatus%7D"),
        ("/v1/%0d%0a", "/v1/%0d%0a"),
        ("/v1/\u{e9}", "/v1/%C3%A9"),
        ("/v1/}}{{", "/v1/%7D%7D%7B%7B"),
    ] {
        let Ok(uri) = path.parse::<http::Uri>() else { continue };
        let request = http::Request::builder().uri(uri);
        let answer = world.send(&gate, request).await;
        assert_eq!(answer.member("/instance"), told);
    }
}

#[tokio::test]
async fn only_short_plain_request_ids_are_kept() {
    let world = World::new();
    let gate = world.backquant().build().unwrap();
    let long = "a".repeat(65);
    let (plain, most) = ("Req_1-a", "a".repeat(64));
    let refused = [
        "<script>alert(1)</script>",
        "",
        "a b",
        "a\u{e9}",
        "a;b",
        "a\"b",
        "a/b",
        "a.b",
        &long,
        &"x".repeat(10_000),
    ];
    for id in [plain, &most] {
        let answer = world.send(&gate, without_key("GET /v2/x").header("x-request-id", id)).await;
        assert_eq!(
            (answer.header("x-request-id"), answer.member("/meta/request_id").as_str()),
            (Some(id), id)
        );
    }
    let mut made = std::collections::HashSet::new();
    for id in refused {
        let answer = world.send(&gate, without_key("GET /v2/x").header("x-request-id", id)).await;
        let new = answer.header("x-request-id").unwrap().to_owned();
        assert_eq!(new, answer.member("/meta/request_id"));
        assert!(new.starts_with("req_") && new.len() == 30 && made.insert(new), "{id}");
    }
    let twice = without_key("GET /v2/x").header("x-request-id", "one").header("x-request-id", "two");
    assert!(world.send(&gate, twice).await.header("x-request-id").unwrap().starts_with("req_"));
    assert!(
        RequestIds::default().with_prefix("a b").is_err()
            && RequestIds::default().with_header("a b").is_err()
    );
}

/// The id is in every answer, if configured; the handler's own id does not win.
#[tokio::test]
async fn served_answer_has_the_request_id() {
    let world = World::new();
    world.plain_key(BACKQUANT);
    world.inner.answer(Response::builder().header("x-request-id", "another").body("").unwrap());
    let gate = world.backquant().request_ids(RequestIds::default().in_every_answer()).build().unwrap();
    let answer = world.send(&gate, with_key("GET /v2/x", BACKQUANT).header("x-request-id", "mine")).await;
    assert_eq!(answer.header("x-request-id"), Some("mine"));
    assert_eq!(world.inner.seen().headers["x-request-id"], "mine");
    let answer = world.send(&gate, with_key("GET /v2/x", BACKQUANT).header("x-request-id", "<bad>")).await;
    assert_eq!(world.inner.seen().headers["x-request-id"], answer.header("x-request-id").unwrap());
}

#[tokio::test]
async fn envelope_timestamp_is_utc_in_seconds() {
    let world = World::new();
    let gate = world.backquant().build().unwrap();
    let rows = [
        ("2026-04-30T12:00:00.999Z", "2026-04-30T12:00:00Z"),
        ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("2026-04-30T14:00:00+02:00", "2026-04-30T12:00:00Z"),
    ];
    for (wall, told) in rows {
        world.clock.set_wall(wall.parse().unwrap());
        assert_eq!(world.send(&gate, without_key("GET /v2/x")).await.member("/meta/timestamp"), told);
    }
    for millis in [i64::MIN, i64::MAX] {
        world.clock.set_wall(tollgate::clock::Timestamp::from_millis(millis));
        assert_eq!(world.send(&gate, without_key("GET /v2/x")).await.status, 401);
    }
}

#[tokio::test]
async fn kwery_envelope_is_byte_exact() {
    let world = World::new();
    let mut slow = Plan::new("slow");
    slow.quotas.push("1 per 10s".parse().unwrap());
    world.key(KWERY, |_, account| account.plan = "slow".into());
    let gate = world.kwery().plan(slow).build().unwrap();
    let missing = world.send(&gate, without_key("GET /v1/x")).await;
    assert_eq!(
        missing.body,
        r#"{"error":"invalid_api_key","message":"The API key is missing or not valid."}"#
    );
    world.send(&gate, with_key("GET /v1/x", KWERY)).await;
    let limited = world.send(&gate, with_key("GET /v1/x", KWERY)).await;
    assert_eq!(
        limited.body,
        r#"{"error":"rate_limit_exceeded","message":"The rate limit is exceeded. Retry in 10 s.","retry_after":10}"#
    );
    // A refusal says how long its body is.
    assert_eq!(limited.header("content-length"), Some(limited.body.len().to_string().as_str()));
}

#[tokio::test]
async fn accept_header_changes_nothing() {
    let world = World::new();
    let gate = world.kwery().build().unwrap();
    let plain = world.send(&gate, without_key("GET /v1/x").header("x-request-id", "one")).await;
    for accept in ["text/html", "application/json;q=0", "", "*/*;q=0", "image/png"] {
        let request = without_key("GET /v1/x").header("x-request-id", "one").header("accept", accept);
        assert_eq!(world.send(&gate, request).await, plain, "{accept}");
    }
}

#[tokio::test]
async fn service_refusals_pass_unchanged() {
    let world = World::new();
    world.plain_key(QUANTDATA);
    let denials = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&denials);
    let mut rule = Rule::new("/v1/{*rest}").unwrap();
    rule.scopes = tollgate::rule::ScopeRule::Everyone;
    let gate = world.quantdata().rule(rule).on_denial(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let gate = gate.build().unwrap();
    for status in [401, 402, 403, 429, 500] {
        let own = Response::builder()
            .status(status)
            .header("x-own", "1")
            .header("cache-control", "max-age=1")
            .body("own")
            .unwrap();
        world.inner.answer(own);
        let service = tower::Layer::layer(&tollgate::TollgateLayer::new(gate.clone()), world.inner.clone());
        let request = without_key("GET /v1/x")
            .header("authorization", format!("Bearer {QUANTDATA}"))
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = Answer::read(tower::ServiceExt::oneshot(service, request).await.unwrap()).await;
        assert_eq!((answer.status, answer.body.as_str(), answer.header("x-own")), (status, "own", Some("1")));
        assert_eq!(answer.header("cache-control"), Some("max-age=1"));
        assert!(!answer.headers.contains_key("www-authenticate"));
    }
    assert_eq!(denials.load(Ordering::SeqCst), 0);
}
