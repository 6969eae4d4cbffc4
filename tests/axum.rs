//! The gate around and within axum's routers, and among other layers.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{OriginalUri, Request};
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderName};
use axum::response::Response;
use axum::routing::get;
use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use support::providers::public;
use support::wire::Server;
use support::{Answer, World, with_key, without_key};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tollgate::{Caps, Cost, Credits, Gate, KeyId, Principal, Rule, TollgateLayer};
use tower::{Layer, ServiceExt};
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::normalize_path::NormalizePathLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

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

async fn answer(app: &Router, request: http::request::Builder) -> Answer {
    Answer::read(app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()).await
}

#[tokio::test]
async fn case_68_within_a_nested_router_the_whole_path_is_judged() {
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
            .nest("/of/{tenant}", layer.around(pages())),
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
async fn a_path_that_was_rewritten_on_the_way_into_a_nested_router_is_refused() {
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
async fn handlers_are_told_who_was_let_in() {
    let world = World::new();
    world.key(KEY, |record, _| record.caps = Some([("limit".to_owned(), tollgate::Cap::AtMost(3))].into()));
    let gate = world.kwery().rule(public("GET /open")).build().unwrap();
    let who = async |who: Principal| who.account().id.to_string();
    let maybe = async |who: Option<Principal>, caps: Option<Caps>| match (who, caps) {
        (Some(who), Some(caps)) => format!("{} {:?}", who.account().id, caps.at_most("limit")),
        (None, None) => "nobody".into(),
        _ => "one without the other".into(),
    };
    let list = async |caps: Caps| caps.at_most("limit").unwrap_or(100).to_string();
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
        assert!(lacking.body.contains("no gate stands before the handler"), "{lacking:?}");
    }
    assert_eq!(answer(&bare, with_key("GET /maybe", KEY)).await.body, "nobody");
}

#[tokio::test]
async fn case_63_a_websocket_is_judged_before_it_is_opened() {
    let (world, gate, id) = world([costly("GET /echo")]);
    let echo = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(async |mut socket| {
            while let Some(Ok(message)) = socket.recv().await {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
        })
    };
    let server =
        Server::plain(TollgateLayer::new(gate).around(Router::new().route("/echo", get(echo)))).await;
    let request = |query: &str| format!("ws://{}/echo{query}", server.0).into_client_request().unwrap();
    for (query, header) in
        [("", None), ("?api-key=kwery_live_unknown", None), ("", Some("kwery_live_unknown"))]
    {
        let mut refused = request(query);
        if let Some(key) = header {
            refused.headers_mut().insert("x-api-key", key.parse().unwrap());
        }
        let error = tokio_tungstenite::connect_async(refused).await.unwrap_err();
        let Error::Http(response) = error else { panic!("{error}") };
        assert_eq!(response.status(), 401);
        assert!(
            response.headers().contains_key("www-authenticate")
                && !response.headers().contains_key("upgrade")
        );
    }
    assert_eq!(world.balance(id), 100);
    let mut in_header = request("");
    in_header.headers_mut().insert("x-api-key", KEY.parse().unwrap());
    for (opened, balance) in [(in_header, 99), (request(&format!("?api-key={KEY}")), 98)] {
        let (mut socket, response) = tokio_tungstenite::connect_async(opened).await.unwrap();
        assert_eq!((response.status().as_u16(), world.balance(id)), (101, balance));
        for text in ["one", "two"] {
            socket.send(Message::text(text)).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
        }
    }
    // What was judged at its opening is not judged again.
    assert_eq!(world.balance(id), 98);
}

/// A layer that the documentation names beside the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Around {
    Gate,
    Cors,
    Trace,
    RequestId,
    Compression,
    Timeout,
}

/// All orders of the layers, outermost first.
fn orders(layers: &[Around]) -> Vec<Vec<Around>> {
    if layers.is_empty() {
        return vec![vec![]];
    }
    let rest =
        |first: Around| layers.iter().copied().filter(move |layer| *layer != first).collect::<Vec<_>>();
    let with = |first: Around| {
        let orders = orders(&rest(first));
        orders.into_iter().map(move |order| [&[first], &order[..]].concat())
    };
    layers.iter().flat_map(|first| with(*first)).collect()
}

fn stacked(order: &[Around], gate: &Gate, inner: Router) -> Router {
    order.iter().rev().fold(inner, |app, layer| match layer {
        Around::Gate => app.layer(TollgateLayer::new(gate.clone())),
        Around::Cors => app.layer(CorsLayer::permissive()),
        Around::Trace => app.layer(TraceLayer::new_for_http()),
        Around::RequestId => app
            .layer(PropagateRequestIdLayer::x_request_id())
            .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid)),
        Around::Compression => app.layer(CompressionLayer::new()),
        Around::Timeout => {
            app.layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_millis(20)))
        }
    })
}

#[tokio::test]
async fn the_gate_does_its_work_in_every_order_of_layers() {
    let (world, gate, id) = world([costly("GET /v1/data")]);
    let text = "a".repeat(4_000);
    let inner = Router::new().route("/v1/data", get(move || std::future::ready(text.clone())));
    let asks = |request: http::request::Builder| {
        request.header("origin", "https://app.example").header("accept-encoding", "gzip")
    };
    let all =
        [Around::Gate, Around::Cors, Around::Trace, Around::RequestId, Around::Compression, Around::Timeout];
    let orders = orders(&all);
    assert_eq!(orders.len(), 720);
    for order in orders {
        world.set_balance(id, 100);
        let app = stacked(&order, &gate, inner.clone());
        let place = |layer: Around| order.iter().position(|other| *other == layer).unwrap();
        let outside = |layer: Around| place(layer) < place(Around::Gate);

        let served = app.clone().oneshot(body(asks(with_key("GET /v1/data", KEY)))).await.unwrap();
        assert_eq!(served.status(), 200, "{order:?}");
        assert_eq!(served.headers()["content-encoding"], "gzip", "{order:?}");
        assert!(served.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{order:?}");
        assert!(served.headers().contains_key("x-request-id"), "{order:?}");
        assert_eq!(world.balance(id), 99, "{order:?}");

        let refused = app.clone().oneshot(body(asks(without_key("GET /v1/data")))).await.unwrap();
        assert_eq!(refused.status(), 401, "{order:?}");
        assert!(refused.headers().contains_key("www-authenticate"), "{order:?}");
        assert_eq!(refused.headers().get_all("x-request-id").iter().count(), 1, "{order:?}");
        // Scripts of another origin can read a refusal where CORS stands outside the gate.
        let readable = refused.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN);
        assert_eq!(readable, outside(Around::Cors), "{order:?}");

        let preflight = || without_key("OPTIONS /v1/data").header("access-control-request-method", "GET");
        let asked = app.clone().oneshot(body(asks(preflight()))).await.unwrap();
        assert_eq!(asked.status(), 200, "{order:?}");
        assert!(asked.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{order:?}");
        assert_eq!(world.balance(id), 99, "{order:?}");
    }
}

fn body(request: http::request::Builder) -> Request {
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_time_out_within_the_gate_costs_nothing_and_one_around_it_lets_the_charge_stand() {
    let (world, gate, id) = world([costly("GET /slow")]);
    let inner = Router::new().route("/slow", get(async || std::future::pending::<()>().await));
    for (order, balance) in [([Around::Gate, Around::Timeout], 100), ([Around::Timeout, Around::Gate], 99)] {
        let app = stacked(&order, &gate, inner.clone());
        let late = app.oneshot(body(with_key("GET /slow", KEY))).await.unwrap();
        assert_eq!((late.status().as_u16(), world.balance(id)), (504, balance), "{order:?}");
    }
    assert_eq!(world.ledger.open_charges(&world.account_of(id)), 0);
}

#[tokio::test]
async fn case_58_true_preflights_pass_to_the_cors_layer_and_nothing_else_does() {
    let (world, gate, id) = world([costly("/v1/data")]);
    let counted = world.inner.clone();
    let inner = Router::new().route("/v1/data", axum::routing::any_service(counted));
    let fields = ["origin", "access-control-request-method"].map(|name| name.parse::<HeaderName>().unwrap());
    for order in [[Around::Gate, Around::Cors], [Around::Cors, Around::Gate]] {
        let app = stacked(&order, &gate, inner.clone());
        for (method, origin, asked, status) in [
            ("OPTIONS", true, true, 200),
            ("OPTIONS", true, false, if order[0] == Around::Cors { 200 } else { 401 }),
            ("OPTIONS", false, true, if order[0] == Around::Cors { 200 } else { 401 }),
            ("OPTIONS", false, false, if order[0] == Around::Cors { 200 } else { 401 }),
            ("GET", true, true, 401),
        ] {
            let mut request = without_key(&format!("{method} /v1/data"));
            for (name, value) in
                fields.iter().zip([origin.then_some("https://a.example"), asked.then_some("GET")])
            {
                request = value.into_iter().fold(request, |request, value| request.header(name, value));
            }
            let response: Response = app.clone().oneshot(body(request)).await.unwrap();
            assert_eq!(response.status(), status, "{order:?} {method} {origin} {asked}");
        }
    }
    // None of them reached the service, and none was charged: tower-http's layer answers whatever is `OPTIONS`.
    assert_eq!((world.calls(), world.balance(id)), (0, 100));
}
