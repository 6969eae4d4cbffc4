//! The gate around and within axum's routers, and among other layers.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod layers;
mod sockets;
use std::convert::Infallible;

use crate::support;

use axum::Router;
use axum::body::Body;
use axum::extract::{OriginalUri, Request};
use axum::response::Response;
use axum::routing::get;
use support::providers::public;
use support::{Answer, World, with_key, without_key};
use tollgate::account::ParamLimits;
use tollgate::rule::Cost;
use tollgate::{Credits, Gate, KeyId, Principal, Rule, TollgateLayer};
use tower::{Layer, Service, ServiceExt};
use tower_http::normalize_path::NormalizePathLayer;

const KEY: &str = "kwery_live_0123456789";

fn costly(route: &str) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    rule.cost = Cost::Fixed(Credits::new(1));
    rule
}

/// A world with one key of 100 credits, and a gate with these rules.
fn world(rules: impl IntoIterator<Item = Rule>) -> (World, Gate, KeyId) {
    let world = World::new();
    let id = world.plain_key(KEY);
    let gate = rules.into_iter().fold(world.kwery(), tollgate::GateBuilder::rule).build().unwrap();
    (world, gate, id)
}

async fn answer<S>(app: &S, request: http::request::Builder) -> Answer
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    Answer::read(app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()).await
}

#[tokio::test]
async fn nested_router_is_judged_by_the_full_path() {
    let rules = [
        costly("/v1/data"),
        costly("/v1"),
        costly("/of/{tenant}/data"),
        public("/v1/open"),
        // What a nested router would show of `/v1/secret` and `/v1`: not what was asked for.
        public("/secret"),
        public("/"),
    ];
    let (world, gate, id) = world(rules);
    let layer = TollgateLayer::new(gate);
    let pages = || {
        let page = || get(async |OriginalUri(uri): OriginalUri| uri.to_string());
        Router::new()
            .route("/", page())
            .route("/data", page())
            .route("/open", page())
            .route("/secret", page())
    };
    let apps = [
        Router::new()
            .nest("/v1", pages().layer(layer.clone()))
            .nest("/of/{tenant}", pages().layer(layer.clone())),
        Router::new()
            .nest("/v1", pages().route_layer(layer.clone()))
            .nest("/of/{tenant}", layer.around(pages()).into()),
        Router::new()
            .nest_service("/v1", layer.around(pages()))
            .nest_service("/of/{tenant}", layer.layer(pages())),
        Router::new().merge(layer.around(Router::new().nest("/v1", pages()).nest("/of/{tenant}", pages()))),
        // The gate of a nested router within a nested router.
        Router::new()
            .nest("/v1", pages().layer(layer.clone()))
            .nest("/of", Router::new().nest("/{tenant}", pages().layer(layer.clone()))),
    ];
    for (place, app) in apps.iter().enumerate() {
        world.set_balance(id, 100);
        for path in ["/v1/secret", "/v1", "/v1/data", "/of/acme", "/of/acme/data"] {
            assert_eq!(answer(app, without_key(&format!("GET {path}"))).await.status, 401, "{place} {path}");
        }
        assert_eq!(answer(app, without_key("GET /v1/open")).await.body, "/v1/open", "{place}");
        for (path, balance) in [("/v1/data", 99), ("/v1", 98), ("/of/acme/data", 97), ("/of/acme/open", 97)] {
            assert_eq!(answer(app, with_key(&format!("GET {path}"), KEY)).await.body, path, "{place}");
            assert_eq!(world.balance(id), balance, "{place} {path}");
        }
        // The key is taken out of what a handler sees of the original address too.
        assert_eq!(
            answer(app, without_key(&format!("GET /v1/data?api-key={KEY}&a=1"))).await.body,
            "/v1/data?a=1"
        );
    }
}

#[tokio::test]
async fn path_rewritten_before_nesting_is_refused() {
    let (world, gate, _) = world([public("/v1/open"), public("/open")]);
    let inner = TollgateLayer::new(gate).layer(world.inner.clone());
    // The slash is trimmed between the outermost router and the gate: what the gate is shown is not what was asked for.
    let app: Router =
        Router::new().nest_service("/v1", NormalizePathLayer::trim_trailing_slash().layer(inner));
    assert_eq!(answer(&app, without_key("GET /v1/open/")).await.status, 400);
    assert_eq!(answer(&app, with_key("GET /v1/data/", KEY)).await.status, 400);
    assert_eq!(world.calls(), 0);
    assert_eq!(answer(&app, without_key("GET /v1/open")).await.status, 200);
}

#[tokio::test]
async fn handler_gets_the_principal() {
    let world = World::new();
    world.key(KEY, |record, _| {
        record.caps = Some([("limit".to_owned(), tollgate::account::ParamLimit::AtMost(3))].into());
    });
    let gate = world.kwery().rule(public("GET /open")).build().unwrap();
    let who = async |who: Principal| who.account().id.to_string();
    let maybe = async |who: Option<Principal>, caps: Option<ParamLimits>| match (who, caps) {
        (Some(who), Some(caps)) => format!("{} {:?}", who.account().id, caps.at_most("limit")),
        (None, None) => "nobody".into(),
        _ => "one without the other".into(),
    };
    let list = async |caps: ParamLimits| caps.at_most("limit").unwrap_or(100).to_string();
    let bare = Router::new().route("/who", get(who)).route("/list", get(list));
    let bare = bare.route("/open", get(maybe)).route("/maybe", get(maybe));
    let app = TollgateLayer::new(gate).around(bare.clone());
    assert_eq!(answer(&app, with_key("GET /who", KEY)).await.body, "account-0");
    assert_eq!(answer(&app, with_key("GET /list", KEY)).await.body, "3");
    assert_eq!(answer(&app, with_key("GET /maybe", KEY)).await.body, "account-0 Some(3)");
    assert_eq!(answer(&app, without_key("GET /open")).await.body, "nobody");
    for path in ["/who", "/list"] {
        let lacking = answer(&bare, with_key(&format!("GET {path}"), KEY)).await;
        assert_eq!(lacking.status, 500);
        assert!(lacking.body.contains("the handler is not behind a gate"), "{lacking:?}");
    }
    assert_eq!(answer(&bare, with_key("GET /maybe", KEY)).await.body, "nobody");
}
