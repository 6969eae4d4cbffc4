//! The gate among other layers, in every order.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderName};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use tollgate::{Gate, TollgateLayer};
use tower::{Layer, ServiceExt};
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::normalize_path::NormalizePathLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

use super::{KEY, answer, costly, public, with_key, without_key, world};

/// A layer that the documentation names beside the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Around {
    Gate,
    Cors,
    Trace,
    RequestId,
    Compression,
    Timeout,
    Normalize,
}

/// The order that the layer's documentation gives, outermost first.
const DOCUMENTED: [Around; 7] = [
    Around::RequestId,
    Around::Trace,
    Around::Cors,
    Around::Normalize,
    Around::Gate,
    Around::Timeout,
    Around::Compression,
];

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
        // A router has routed before its layers run: what rewrites paths stands around it.
        Around::Normalize => {
            Router::new().fallback_service(NormalizePathLayer::trim_trailing_slash().layer(app))
        }
    })
}

#[tokio::test]
async fn gate_works_in_every_layer_order() {
    let (world, gate, id) = world([costly("GET /v1/data")]);
    let text = "a".repeat(4_000);
    let inner = Router::new().route("/v1/data", get(move || std::future::ready(text.clone())));
    let asks = |request: http::request::Builder| {
        request.header("origin", "https://app.example").header("accept-encoding", "gzip")
    };
    let orders = orders(&DOCUMENTED);
    assert_eq!(orders.len(), 5_040);
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

#[tokio::test]
async fn outer_path_rewrite_is_judged_as_routed() {
    let (world, gate, id) = world([costly("GET /v1/data"), public("GET /open")]);
    let inner = Router::new().route("/v1/data", get(async || "data")).route("/open", get(async || "open"));
    let others: Vec<Around> = DOCUMENTED.into_iter().filter(|layer| *layer != Around::Normalize).collect();
    for place in 0..=others.len() {
        let mut order = others.clone();
        order.insert(place, Around::Normalize);
        let app = stacked(&order, &gate, inner.clone());
        let outside = place <= others.iter().position(|layer| *layer == Around::Gate).unwrap();
        assert!(order != DOCUMENTED || outside);
        world.set_balance(id, 100);
        assert_eq!(answer(&app, without_key("GET /v1/data/")).await.status, 401, "{order:?}");
        let served = answer(&app, with_key("GET /v1/data/", KEY)).await;
        assert_eq!((served.status, served.body.as_str()), (200, "data"), "{order:?}");
        // A path that differs from a rule's by a slash at the end is judged under that rule.
        assert_eq!(world.balance(id), 99, "{order:?}");
        // The documentation has it outside: within the gate, the path that is routed is not the one that was judged.
        let open = answer(&app, without_key("GET /open/")).await.status;
        assert_eq!(open, if outside { 200 } else { 401 }, "{order:?}");
    }
}

fn body(request: http::request::Builder) -> Request {
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn inner_timeout_is_free_outer_is_charged() {
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
async fn only_preflights_reach_the_cors_layer() {
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
