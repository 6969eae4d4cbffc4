//! Long-lived connections: judged when they begin, and not again.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::WebSocketUpgrade;
use axum::routing::get;
use futures_util::{SinkExt, StreamExt, stream};
use http_body_util::BodyExt;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tollgate::key::KeyStatus;
use tollgate::{Gate, TollgateLayer};
use tower::ServiceExt;

use super::support::wire::Server;
use super::{KEY, answer, costly, with_key, world};

/// A server that says over a WebSocket what it is told.
async fn echo(gate: Gate) -> Server {
    let echo = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(async |mut socket| {
            while let Some(Ok(message)) = socket.recv().await {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
        })
    };
    Server::plain(TollgateLayer::new(gate).around(Router::new().route("/echo", get(echo)))).await
}

#[tokio::test]
async fn websocket_is_judged_before_it_opens() {
    let (world, gate, id) = world([costly("GET /echo")]);
    let server = echo(gate).await;
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

#[tokio::test]
async fn open_socket_outlives_its_revoked_key() {
    let (world, gate, id) = world([costly("GET /echo")]);
    let server = echo(gate).await;
    let request = || format!("ws://{}/echo?api-key={KEY}", server.0).into_client_request().unwrap();
    let (mut socket, _) = tokio_tungstenite::connect_async(request()).await.unwrap();
    assert!(world.store.set_status(id, KeyStatus::Revoked));
    // The decision, as the README's limits tell it: a revocation shows on the next request.
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    let error = tokio_tungstenite::connect_async(request()).await.unwrap_err();
    let Error::Http(response) = error else { panic!("{error}") };
    assert_eq!((response.status().as_u16(), world.balance(id)), (401, 99));
}

#[tokio::test]
async fn open_stream_outlives_its_revoked_key() {
    let (world, gate, id) = world([costly("GET /events")]);
    let events = || stream::iter(["data: one\n\n", "data: two\n\n"]).map(Ok::<_, std::io::Error>);
    let routes = Router::new().route("/events", get(async move || Body::from_stream(events())));
    let app = TollgateLayer::new(gate).around(routes);
    let request = || with_key("GET /events", KEY);
    let mut begun = app.clone().oneshot(request().body(Body::empty()).unwrap()).await.unwrap();
    let mut next = async || begun.frame().await?.unwrap().into_data().ok();
    assert_eq!(next().await, Some(Bytes::from("data: one\n\n")));
    assert!(world.store.set_status(id, KeyStatus::Revoked));
    assert_eq!(next().await, Some(Bytes::from("data: two\n\n")));
    assert_eq!((next().await, world.balance(id)), (None, 99));
    assert_eq!(answer(&app, request()).await.status, 401);
}
