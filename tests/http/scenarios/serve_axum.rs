//! The routes of the table, as axum serves them.

use std::net::SocketAddr;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, options};
use axum::{Extension, Router};
use futures_util::stream::{self, StreamExt};
use http::{HeaderValue, StatusCode};
use tollgate::gate::FinalCost;
use tollgate::{Credits, Principal, TollgateLayer};

use crate::scenarios::fixture::{Notes, Stage};

pub(crate) async fn serve(stage: &Stage) -> SocketAddr {
    let data = || get(async || "data").post(async || "data").options(async || StatusCode::NO_CONTENT);
    let chunks = || stream::iter(["one ", "two ", "three"]).map(Ok::<_, std::io::Error>);
    let served = ["free", "scoped", "pro", "paid", "signed", "dear", "bulk", "rare", "weighed"];
    let app = Router::new()
        .route("/open", get(async || "open"))
        .route("/status", get(async || "status"))
        .route("/v1/ticker", any(ticker))
        .route("/v1/data", data())
        .route("/v1/stream", get(async move || Body::from_stream(chunks())))
        .route("/v1/fails", get(async || StatusCode::INTERNAL_SERVER_ERROR))
        .route("/v1/lost", get(async || StatusCode::NOT_FOUND))
        .route("/v1/final", get(reported))
        .route("/v1/slow", get(slow))
        .route("/v1/endless", get(endless))
        .route("/v1/echo", get(upgrade))
        .route("/v1/nothing", options(async || StatusCode::NO_CONTENT));
    let app = served.iter().fold(app, |app, name| app.route(&format!("/v1/{name}"), any(async || "served")));
    let app = TollgateLayer::new(stage.gate.clone()).around(app.layer(Extension(stage.notes.clone())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, service).await.unwrap() });
    address
}

async fn ticker(principal: Principal) -> &'static str {
    if principal.is_anonymous() { "for all" } else { "for a key" }
}

async fn reported() -> Response {
    let mut response = "data".into_response();
    response.extensions_mut().insert(FinalCost(Credits::new(4)));
    response
}

async fn slow(Extension(notes): Extension<Notes>) {
    notes.work().await;
}

async fn endless(Extension(notes): Extension<Notes>) -> Body {
    let first = stream::once(async { Ok::<_, std::io::Error>("one ") });
    let rest = stream::once(async move {
        notes.work().await;
        Err(std::io::Error::other("nobody is left to read it"))
    });
    Body::from_stream(first.chain(rest))
}

async fn upgrade() -> Response {
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    response.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
    response.headers_mut().insert("upgrade", HeaderValue::from_static("echo"));
    response
}
