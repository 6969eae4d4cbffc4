//! Public routes and paths: section C of the security cases.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::Empty;
use support::providers::{BACKQUANT, KWERY, code, public};
use support::wire::Server;
use support::{World, with_key, without_key};
use tollgate::gate::GateBuilder;
use tollgate::respond::{ErrorFormat, ErrorText};
use tollgate::rule::{Cost, ScopeRule};
use tollgate::{Credits, DenialKind, Rule, TollgateLayer};
use tower::{Layer, ServiceExt};

/// Sends a request without a key to `BackQuant`'s gate: the path alone decides.
async fn statuses(paths: &[&str]) -> Vec<(String, u16)> {
    let world = World::new();
    let gate = world.backquant().build().unwrap();
    let mut told = Vec::new();
    for path in paths {
        let route = format!("GET {path}");
        told.push((route.clone(), world.send(&gate, without_key(&route)).await.status));
    }
    told
}

async fn need_a_key(paths: &[&str]) {
    for (route, status) in statuses(paths).await {
        assert_eq!(status, 401, "{route}");
    }
}

#[tokio::test]
async fn public_path_is_exact() {
    let open = ["/v2/openapi.json", "/v2/docs", "/v2/redoc", "/v2/health", "/v2/health?x=1", "/v2/docs?"];
    assert!(statuses(&open).await.iter().all(|(_, status)| *status == 200));
    need_a_key(&[
        "/v2/healthz",
        "/v2/docs-internal",
        "/v2/docs/x",
        "/v2/openapi.json.bak",
        "/v2/",
        "/v2",
        "/",
        "/v2/healt",
    ])
    .await;
}

#[tokio::test]
async fn trailing_slash_is_another_path() {
    need_a_key(&["/v2/health/", "/v2/docs/", "/v2/health//"]).await;
    // A layer that trims the slash outside the gate: the gate judges what is routed.
    let world = World::new();
    let gate = world.backquant().build().unwrap();
    let trim = |mut request: http::Request<Empty<Bytes>>| {
        let trimmed = request.uri().path().trim_end_matches('/').to_owned();
        *request.uri_mut() = trimmed.parse().unwrap();
        request
    };
    let request = || without_key("GET /v2/health/").body(Empty::<Bytes>::new()).unwrap();
    let outside = TollgateLayer::new(gate.clone()).layer(world.inner.clone()).map_request(trim);
    assert_eq!(outside.oneshot(request()).await.unwrap().status(), 200);
    let inside = TollgateLayer::new(gate).layer(world.inner.clone().map_request(trim));
    assert_eq!(inside.oneshot(request()).await.unwrap().status(), 401);
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn dot_and_empty_segments_need_a_key() {
    need_a_key(&[
        "//v2/health",
        "/v2//health",
        "/v2/./health",
        "/v2/x/../health",
        "/v2/health/.",
        "/v2/health/..",
        "/v1/../v2/health",
    ])
    .await;
    // Nor does a pattern match them: it would grant what lies elsewhere.
    let world = World::new();
    let gate = world.backquant().rule(public("GET /assets/{*rest}")).build().unwrap();
    assert_eq!(world.send(&gate, without_key("GET /assets/a/b.css")).await.status, 200);
    for path in [
        "/assets/../v2/admin",
        "/assets/%2e%2e/v2/admin",
        "/assets/..%2fv2",
        "/assets//v2",
        "/assets/a%5c..",
        "/assets/",
        "/assets/.%2E/x",
        "/assets/a%00",
    ] {
        assert_eq!(world.send(&gate, without_key(&format!("GET {path}"))).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn percent_encoded_letter_needs_a_key() {
    need_a_key(&["/v2/%68ealth", "/%762/health", "/v2/healt%68", "/v2%2fhealth", "/v2/%2568ealth"]).await;
    // axum's router does not decode either: what the gate leaves public is what is served there.
    let app =
        Router::new().route("/v2/health", get(async || "healthy")).route("/v2/x", get(async || "secret"));
    let world = World::new();
    world.plain_key(BACKQUANT);
    let server = Server::gated(&world.backquant().build().unwrap(), app).await;
    assert_eq!(server.http1(&[b"GET /v2/health HTTP/1.1"]).await.body, "healthy");
    assert_eq!(server.http1(&[b"GET /v2/%68ealth HTTP/1.1"]).await.status, 401);
    let key = format!("X-API-Key: {BACKQUANT}");
    assert_eq!(server.http1(&[b"GET /v2/%68ealth HTTP/1.1", key.as_bytes()]).await.status, 404);
}

#[tokio::test]
async fn restricted_key_gets_no_other_spelling() {
    let world = World::new();
    world.key(BACKQUANT, |record, _| {
        record.paths = Some(["/v2/gex", "/v2/data/*"].map(|path| path.parse().unwrap()).into());
    });
    let gate = world.backquant().build().unwrap();
    let rows = [
        ("/v2/gex", 200),
        ("/v2/data/BTC", 200),
        ("/v2/data/a/b", 200),
        ("/v2/gex?x=/v2/admin", 200),
        ("/v2/gex/", 403),
        ("/v2/GEX", 403),
        ("/v2/%67ex", 403),
        ("/v2/data", 403),
        ("/v2/data/", 403),
        ("/v2/database", 403),
        ("/v2/data/../admin", 403),
        ("/v2/data/%2e%2e/admin", 403),
        ("/v2/data//x", 403),
        ("/v2/data/..%2fadmin", 403),
        ("/v2/data/a%5c..%5cb", 403),
        ("/v2/admin", 403),
        ("/v2/gexx", 403),
        ("/v2/data/x%00", 403),
    ];
    for (path, status) in rows {
        assert_eq!(
            world.send(&gate, with_key(&format!("GET {path}"), BACKQUANT)).await.status,
            status,
            "{path}"
        );
    }
}

#[tokio::test]
async fn parameters_and_backslashes_need_a_key() {
    need_a_key(&[
        "/v2/health;x=1",
        "/v2/health%00",
        "/v2/health%20",
        "/v2/health%5c",
        "/v2/health%0a",
        "/v2/health,",
        "/v2/health:",
        "/v2/health*",
    ])
    .await;
    let world = World::new();
    let server = Server::gated(&world.backquant().build().unwrap(), world.inner.clone()).await;
    for target in [&b"/v2\\health"[..], b"/v2/health\\", b"/v2/health\xc3\xa9", b"/v2/\xff"] {
        let answer = server.http1(&[&[b"GET ", target, b" HTTP/1.1"].concat()]).await;
        assert!(matches!(answer.status, 400 | 401) && world.calls() == 0, "{answer:?}");
    }
}

#[tokio::test]
async fn path_is_case_sensitive() {
    need_a_key(&["/V2/HEALTH", "/v2/Health", "/V2/docs"]).await;
}

#[tokio::test]
async fn original_path_headers_are_ignored() {
    let world = World::new();
    let gate = world.backquant().build().unwrap();
    for name in ["X-Forwarded-Uri", "X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Original-URI"]
    {
        let request = without_key("GET /v2/admin").header(name, "/v2/health");
        assert_eq!(world.send(&gate, request).await.status, 401, "{name}");
    }
}

/// The decision: a route is not hidden by a 404 of the gate's, which could not be told from one of the service's in all its
/// headers. What a caller is refused reads the same whether there is a route or not.
#[tokio::test]
async fn refusal_does_not_reveal_a_route() {
    let world = World::new();
    world.key(KWERY, |record, _| record.scopes = Some(vec!["data".into()]));
    let mut admin = Rule::new("GET /v1/admin").unwrap();
    admin.scopes = ScopeRule::AnyOf(vec!["admin".into()]);
    // As Kwery's file has it: one wording for all that is forbidden.
    let one = ErrorText {
        message: Some("This endpoint or feature requires a higher plan.".into()),
        ..code("plan_required")
    };
    let shape = ErrorFormat::json(r#"{"error": "{code}", "message": "{message}"}"#).unwrap();
    let shape = shape.error_text(DenialKind::Forbidden, one);
    let gate = world.kwery().error_format(shape).rule(admin).build().unwrap();
    let routes = Router::new().route("/v1/admin", get(async || "admin"));
    let server = Server::gated(&gate, routes).await;
    let (known, unknown) = (format!("X-API-Key: {KWERY}"), "X-API-Key: kwery_live_unknown");
    for (line, status) in [("X-Other: x", 401), (unknown, 401), (&*known, 403)] {
        let mut told = Vec::new();
        for path in ["/v1/admin", "/v1/nowhere"] {
            let request = format!("GET {path} HTTP/1.1");
            let lines = [request.as_bytes(), b"X-Request-ID: the-same", line.as_bytes()];
            let mut answer = server.http1(&lines).await;
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            answer.headers.remove("date");
            told.push(answer);
        }
        assert_eq!(told[0], told[1], "{line}");
    }
}

/// A key, and one that is restricted to the scope of all rules.
const KEYS: [&str; 2] = [KWERY, "kwery_live_restricted"];

/// A rule that costs a sum, for a scope.
fn priced(route: &str, cost: u64) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    rule.cost = Cost::Fixed(Credits::new(cost));
    rule.scopes = ScopeRule::AnyOf(vec!["data".into()]);
    rule
}

/// Checks requests with each of the keys: the status, and the charged amount.
async fn judge(change: impl FnOnce(GateBuilder) -> GateBuilder, rows: &[(&str, [(u16, u64); 2])]) {
    let world = World::new();
    let free = world.plain_key(KEYS[0]);
    let restricted = world.key(KEYS[1], |record, _| record.scopes = Some(vec!["data".into()]));
    let gate = change(world.kwery()).build().unwrap();
    for (request, expected) in rows {
        assert_eq!(world.send(&gate, without_key(request)).await.status, 401, "{request} without a key");
        for ((id, key), expected) in [free, restricted].into_iter().zip(KEYS).zip(expected) {
            world.set_balance(id, 1_000);
            let status = world.send(&gate, with_key(request, key)).await.status;
            assert_eq!((status, 1_000 - world.balance(id)), *expected, "{request} with {key}");
        }
    }
}

const REFUSED: [(u16, u64); 2] = [(403, 0); 2];

/// Judged under the rule, whose scopes let no key in.
fn beside(cost: u64) -> [(u16, u64); 2] {
    [(200, cost), (403, 0)]
}

fn paid(cost: u64) -> [(u16, u64); 2] {
    [(200, cost); 2]
}

#[tokio::test]
async fn paths_beside_a_rule_are_judged_under_it() {
    let rules = |builder: GateBuilder| {
        let below = public("/assets/{*rest}");
        let quotes =
            [priced("GET /v1/quotes/{*rest}", 2), priced("/v1/jobs", 3), priced("/img-{id}/full", 4)];
        quotes.into_iter().chain([priced("/caf%C3%A9", 5), below]).fold(builder, GateBuilder::rule)
    };
    let rows = [
        ("GET /v1/quotes/a", paid(2)),
        ("GET /v1/quotes", beside(2)),
        ("GET /v1/quotes/", beside(2)),
        ("HEAD /v1/quotes", beside(2)),
        // The rule is for another method.
        ("POST /v1/quotes", beside(0)),
        ("POST /v1/jobs/", beside(3)),
        ("GET /img-/full", beside(4)),
        ("GET /caf\u{e9}", beside(5)),
        // A public rule opens what it names alone.
        ("GET /assets", beside(0)),
        ("HEAD /assets/", beside(0)),
        ("GET /nowhere", beside(0)),
    ];
    judge(rules, &rows).await;
    // All are refused where all without a rule are.
    let denied =
        rows.map(|(request, expected)| (request, if expected == paid(2) { expected } else { REFUSED }));
    judge(|builder| rules(builder).deny_unmatched(), &denied).await;
}

#[tokio::test]
async fn paths_beside_two_rules_are_refused() {
    let rules = ["/{*rest}", "/v1/quotes", "/v1/quotes/{*rest}", "/v1/jobs/{*rest}"];
    let rules =
        |builder| (1..).zip(rules).map(|(cost, route)| priced(route, cost)).fold(builder, GateBuilder::rule);
    let rows = [
        ("GET /", beside(1)),
        ("GET /v1/quotes", paid(2)),
        ("GET /v1/quotes/", REFUSED),
        ("GET /v1/jobs", REFUSED),
        ("GET /v1/news/", paid(1)),
    ];
    judge(rules, &rows).await;
    // One of them that is named is judged under its rule; so are those of rules that ask for the same.
    let more = |builder| rules(builder).rule(priced("/v1/jobs", 9));
    judge(more, &[("GET /v1/jobs", paid(9)), ("GET /v1/jobs/", REFUSED)]).await;
    let same = |builder| {
        ["/{*rest}", "/v1/jobs", "/v1/jobs/{*rest}"]
            .map(|route| priced(route, 1))
            .into_iter()
            .fold(builder, GateBuilder::rule)
    };
    judge(same, &[("GET /v1/jobs/", beside(1)), ("GET /", beside(1))]).await;
}

#[tokio::test]
async fn encoded_path_never_bypasses_a_rule() {
    let rules = |builder: GateBuilder| {
        let priced = [
            priced("GET /files/secret", 2),
            priced("/v1/data/{id}", 3),
            priced("/v1/data/all", 4),
            priced("/v1/same/{id}", 5),
            priced("/v1/same/me", 5),
            priced("/caf%C3%A9/{id}", 6),
        ];
        priced.into_iter().chain([public("GET /files/{*rest}")]).fold(builder, GateBuilder::rule)
    };
    let rows = [
        // A nested service that decodes paths serves all of them as `/files/secret`.
        ("GET /files/%73ecret", REFUSED),
        ("HEAD /files/secre%74", REFUSED),
        ("GET /files/%73ecret/", REFUSED),
        ("GET /files//%73ecret", REFUSED),
        ("GET /v1/data/%61ll", REFUSED),
        // Decoded, they have the same rule, or one that asks for the same.
        ("GET /v1/data/a%20b", paid(3)),
        ("GET /v1/data/%C3%A9", paid(3)),
        ("GET /v1/data/%ff", paid(3)),
        ("GET /v1/data/%7Bid%7D", paid(3)),
        ("GET /v1/same/%6De", paid(5)),
        ("GET /caf%C3%A9/%61", paid(6)),
        // These three are not decoded.
        ("GET /v1/data/%2561ll", paid(3)),
        ("GET /v1/data/a%2Bb", paid(3)),
        ("GET /v1/data/a%2Fb", beside(3)),
        // No rule names the path as it was sent.
        ("GET /v1/d%61ta/all", beside(4)),
        ("GET /caf%c3%a9/a", beside(6)),
        ("GET /v1/n%6Fwhere", beside(0)),
    ];
    judge(rules, &rows).await;
    let open = World::new();
    let gate = rules(open.kwery()).build().unwrap();
    assert_eq!(open.send(&gate, without_key("GET /files/a%20b.css")).await.status, 200);
}

#[tokio::test]
async fn default_rule_gives_no_bypass() {
    let with = |cost: u64, scopes: ScopeRule| {
        let mut otherwise = priced("/", cost);
        otherwise.scopes = scopes;
        move |builder: GateBuilder| builder.otherwise(otherwise).rule(priced("/v1/quotes/{*rest}", 2))
    };
    judge(with(7, ScopeRule::Unnamed), &[("GET /v1/quotes", REFUSED)]).await;
    judge(with(2, ScopeRule::Unnamed), &[("GET /v1/quotes", beside(2))]).await;
    judge(with(0, ScopeRule::Everyone), &[("GET /v1/quotes", paid(2))]).await;
}

#[tokio::test]
async fn empty_segments_never_bypass_a_rule() {
    let rules = ["/proxy/{*rest}", "/v1/{*rest}", "/v1/candles", "/v2/{id}/export/{*rest}", "/{x}/b/{*rest}"];
    let rules =
        |builder| (1..).zip(rules).map(|(cost, route)| priced(route, cost)).fold(builder, GateBuilder::rule);
    let rows = [
        ("GET /proxy/https://example.com/a//b/", beside(1)),
        ("GET /proxy//", REFUSED),
        ("GET /v1/a//b", beside(2)),
        ("GET /v1//candles", REFUSED),
        ("GET /v1/candles//", REFUSED),
        ("GET /v2//export/a", REFUSED),
        ("GET /v2/a/export//b", beside(4)),
        ("GET //proxy/a", REFUSED),
        ("GET //b/a", REFUSED),
        ("GET /other//a", REFUSED),
    ];
    judge(rules, &rows).await;
}
