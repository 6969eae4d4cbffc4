//! Limits on requests in flight over real connections: a slot is held until the response has ended, and never longer.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use axum::Extension;
use axum::body::Body;
use axum::extract::WebSocketUpgrade;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::stream::{self, Stream, StreamExt};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tollgate::account::{InFlightLimit, NetworkCut, QuotaScope};
use tollgate::gate::{Admission, RequestSlot};
use tollgate::rule::Cost;
use tollgate::{Credits, DenialKind, Gate, Plan, RequestView, Rule, TollgateLayer, TollgateTransform};

use crate::grpc::fixture;
use crate::support::World;
use crate::support::faulty_back_ends::Later;

const KEY: &str = "kwery_live_0123456789";

/// The requests that the service works on now, and the most that it ever worked on at once.
#[derive(Debug, Default)]
struct Load {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A request that the service works on, until it is dropped.
struct Working(Arc<Load>);

impl Working {
    fn on(load: &Arc<Load>) -> Self {
        let now = load.now.fetch_add(1, Ordering::SeqCst) + 1;
        load.most.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(load))
    }

    /// Lets other tasks run a few times.
    async fn for_a_while(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// A body that never ends.
    fn endless(self) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
        stream::repeat_with(move || {
            let _working = &self;
            Ok(Bytes::from_static(&[b'x'; 1024]))
        })
    }

    /// A body of a few chunks, after each of which other tasks run.
    fn short(self) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
        stream::unfold((0, self), async |(count, working)| {
            working.for_a_while().await;
            // At the end, this drops the work before the body's end is told.
            (count < 3).then_some((Ok(Bytes::from_static(b"data")), (count + 1, working)))
        })
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A world, and a gate that allows so many requests of a key in flight. The ledger answers later, and `/costly` has a cost.
fn gate(most: u32) -> (World, Gate) {
    let world = World::new();
    world.key(KEY, |_, account| account.plan = "limited".into());
    let world = world.with_ledger(Later(world.ledger.clone()));
    let mut plan = Plan::new("limited");
    plan.in_flight = Some(InFlightLimit::new(most).unwrap());
    let mut costly = Rule::new("GET /costly").unwrap();
    costly.cost = Cost::Fixed(Credits::new(1));
    let gate = world.kwery().plan(plan).rule(costly).build().unwrap();
    (world, gate)
}

async fn serve_axum(gate: Gate, load: Arc<Load>) -> SocketAddr {
    let endless = |load: Arc<Load>| get(async move || Body::from_stream(Working::on(&load).endless()));
    let (busy, panics, short, hangs) = (load.clone(), load.clone(), load.clone(), load.clone());
    let app = axum::Router::new()
        .route("/busy", get(async move || Working::on(&busy).for_a_while().await))
        .route(
            "/panics",
            get(async move || {
                let working = Working::on(&panics);
                working.for_a_while().await;
                assert_eq!(working.0.now.load(Ordering::SeqCst), 0, "it panics, as asked for");
            }),
        )
        .route("/short", get(async move || Body::from_stream(Working::on(&short).short())))
        .route(
            "/hangs",
            get(async move || {
                let _working = Working::on(&hangs);
                std::future::pending::<()>().await;
            }),
        )
        .route("/endless", endless(load.clone()))
        .route("/costly", endless(load))
        .route("/socket", get(socket));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = TollgateLayer::new(gate).around(app);
    tokio::spawn(
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).into_future(),
    );
    address
}

/// A WebSocket that holds the slot until the client closes it.
async fn socket(slot: Option<Extension<RequestSlot>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        let _slot = slot;
        while let Some(Ok(message)) = socket.recv().await {
            let _ = socket.send(message).await;
        }
    })
}

async fn serve_actix(gate: Gate, load: Arc<Load>) -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || {
                let endless = |load: &Arc<Load>| {
                    let load = Arc::clone(load);
                    web::get().to(move || {
                        let body = Working::on(&load).endless();
                        async { HttpResponse::Ok().streaming(body) }
                    })
                };
                let (busy, panics, short) = (load.clone(), load.clone(), load.clone());
                App::new()
                    .route(
                        "/busy",
                        web::get().to(move || {
                            let working = Working::on(&busy);
                            async move {
                                working.for_a_while().await;
                                HttpResponse::Ok().finish()
                            }
                        }),
                    )
                    .route(
                        "/panics",
                        web::get().to(move || {
                            let working = Working::on(&panics);
                            async move {
                                working.for_a_while().await;
                                assert_eq!(
                                    working.0.now.load(Ordering::SeqCst),
                                    0,
                                    "it panics, as asked for"
                                );
                                HttpResponse::Ok().finish()
                            }
                        }),
                    )
                    .route(
                        "/short",
                        web::get().to(move || {
                            let body = Working::on(&short).short();
                            async { HttpResponse::Ok().streaming(body) }
                        }),
                    )
                    .route("/endless", endless(&load))
                    .route("/costly", endless(&load))
                    .route(
                        "/socket",
                        web::get().to(async |sent: web::Payload| {
                            HttpResponse::SwitchingProtocols().upgrade("websocket").streaming(sent)
                        }),
                    )
                    .wrap(TollgateTransform::new(gate.clone()))
            });
            let server = server.workers(2).disable_signals().bind_auto_h2c("127.0.0.1:0").unwrap();
            tell.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap()
}

/// Sends a request over a connection of its own, and reads the status if there is a response.
async fn send(address: SocketAddr, path: &str) -> (TcpStream, Option<u16>) {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let upgrade = if path == "/socket" { "Connection: upgrade\r\nUpgrade: websocket\r\n" } else { "" };
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n{upgrade}\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    let read = connection.read_exact(&mut start).await;
    let status = read.ok().map(|_| String::from_utf8_lossy(&start[9..]).parse().unwrap());
    (connection, status)
}

async fn admit(gate: &Gate) -> Option<Admission> {
    let request = Request::get("/probe").header("X-API-Key", KEY).body(()).unwrap();
    match gate.admit(&RequestView::of(&request)).await {
        Ok(admission) => Some(admission),
        Err(denial) => {
            assert_eq!(denial.kind(), DenialKind::InFlightLimited);
            None
        }
    }
}

/// Returns the number of free slots, of `most`.
async fn free(gate: &Gate, most: usize) -> usize {
    let mut held = Vec::new();
    for _ in 0..=most {
        held.extend(admit(gate).await);
    }
    held.len()
}

/// Waits until so many slots are free.
async fn until_free(gate: &Gate, slots: usize) {
    for _ in 0..5_000 {
        if free(gate, slots).await == slots {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{} slots are free in the end, not {slots}", free(gate, slots).await);
}

/// Tasks whose handlers panic and whose clients leave at any time.
async fn crowd(address: SocketAddr, gate: &Gate, load: &Load, paths: &'static [&'static str]) {
    let tasks = (0..200_usize).map(|task| {
        tokio::spawn(async move {
            let mut statuses = Vec::new();
            for turn in 0..5 {
                let path = paths[(task + turn) % paths.len()];
                // A request to which no end comes, or whose client does not wait for it.
                let leaves = path == "/hangs" || (task + turn) % 7 == 0;
                let sent = send(address, path);
                if leaves {
                    let _ = tokio::time::timeout(Duration::from_millis(20), sent).await;
                    continue;
                }
                let (mut connection, status) = sent.await;
                statuses.extend(status);
                let mut rest = [0; 4096];
                if path != "/endless" {
                    connection.shutdown().await.ok();
                    while connection.read(&mut rest).await.is_ok_and(|read| read > 0) {}
                }
            }
            statuses
        })
    });
    let mut statuses = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        statuses.extend(task.await.unwrap());
    }
    let count = |status| statuses.iter().filter(|one| **one == status).count();
    assert!(count(200) > 8 && count(429) > 8, "{} served, {} refused", count(200), count(429));
    assert_eq!(count(200) + count(429), statuses.len(), "{statuses:?}");
    until_free(gate, 8).await;
    assert!(load.most.load(Ordering::SeqCst) <= 8, "{load:?}");
    assert_eq!(load.now.load(Ordering::SeqCst), 0, "no request is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_stay_within_the_limit() {
    let ((_world, gate), load) = (gate(8), Arc::<Load>::default());
    let address = serve_axum(gate.clone(), Arc::clone(&load)).await;
    crowd(address, &gate, &load, &["/busy", "/panics", "/short", "/endless", "/hangs"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_stay_within_the_limit_on_actix() {
    let ((_world, gate), load) = (gate(8), Arc::<Load>::default());
    let address = serve_actix(gate.clone(), Arc::clone(&load)).await;
    crowd(address, &gate, &load, &["/busy", "/panics", "/short", "/endless"]).await;
}

/// A streamed response holds its slot until the client cuts it. The end of its charge does not free the slot.
async fn cut_streams(address: SocketAddr, gate: &Gate, load: &Load) {
    for path in ["/endless", "/costly"] {
        let (connection, status) = send(address, path).await;
        assert_eq!((status, free(gate, 2).await), (Some(200), 1), "{path}");
        let (other, status) = send(address, path).await;
        assert_eq!((status, free(gate, 2).await), (Some(200), 0), "{path}");
        assert_eq!(send(address, path).await.1, Some(429), "{path}");
        drop(connection);
        until_free(gate, 1).await;
        drop(other);
        until_free(gate, 2).await;
        assert_eq!(load.now.load(Ordering::SeqCst), 0, "{path}");
    }
}

#[tokio::test]
async fn cut_stream_frees_the_slot() {
    let ((_world, gate), load) = (gate(2), Arc::<Load>::default());
    let address = serve_axum(gate.clone(), Arc::clone(&load)).await;
    cut_streams(address, &gate, &load).await;
}

#[tokio::test]
async fn cut_stream_frees_the_slot_on_actix() {
    let ((_world, gate), load) = (gate(2), Arc::<Load>::default());
    let address = serve_actix(gate.clone(), Arc::clone(&load)).await;
    cut_streams(address, &gate, &load).await;
}

/// A streamed response of a public route holds the slot of the client's network.
async fn cut_public_streams(address: SocketAddr) {
    for _ in 0..3 {
        let mut first = send(address, "/endless").await;
        for _ in 0..5_000 {
            if first.1 == Some(200) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            first = send(address, "/endless").await;
        }
        assert_eq!(first.1, Some(200), "the slot of the stream before is free");
        assert_eq!(send(address, "/endless").await.1, Some(429));
        assert_eq!(send(address, "/short").await.1, Some(200), "the limit is that of the rule");
    }
}

#[tokio::test]
async fn public_stream_holds_the_slot() {
    let world = World::new();
    let mut rule = Rule::new("GET /endless").unwrap();
    rule.public = true;
    let network = QuotaScope::Network(NetworkCut::default());
    rule.in_flight = Some(InFlightLimit::new(1).unwrap().counting(network));
    world.plain_key(KEY);
    let gate = || world.kwery().rule(rule.clone()).build().unwrap();
    cut_public_streams(serve_axum(gate(), Arc::default()).await).await;
    cut_public_streams(serve_actix(gate(), Arc::default()).await).await;
}

#[tokio::test]
async fn client_that_leaves_a_handler_frees_the_slot() {
    let ((_world, gate), load) = (gate(2), Arc::<Load>::default());
    let address = serve_axum(gate.clone(), Arc::clone(&load)).await;
    let waiting = tokio::spawn(send(address, "/hangs"));
    until_free(&gate, 1).await;
    waiting.abort();
    until_free(&gate, 2).await;
    assert_eq!(load.now.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn streams_of_a_connection_are_counted_apart() {
    for on_actix in [false, true] {
        let ((_world, gate), load) = (gate(8), Arc::<Load>::default());
        let address = if on_actix {
            serve_actix(gate.clone(), Arc::clone(&load)).await
        } else {
            serve_axum(gate.clone(), Arc::clone(&load)).await
        };
        let (client, connection) =
            h2::client::handshake(TcpStream::connect(address).await.unwrap()).await.unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let mut responses = Vec::new();
        for _ in 0..100 {
            let request = Request::get(format!("http://{address}/endless")).header("X-API-Key", KEY);
            poll_fn(|cx| client.poll_ready(cx)).await.unwrap();
            responses.push(client.send_request(request.body(()).unwrap(), true).unwrap().0);
        }
        let (mut open, mut refused) = (Vec::new(), 0);
        for response in responses {
            let response = response.await.unwrap();
            match response.status().as_u16() {
                200 => open.push(response),
                429 => refused += 1,
                status => panic!("{status}"),
            }
        }
        assert_eq!((open.len(), refused, free(&gate, 8).await), (8, 92, 0), "on actix: {on_actix}");
        // A stream that is reset frees its slot, and the others stay.
        open.truncate(5);
        until_free(&gate, 3).await;
        drop(open);
        until_free(&gate, 8).await;
        assert!(load.most.load(Ordering::SeqCst) <= 8, "{load:?}");
    }
}

#[tokio::test]
async fn websocket_holds_the_slot() {
    let ((_world, gate), load) = (gate(1), Arc::<Load>::default());
    let address = serve_axum(gate.clone(), load).await;
    let mut request = format!("ws://{address}/socket").into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", KEY.parse().unwrap());
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(response.status(), 101);
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
        assert_eq!(free(&gate, 1).await, 0, "the socket holds the slot");
    }
    drop(socket);
    until_free(&gate, 1).await;
}

/// actix-web's response to an upgrade has a body, so that nothing needs to be moved.
#[tokio::test]
async fn upgrade_on_actix_holds_the_slot() {
    let ((_world, gate), load) = (gate(1), Arc::<Load>::default());
    let address = serve_actix(gate.clone(), load).await;
    let (mut connection, status) = send(address, "/socket").await;
    assert_eq!(status, Some(101));
    let mut read = vec![];
    while !read.ends_with(b"\r\n\r\n") {
        read.push(connection.read_u8().await.unwrap());
    }
    for text in [b"one", b"two"] {
        connection.write_all(text).await.unwrap();
        let mut echo = [0; 3];
        connection.read_exact(&mut echo).await.unwrap();
        assert_eq!((&echo, free(&gate, 1).await), (text, 0));
    }
    drop(connection);
    until_free(&gate, 1).await;
}

#[tokio::test]
async fn grpc_stream_holds_the_slot() {
    let world = World::new();
    world.key(fixture::KEY, |record, _| record.in_flight = Some(1));
    let gate = fixture::builder(&world).build().unwrap();
    let mut client = fixture::client(fixture::serve(&world, gate.clone()).await).await;
    let metadata = [("x-api-key", fixture::KEY)];
    for _ in 0..2 {
        let mut messages = client.watch(fixture::ask("stay", &metadata)).await.unwrap().into_inner();
        assert!(messages.message().await.unwrap().is_some());
        let denied = client.watch(fixture::ask("stay", &metadata)).await.unwrap_err();
        assert_eq!(denied.code(), tonic::Code::ResourceExhausted);
        // A stream that the client cuts.
        drop(messages);
        until_served(&mut client, &metadata).await;
        // A stream that ends, with trailers, and a call that answers with one message.
        let ended = client.watch(fixture::ask("after:3:0", &metadata)).await.unwrap().into_inner();
        assert_eq!(ended.count().await, 3);
        until_served(&mut client, &metadata).await;
        until_served(&mut client, &metadata).await;
    }
}

/// Waits until a call is served.
async fn until_served(
    client: &mut tonic_health::pb::health_client::HealthClient<tonic::transport::Channel>,
    metadata: &[(&'static str, &str)],
) {
    for _ in 0..5_000 {
        match client.check(fixture::ask("", metadata)).await {
            Ok(_) => return,
            Err(denied) => assert_eq!(denied.code(), tonic::Code::ResourceExhausted),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("no call is served");
}
