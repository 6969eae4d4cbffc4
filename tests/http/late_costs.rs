//! Costs that are known afterwards, over real connections: the charge is settled at the end of the response.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::{App, HttpMessage, HttpRequest, HttpResponse, HttpServer, web};
use axum::Extension;
use axum::body::Body;
use axum::extract::WebSocketUpgrade;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::stream::{self, Stream, StreamExt};
use http::header::CONTENT_TYPE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tollgate::account::Overage;
use tollgate::gate::CostMeter;
use tollgate::rule::Cost;
use tollgate::{Credits, Gate, KeyId, Plan, Rule, TollgateLayer, TollgateTransform};

use crate::grpc::fixture;
use crate::support::World;

const KEY: &str = "kwery_live_0123456789";

/// A rule for any route that reserves 20 credits of at most 80.
fn rule(route: &str) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    (rule.cost, rule.most_cost) = (Cost::Fixed(Credits::new(20)), Some(Credits::new(80)));
    rule
}

/// A world with a key of 100 credits, and its gate.
fn world() -> (World, KeyId, Gate) {
    let world = World::new();
    let id = world.key(KEY, |_, account| account.plan = "pro".into());
    let mut plan = Plan::new("pro");
    plan.overage = Overage::Debt;
    let gate = world.kwery().plan(plan).rule(rule("/*")).build().unwrap();
    (world, id, gate)
}

/// Events of which each costs 7 credits: `count` of them, and then comments without end, unless it `ends`.
fn events(meter: CostMeter, count: usize, ends: bool) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    let event = move |_| {
        meter.add(Credits::new(7));
        Ok(Bytes::from_static(b"data: token\n\n"))
    };
    let counted = stream::iter(0..count).map(event);
    let rest = if ends { stream::empty().left_stream() } else { pings().right_stream() };
    counted.chain(rest)
}

/// Comments without end, as a server sends them to find out that its client has left.
fn pings() -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    stream::repeat_with(|| Ok(Bytes::from_static(b": ping\n\n")))
}

async fn serve_axum(gate: Gate) -> SocketAddr {
    let answer =
        |body: Body| Response::builder().header(CONTENT_TYPE, "text/event-stream").body(body).unwrap();
    let stream = move |count, ends| {
        get(async move |Extension(meter): Extension<CostMeter>| {
            answer(Body::from_stream(events(meter, count, ends)))
        })
    };
    let app = axum::Router::new()
        .route("/whole", stream(4, true))
        .route("/cut", stream(3, false))
        .route("/silent", get(async || Body::from_stream(pings())))
        .route("/socket", get(socket));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = TollgateLayer::new(gate).around(app);
    tokio::spawn(
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).into_future(),
    );
    address
}

/// A WebSocket whose messages cost 6 credits each.
async fn socket(Extension(meter): Extension<CostMeter>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        while let Some(Ok(message)) = socket.recv().await {
            meter.add(Credits::new(6));
            if socket.send(message).await.is_err() {
                break;
            }
        }
    })
}

async fn serve_actix(gate: Gate) -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || {
                let stream = |count, ends| {
                    web::get().to(move |request: HttpRequest| {
                        let meter = request.extensions().get::<CostMeter>().unwrap().clone();
                        let body = events(meter, count, ends);
                        async { HttpResponse::Ok().content_type("text/event-stream").streaming(body) }
                    })
                };
                let silent = async || HttpResponse::Ok().streaming(pings());
                App::new()
                    .route("/whole", stream(4, true))
                    .route("/cut", stream(3, false))
                    .route("/silent", web::get().to(silent))
                    .wrap(TollgateTransform::new(gate.clone()))
            });
            let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
            tell.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap()
}

/// Sends a request over a connection of its own, and reads so many events.
async fn read(address: SocketAddr, path: &str, events: usize) -> TcpStream {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    let has_all = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        text.contains("\r\n\r\n") && text.matches("data: token").count() == events
    };
    while !has_all(&text) {
        text.push(connection.read_u8().await.unwrap());
    }
    assert!(text.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&text));
    connection
}

/// The balance, once no charge is open any more.
async fn settled(world: &World, id: KeyId) -> u64 {
    for _ in 0..2_500 {
        if world.ledger.open_charges(&world.account_of(id)) == 0 {
            return world.balance(id);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("a charge stays open");
}

/// A stream that ends, one whose client leaves in the middle, and one that never reports a cost.
async fn streams(address: SocketAddr, world: &World, id: KeyId) {
    for (path, events, cost) in [("/whole", 4, 28), ("/cut", 3, 21), ("/silent", 0, 20)] {
        world.set_balance(id, 100);
        let connection = read(address, path, events).await;
        if path != "/whole" {
            assert_eq!(
                world.ledger.open_charges(&world.account_of(id)),
                1,
                "{path} is open while the stream is"
            );
        }
        drop(connection);
        assert_eq!(settled(world, id).await, 100 - cost, "{path}");
    }
}

#[tokio::test]
async fn event_stream_is_settled_at_its_end() {
    let (world, id, gate) = world();
    streams(serve_axum(gate).await, &world, id).await;
}

#[tokio::test]
async fn event_stream_is_settled_at_its_end_on_actix() {
    let (world, id, gate) = world();
    streams(serve_actix(gate).await, &world, id).await;
}

#[tokio::test]
async fn websocket_is_settled_with_its_meter() {
    let (world, id, gate) = world();
    let address = serve_axum(gate).await;
    let mut request = format!("ws://{address}/socket").into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", KEY.parse().unwrap());
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(response.status(), 101);
    for text in ["one", "two", "three", "four"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    let open = world.ledger.open_charges(&world.account_of(id));
    assert_eq!((open, world.balance(id)), (1, 80), "it is open while the socket is");
    drop(socket);
    assert_eq!(settled(&world, id).await, 76);
}

#[tokio::test]
async fn grpc_stream_is_settled_by_its_status() {
    let rows =
        [("metered:3:0", 100 - 21), ("metered:5:8", 100 - 35), ("metered:5:13", 100), ("metered:0:0", 80)];
    for (asked, left) in rows {
        let world = World::new();
        let id = world.key(fixture::KEY, |_, _| {});
        let rule = rule("/grpc.health.v1.Health/*");
        let gate = fixture::with_rule(&world, rule).build().unwrap();
        let mut client = fixture::client(fixture::serve(&world, gate).await).await;
        let call = fixture::ask(asked, &[("x-api-key", fixture::KEY)]);
        let messages = client.watch(call).await.unwrap().into_inner();
        drop(messages.collect::<Vec<_>>().await);
        assert_eq!(settled(&world, id).await, left, "{asked}");
    }
}

#[tokio::test]
async fn grpc_stream_left_by_the_client_costs_what_was_seen() {
    let world = World::new();
    let id = world.key(fixture::KEY, |_, _| {});
    let gate = fixture::with_rule(&world, rule("/grpc.health.v1.Health/*")).build().unwrap();
    let mut client = fixture::client(fixture::serve(&world, gate).await).await;
    let call = fixture::ask("metered:2:stay", &[("x-api-key", fixture::KEY)]);
    let mut messages = client.watch(call).await.unwrap().into_inner();
    for _ in 0..2 {
        assert!(messages.message().await.unwrap().is_some());
    }
    assert_eq!(world.ledger.open_charges(&world.account_of(id)), 1);
    drop(messages);
    assert_eq!(settled(&world, id).await, 86);
}
