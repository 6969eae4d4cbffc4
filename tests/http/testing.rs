//! The helpers for users' tests find what is open, and hand out keys that are good.
#![cfg(all(feature = "testing", feature = "config"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use http::{Request, StatusCode};
use serde_json::json;
use tollgate::account::{AccountStatus, Allowance};
use tollgate::credit::{Balance, Charge, Charged, Refund, Settlement};
use tollgate::key::KeyHash;
use tollgate::limit::{Correction, Draw, LimitDecision, WindowStatus};
use tollgate::testing::{TestGate, documented_routes, open_routes, unrouted_rules, unruled_routes};
use tollgate::{Config, CreditLedger, Credits, KeyRecord, KeyStore, RateLimiter, StoreFuture};
use tower::{Layer, ServiceExt};

const GATE: &str = r#"
    sources = [{ header = "X-API-Key" }]
    formats = [{ prefix = "acme_", body = 32 }]
    rules = [
        { route = "GET /health", public = true },
        { route = "GET /v1/quotes/{symbol}", cost = 3, subscription = true, agreements = ["terms"] },
    ]
    agreements = { terms = { url = "https://acme.example/terms" } }
    plans = { pro = { quotas = ["2 per minute"] }, free = {} }
    [[demo]]
    key = "acme_demo"
    id = "00000000-0000-4000-8000-000000000001"
    account = "demo"
    plan = "free"
"#;

fn routes() -> Router {
    Router::new()
        .route("/health", get(|| async { "up" }))
        .route("/v1/quotes/{symbol}", get(|| async { "{}" }))
        .route("/v1/orders", post(|| async { "{}" }))
}

const ALL: [&str; 5] =
    ["GET /health", "GET /v1/quotes/{symbol}", "POST /v1/orders", "/v1/quotes/BTC", "GET /nowhere"];

#[tokio::test]
async fn a_walk_finds_what_answers_without_a_key() {
    let test = TestGate::from_toml(GATE).unwrap();
    let whole = test.layer().layer(routes());
    assert_eq!(open_routes::<Body, _, _>(&whole, ALL).await.unwrap(), ["GET /health"]);
    // What a layer on single routes misses: the fallback, and the route that came later.
    let partly = Router::new()
        .route("/v1/quotes/{symbol}", get(|| async { "{}" }))
        .route_layer(test.layer())
        .route("/v1/orders", post(|| async { "{}" }));
    let open = open_routes::<Body, _, _>(&partly, ALL).await.unwrap();
    assert_eq!(open, ["GET /health", "POST /v1/orders", "GET /nowhere"]);
    assert_eq!(open_routes::<Body, _, _>(&whole, ["no route"]).await.unwrap(), ["no route"]);
}

#[tokio::test]
async fn walk_covers_an_openapi_document() {
    let test = TestGate::from_toml(GATE).unwrap();
    let document = json!({ "paths": {
        "/health": { "summary": "up", "get": {} },
        "/v1/quotes/{symbol}": { "parameters": [], "get": {}, "delete": {} },
    } });
    let routes_of_it = documented_routes(&document);
    assert_eq!(routes_of_it, ["GET /health", "GET /v1/quotes/{symbol}", "DELETE /v1/quotes/{symbol}"]);
    let app = test.layer().layer(routes());
    assert_eq!(open_routes::<Body, _, _>(&app, routes_of_it).await.unwrap(), ["GET /health"]);
    assert!(documented_routes(&json!([])).is_empty());
}

#[tokio::test]
async fn routes_added_after_the_gate_are_open() {
    let test = TestGate::from_toml(GATE).unwrap();
    let late = || get(|| async { "late" });
    let app = Router::from(test.layer().around(routes())).route("/late", late());
    let app = app.nest("/nested", Router::new().route("/late", late())).nest_service("/service", late());
    let asked = ["GET /health", "POST /v1/orders", "GET /late", "GET /nested/late", "GET /service"];
    let open = open_routes::<Body, _, _>(&app, asked).await.unwrap();
    assert_eq!(open, ["GET /health", "GET /late", "GET /nested/late", "GET /service"]);
    // A fallback takes the gate's own place.
    let app = Router::from(test.layer().around(routes())).fallback(|| async { "late" });
    assert_eq!(open_routes::<Body, _, _>(&app, asked).await.unwrap(), asked);
}

#[tokio::test]
async fn walk_fills_parameters_within_segments() {
    let test = TestGate::from_toml(GATE).unwrap();
    let app = Router::from(test.layer().around(Router::new())).route("/img-{id}", get(|| async { "" }));
    assert_eq!(open_routes::<Body, _, _>(&app, ["GET /img-{id}"]).await.unwrap(), ["GET /img-{id}"]);
}

#[test]
fn routes_and_rules_are_compared() {
    let rules = r#"
        sources = [{ header = "X-API-Key" }]
        formats = [{ prefix = "acme_", body = 32 }]
        management = { path = "/keys" }
        rules = [
            { route = "GET /health", public = true },
            { route = "HEAD /v1/quotes/{symbol}" },
            { route = ["GET /v1/quotes/{symbol}", "/v1/histroy/{city}"], cost = 20 },
            { route = "POST /v1/jobs" },
            { route = "/v1/files/*" },
            { route = "GET /v1/all" },
            { route = "GET /v1/all.{format}" },
        ]
        plans = { pro = {} }
    "#;
    let test = TestGate::from_toml(rules).unwrap();
    let routes = [
        "GET /health",
        "GET /v1/quotes/{symbol:[A-Z]{3,4}}",
        "GET /v1/history/{city}",
        "/v1/jobs",
        "/v1/files/{tail:.*}",
        "/v1/files",
        "GET /v1/files/",
        "GET /v1//all",
        "GET /v1/all.{format}",
        "no route",
    ];
    let unruled = unruled_routes(test.gate(), routes);
    let expected =
        ["GET /v1/history/{city}", "/v1/jobs", "/v1/files", "GET /v1/files/", "GET /v1//all", "no route"];
    assert_eq!(unruled, expected);
    assert_eq!(unrouted_rules(test.gate(), routes), ["/v1/histroy/{city}", "GET /v1/all"]);
}

#[tokio::test]
async fn unmatched_routes_can_be_denied() {
    let denying = GATE.replace("[[demo]]", "default = { deny = true, cost = 2 }\n[[demo]]");
    let test = TestGate::from_toml(&denying).unwrap();
    let app = test.layer().layer(routes());
    let answer = async |route: &str, key: Option<&str>| {
        let (method, path) = route.split_once(' ').unwrap();
        let request = Request::builder().method(method).uri(path);
        let request = key.into_iter().fold(request, |request, key| request.header("X-API-Key", key));
        app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
    };
    let key = test.key("free").unwrap();
    let key = key.expose_secret();
    let first = test.credits(key).unwrap();
    for route in
        ["POST /v1/orders", "GET /nowhere", "GET /v1/quotes", "GET /v1/quotes/BTC/", "GET /", "POST /health"]
    {
        assert_eq!(answer(route, Some(key)).await, StatusCode::FORBIDDEN, "{route}");
        assert_eq!(answer(route, None).await, StatusCode::UNAUTHORIZED, "{route}");
    }
    assert_eq!(test.credits(key).unwrap(), first);
    assert_eq!(answer("GET /v1/quotes/BTC", Some(key)).await, StatusCode::OK);
    assert_eq!(answer("GET /health", None).await, StatusCode::OK);
    assert_eq!(answer("HEAD /health", None).await, StatusCode::OK);
}

/// The back ends of a service, which a test must leave alone.
#[derive(Debug)]
struct Theirs;

impl KeyStore for Theirs {
    fn find(&self, _: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        panic!("a test gate asked the store of the service");
    }
}

impl RateLimiter for Theirs {
    fn draw(&self, _: &Draw<'_>) -> StoreFuture<LimitDecision> {
        panic!("a test gate asked the limiter of the service");
    }

    fn peek(&self, _: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        panic!("a test gate asked the limiter of the service");
    }

    fn correct(&self, _: &Correction<'_>) -> StoreFuture<()> {
        panic!("a test gate asked the limiter of the service");
    }
}

impl CreditLedger for Theirs {
    fn charge(&self, _: &Charge<'_>) -> StoreFuture<Charged> {
        panic!("a test gate asked the ledger of the service");
    }

    fn settle(&self, _: &Settlement<'_>) -> StoreFuture<()> {
        panic!("a test gate asked the ledger of the service");
    }

    fn refund(&self, _: &Refund<'_>) -> StoreFuture<()> {
        panic!("a test gate asked the ledger of the service");
    }
}

#[tokio::test]
async fn test_gate_replaces_the_back_ends() {
    let builder = Config::from_toml(GATE, "test.toml").unwrap().builder().unwrap();
    let builder = builder.store(Theirs).limiter(Theirs).ledger(Theirs);
    let test = TestGate::from_builder(builder).unwrap();
    let key = test.key("pro").unwrap();
    let key = key.expose_secret();
    let first = test.credits(key).unwrap();
    assert_eq!(status(&test, key).await, StatusCode::OK);
    assert_eq!(test.credits(key).unwrap().get(), first.get() - 3);
    // Credits that are changed by hand are the test's too.
    let (account, now) = ("any".into(), test.gate().clock().now().wall());
    let read = test
        .gate()
        .credit_admin()
        .unwrap()
        .balance_of(&account, &tollgate::credit::Currency::CREDITS, &Allowance::None, now)
        .await;
    assert_eq!(read.unwrap(), Balance::Limited(Credits::ZERO));
}

async fn status(test: &TestGate, key: &str) -> StatusCode {
    let request = Request::get("/v1/quotes/BTC").header("X-API-Key", key).body(Body::empty()).unwrap();
    test.layer().layer(routes()).oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn test_keys_and_clock_are_controllable() {
    let test = TestGate::from_toml(GATE).unwrap();
    let key = test.key("pro").unwrap();
    let key = key.expose_secret();
    let first = test.credits(key).unwrap();
    assert_eq!(status(&test, key).await, StatusCode::OK);
    assert_eq!(test.credits(key).unwrap().get(), first.get() - 3);
    assert_eq!(status(&test, key).await, StatusCode::OK);
    assert_eq!(status(&test, key).await, StatusCode::TOO_MANY_REQUESTS);
    test.clock().advance(Duration::from_mins(1));
    test.set_credits(key, Credits::new(2));
    assert_eq!(status(&test, key).await, StatusCode::PAYMENT_REQUIRED);

    let suspended = test.key_with("pro", |_, account| account.status = AccountStatus::Suspended).unwrap();
    assert_eq!(status(&test, suspended.expose_secret()).await, StatusCode::FORBIDDEN);
    let restricted = test.key_with("pro", |record, _| record.scopes = Some(Vec::new())).unwrap();
    assert_eq!(status(&test, restricted.expose_secret()).await, StatusCode::FORBIDDEN);
    // The demo key is known, and its account has no subscription.
    assert_eq!(status(&test, "acme_demo").await, StatusCode::FORBIDDEN);
    assert_eq!(test.credits("acme_unknown"), None);
    let error = test.key("gold").unwrap_err();
    assert_eq!(error.value(), "gold");
}

#[test]
fn misspelt_plan_of_a_key_is_suggested() {
    let test = TestGate::from_toml(GATE).unwrap();
    let error = test.key("prro").unwrap_err();
    assert_eq!(error.value(), "prro");
    assert!(error.to_string().contains("did you mean `pro`?"), "{error}");
    assert!(!test.key("platinum").unwrap_err().to_string().contains("did you mean"));
}
