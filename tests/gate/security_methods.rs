//! Methods, preflights and routers around public routes: section C of the security cases.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use axum::Router;
use axum::routing::{any, get};
use support::providers::{BACKQUANT, public};
use support::wire::Server;
use support::{World, with_key, without_key};
use tollgate::rule::{Cost, ScopeRule};
use tollgate::{Credits, Gate, Rule, TollgateLayer};

#[tokio::test]
async fn other_methods_on_public_path_need_a_key() {
    let world = World::new();
    let gate = world.backquant().build().unwrap();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "QUERY"] {
        let answer = world.send(&gate, without_key(&format!("{method} /v2/health"))).await;
        assert_eq!(answer.status, 401, "{method}");
    }
}

#[tokio::test]
async fn bad_key_on_a_public_route_is_ignored() {
    let world = World::new();
    let store = support::faulty_back_ends::Failing::new(std::sync::Arc::clone(&world.store));
    let gate = world.with_store(store.clone()).backquant().build().unwrap();
    for key in ["", "bad", BACKQUANT] {
        let request = with_key("GET /v2/health", key).header("x-api-key", "another");
        assert_eq!(world.send(&gate, request).await.status, 200, "{key}");
        assert!(world.inner.principal().is_none());
    }
    assert_eq!(store.asked(), 0);
}

#[tokio::test]
async fn head_on_a_public_get_is_public() {
    let world = World::new();
    let gate = world.backquant().build().unwrap();
    assert_eq!(world.send(&gate, without_key("HEAD /v2/health")).await.status, 200);
    let server = Server::gated(&gate, Router::new().route("/v2/health", get(async || "healthy"))).await;
    let head = server.http1(&[b"HEAD /v2/health HTTP/1.1"]).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn head_costs_as_much_as_get() {
    let world = World::new();
    let id = world.plain_key(BACKQUANT);
    let mut rule = Rule::new("GET /v2/gex").unwrap();
    rule.cost = Cost::Fixed(Credits::new(7));
    let gate = world.backquant().rule(rule).build().unwrap();
    for (route, balance) in [("GET /v2/gex", 93), ("HEAD /v2/gex", 86), ("POST /v2/gex", 86)] {
        assert_eq!(world.send(&gate, with_key(route, BACKQUANT)).await.status, 200);
        assert_eq!(world.balance(id), balance, "{route}");
    }
}

type RequestParts = &'static [(&'static str, &'static str)];

#[tokio::test]
async fn only_true_preflights_pass() {
    let world = World::new();
    let id = world.plain_key(BACKQUANT);
    let (passing, refusing) =
        (world.backquant().build().unwrap(), world.backquant().refuse_preflights().build().unwrap());
    let origin = ("origin", "https://app.example");
    let method = ("access-control-request-method", "GET");
    let rows: [(&str, &str, RequestParts, u16); 6] = [
        (
            "true preflight",
            "OPTIONS /v2/x",
            &[("origin", "https://app.example"), ("access-control-request-method", "GET")],
            200,
        ),
        ("no origin", "OPTIONS /v2/x", &[("access-control-request-method", "GET")], 401),
        ("no method", "OPTIONS /v2/x", &[("origin", "https://app.example")], 401),
        ("plain", "OPTIONS /v2/x", &[], 401),
        (
            "another method",
            "GET /v2/x",
            &[("origin", "https://app.example"), ("access-control-request-method", "GET")],
            401,
        ),
        (
            "in another case",
            "options /v2/x",
            &[("origin", "https://app.example"), ("access-control-request-method", "GET")],
            401,
        ),
    ];
    for (name, route, fields, status) in rows {
        let request =
            || fields.iter().fold(without_key(route), |request, (name, value)| request.header(*name, *value));
        assert_eq!(world.send(&passing, request()).await.status, status, "{name}");
        assert_eq!(world.send(&refusing, request()).await.status, 401, "{name}");
    }
    // With a key it is authenticated as nobody, and free.
    let keyed = with_key("OPTIONS /v2/x", BACKQUANT).header(origin.0, origin.1).header(method.0, method.1);
    assert_eq!(world.send(&passing, keyed).await.status, 200);
    assert!(world.inner.principal().is_none());
    assert_eq!(world.balance(id), 100);
}

#[tokio::test]
async fn preflight_with_a_huge_list_passes() {
    let world = World::new();
    let gate = world.backquant().build().unwrap();
    let request = without_key("OPTIONS /v2/x")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", ",".repeat(10_000));
    assert_eq!(world.send(&gate, request).await.status, 200);
}

#[tokio::test]
async fn method_override_is_ignored() {
    let world = World::new();
    world.key(BACKQUANT, |record, _| record.scopes = Some(vec!["keys:create".into()]));
    let rule = |route: &str, scope: &str| {
        let mut rule = Rule::new(route).unwrap();
        rule.scopes = ScopeRule::AnyOf(vec![scope.into()]);
        rule
    };
    let gate = world
        .backquant()
        .rule(rule("POST /keys/{id}", "keys:create"))
        .rule(rule("DELETE /keys/{id}", "keys:delete"));
    let gate: Gate = gate.build().unwrap();
    let request =
        with_key("POST /keys/1?_method=DELETE", BACKQUANT).header("x-http-method-override", "DELETE");
    assert_eq!(world.send(&gate, request).await.status, 200);
    assert_eq!(world.inner.seen().method, "POST");
    let request = with_key("DELETE /keys/1?_method=POST", BACKQUANT).header("x-http-method-override", "POST");
    assert_eq!(world.send(&gate, request).await.status, 403);
}

#[tokio::test]
async fn trace_is_never_served() {
    let world = World::new();
    world.plain_key(BACKQUANT);
    let gate = world.backquant().rule(public("/v2/open")).build().unwrap();
    for path in ["/v2/x", "/v2/open"] {
        let answer = world.send(&gate, with_key(&format!("TRACE {path}"), BACKQUANT)).await;
        assert_eq!(answer.status, 405);
        assert!(!answer.header("allow").unwrap().contains("TRACE"));
    }
    // A method that nobody knows is judged like any other.
    assert_eq!(world.send(&gate, without_key("BREW /v2/x")).await.status, 401);
}

#[tokio::test]
async fn http1_websocket_without_key_is_401() {
    let world = World::new();
    let gate = world.backquant().build().unwrap();
    let request =
        without_key("GET /v2/stream").header("connection", "Upgrade").header("upgrade", "websocket");
    assert_eq!(world.send(&gate, request).await.status, 401);
}

#[tokio::test]
async fn unknown_path_without_key_is_401() {
    let app = || Router::new().route("/v2/x", get(async || "secret")).fallback(any(async || "fallback"));
    let world = World::new();
    world.plain_key(BACKQUANT);
    let gate = world.backquant().build().unwrap();
    let wrapped = Server::gated(&gate, app()).await;
    assert_eq!(wrapped.http1(&[b"GET /nowhere HTTP/1.1"]).await.status, 401);
    let key = format!("X-API-Key: {BACKQUANT}");
    assert_eq!(wrapped.http1(&[b"GET /nowhere HTTP/1.1", key.as_bytes()]).await.body, "fallback");
    // Why the documentation says to wrap the whole service: `route_layer` leaves the fallback open.
    let layered = Router::new().route("/v2/x", get(async || "secret")).route_layer(TollgateLayer::new(gate));
    let server = Server::plain(layered.fallback(any(async || "fallback"))).await;
    assert_eq!(server.http1(&[b"GET /v2/x HTTP/1.1"]).await.status, 401);
    assert_eq!(server.http1(&[b"GET /nowhere HTTP/1.1"]).await.body, "fallback");
}

#[tokio::test]
async fn nested_router_is_judged_by_the_full_path() {
    let world = World::new();
    world.key(BACKQUANT, |record, _| record.scopes = Some(vec!["read".into()]));
    let mut admin = Rule::new("/v1/admin").unwrap();
    admin.scopes = ScopeRule::AnyOf(vec!["admin".into()]);
    let mut rest = Rule::new("/v1/data").unwrap();
    rest.scopes = ScopeRule::AnyOf(vec!["read".into()]);
    let gate = world.backquant().rule(admin).rule(rest).build().unwrap();
    let inner = Router::new().route("/admin", get(async || "admin")).route("/data", get(async || "data"));
    let key = format!("X-API-Key: {BACKQUANT}");
    let outside = Server::gated(&gate, Router::new().nest("/v1", inner.clone())).await;
    // Within the nested router axum shows the stripped path: the gate judges the whole one all the same.
    let within = Server::plain(Router::new().nest("/v1", inner.layer(TollgateLayer::new(gate)))).await;
    assert_eq!(outside.http1(&[b"GET /v1/admin HTTP/1.1", key.as_bytes()]).await.status, 403);
    assert_eq!(outside.http1(&[b"GET /v1/data HTTP/1.1", key.as_bytes()]).await.body, "data");
    assert_eq!(within.http1(&[b"GET /v1/admin HTTP/1.1", key.as_bytes()]).await.status, 403);
    assert_eq!(within.http1(&[b"GET /v1/data HTTP/1.1", key.as_bytes()]).await.body, "data");
}
