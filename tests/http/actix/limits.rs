//! Limits of actix-web services over sockets.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::Service;
use actix_web::error::InternalError;
use actix_web::{App, HttpResponse, HttpServer, web};
use bytes::Bytes;
use futures_util::stream;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate::account::{InFlightLimit, PlanRule};
use tollgate::{Gate, Plan, RequestView, Rule, TollgateTransform};

use crate::support::World;

const KEY: &str = "kwery_live_0123456789";

fn world() -> World {
    let world = World::new();
    world.key(KEY, |_, account| account.plan = "limited".into());
    world
}

async fn serve(gate: Gate) -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || {
                let endless =
                    || stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024])));
                App::new()
                    .route("/a/b", web::get().to(async || "b"))
                    .route("/a/{name}", web::get().to(async || "other"))
                    .route("/fails", web::get().to(async || ""))
                    .wrap_fn(move |request, next| {
                        let fails = request.path() == "/fails";
                        let served = next.call(request);
                        async move {
                            let response = served.await?;
                            if fails {
                                let streamed = HttpResponse::BadRequest().streaming(endless());
                                return Err(InternalError::from_response("failed", streamed).into());
                            }
                            Ok(response)
                        }
                    })
                    .wrap(TollgateTransform::new(gate.clone()))
            });
            let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
            tell.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap()
}

async fn open(address: SocketAddr, path: &str) -> TcpStream {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    connection
}

/// Returns the head and the start of the body.
async fn read(mut connection: TcpStream) -> (TcpStream, String) {
    let mut text = Vec::new();
    for _ in 0..100 {
        let mut part = [0; 1024];
        let read = tokio::time::timeout(Duration::from_millis(200), connection.read(&mut part)).await;
        let Ok(Ok(read @ 1..)) = read else { break };
        text.extend_from_slice(&part[..read]);
    }
    (connection, String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn encoded_path_reaches_the_limited_handler() {
    let world = world();
    let mut plan = Plan::new("limited");
    let mut terms = PlanRule::default();
    terms.quotas = vec!["1 per hour".parse().unwrap()];
    plan.rules.insert("GET /a/b".to_owned(), terms);
    let rules = ["GET /a/b", "GET /a/{name}"].map(|route| Rule::new(route).unwrap());
    let [one, other] = rules;
    let address = serve(world.kwery().plan(plan).rule(one).rule(other).build().unwrap()).await;
    let mut served = Vec::new();
    for path in ["/a/b", "/a/b", "/a/%62", "/a/%62"] {
        let (_, text) = read(open(address, path).await).await;
        served.push((text[9..12].to_owned(), text.ends_with("\r\n\r\nb")));
    }
    assert_eq!(
        served.iter().filter(|(_, is_b)| *is_b).count(),
        1,
        "the plan has one per hour for it: {served:?}"
    );
}

fn one_in_flight(world: &World) -> Gate {
    let mut plan = Plan::new("limited");
    plan.in_flight = Some(InFlightLimit::new(1).unwrap());
    world.kwery().plan(plan).build().unwrap()
}

async fn is_free(gate: &Gate) -> bool {
    let request = Request::get("/probe").header("X-API-Key", KEY).body(()).unwrap();
    gate.admit(&RequestView::of(&request)).await.is_ok()
}

/// The body of an error's response can be a stream too.
#[tokio::test]
async fn streamed_actix_error_holds_the_slot() {
    let world = world();
    let gate = one_in_flight(&world);
    let address = serve(gate.clone()).await;
    let (connection, text) = read(open(address, "/fails").await).await;
    assert!(text.contains("400") && text.len() > 10_000, "{}", &text[..200.min(text.len())]);
    assert!(!is_free(&gate).await, "the stream goes on");
    drop(connection);
}
