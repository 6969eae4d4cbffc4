//! Limits that count networks, behind a real nginx. Its clients have addresses of their own in 127.0.0.0/8.
#![cfg(all(feature = "axum", feature = "actix-web"))]

use std::net::SocketAddr;

use ::axum::Router;
use ::axum::routing::any;
use actix_web::{App, HttpResponse, HttpServer, web};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tollgate::account::{NetworkCut, QuotaPolicy, QuotaRef, QuotaScope};
use tollgate::gate::{AttemptLimit, TrustedProxies};
use tollgate::key::Length;
use tollgate::{Gate, KeyFormat, KeySource, Plan, Rule, TollgateLayer, TollgateTransform};

use crate::services::nginx::{Nginx, PROXY};
use crate::support::World;

const KEY: &str = "acme_0123456789abcdef0123456789abcdef";

fn per_network(text: &str) -> QuotaRef {
    let counts = QuotaScope::Network(NetworkCut::default());
    QuotaRef::Policy(text.parse::<QuotaPolicy>().unwrap().counting(counts))
}

fn rule(route: &str, change: impl FnOnce(&mut Rule)) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    change(&mut rule);
    rule
}

/// A gate that trusts nginx alone. Keys at `/limited`, and public requests at `/status`, have two requests a minute for each
/// network. A network has three failed attempts a minute.
fn gate(world: &World) -> Gate {
    let mut anonymous = Plan::new("anonymous");
    anonymous.quotas = vec!["1 per minute".parse().unwrap()];
    world
        .bare()
        .source(KeySource::header("X-API-Key").unwrap())
        .format(KeyFormat::new("acme_", Length::exactly(32)).unwrap())
        .trusted_proxies(TrustedProxies::new([format!("{PROXY}/32").parse().unwrap()]))
        .attempts(AttemptLimit::new("3 per minute".parse().unwrap()).unwrap())
        .plan(anonymous)
        .anonymous("anonymous", NetworkCut::default())
        .limit_headers()
        .rule(rule("GET /limited", |rule| rule.quotas = vec![per_network("2 per minute")]))
        .rule(rule("GET /ticker", |rule| rule.anonymous = true))
        .rule(rule("GET /status", |rule| {
            rule.public = true;
            rule.quotas = vec![per_network("2 per minute")];
        }))
        .build()
        .unwrap()
}

async fn serve_axum(gate: Gate) -> SocketAddr {
    let app = Router::new().fallback(any(async || "served"));
    let app = TollgateLayer::new(gate).around(app);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { ::axum::serve(listener, service).await.unwrap() });
    address
}

async fn serve_actix(gate: Gate) -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let handler = || web::to(async || HttpResponse::Ok().body("served"));
            let app =
                move || App::new().wrap(TollgateTransform::new(gate.clone())).default_service(handler());
            let server = HttpServer::new(app).workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
            tell.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap()
}

/// Sends a request from this address, with further header lines. Returns the status, and the head of the response.
async fn send(to: SocketAddr, from: &str, path: &str, headers: &[&str]) -> (u16, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    let first = format!("GET {path} HTTP/1.1");
    let lines = [[first.as_str(), "Host: acme", "Connection: close"].as_slice(), headers, &["", ""]].concat();
    let request = lines.join("\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let head = response.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head)
}

#[tokio::test]
async fn nginx_reports_the_networks_that_are_limited() {
    for is_axum in [true, false] {
        let world = World::new();
        world.plain_key(KEY);
        let gate = gate(&world);
        let server = if is_axum { serve_axum(gate).await } else { serve_actix(gate).await };
        let Some(nginx) = Nginx::before(server) else { return };
        let key = format!("X-API-Key: {KEY}");
        let status = async |from: &str, path: &str, headers: &[&str]| {
            send(nginx.address(), from, path, headers).await.0
        };

        // Each client has a network of its own, with any key.
        for from in ["127.0.1.1", "127.0.1.2"] {
            for expected in [200, 200, 429] {
                assert_eq!(status(from, "/limited", &[&key]).await, expected, "{from}");
            }
        }
        // A client can only write the left part.
        let spoofed = ["203.0.113.1", "203.0.113.2, 127.0.0.1", "unknown", "127.0.0.1"];
        let spoofed = spoofed.map(|left| format!("X-Forwarded-For: {left}"));
        for (line, expected) in spoofed.iter().zip([200, 200, 429, 429]) {
            assert_eq!(status("127.0.1.3", "/limited", &[&key, line]).await, expected, "{line}");
        }
        // Around nginx, a client is no proxy.
        for (line, expected) in spoofed.iter().zip([200, 200, 429]) {
            let (answer, _) = send(server, "127.0.1.4", "/limited", &[&key, line]).await;
            assert_eq!(answer, expected, "{line}");
        }

        // A public route.
        for (from, expected) in [("127.0.1.5", 200), ("127.0.1.5", 200), ("127.0.1.6", 200)] {
            assert_eq!(status(from, "/status", &[]).await, expected);
        }
        let (denied, head) = send(nginx.address(), "127.0.1.5", "/status", &[&spoofed[0]]).await;
        assert_eq!(denied, 429);
        assert!(
            head.contains("retry-after: 30") && head.contains("ratelimit: \"minute\";r=0;t=30"),
            "{head}"
        );

        // Requests without a key.
        for (from, expected) in [("127.0.1.7", 200), ("127.0.1.7", 429), ("127.0.1.8", 200)] {
            assert_eq!(status(from, "/ticker", &[]).await, expected);
        }

        // A guesser at the address of a client with a good key.
        let guess = |number: usize| format!("X-API-Key: acme_{number:032}");
        for (number, expected) in [401, 401, 401, 429, 429].into_iter().enumerate() {
            assert_eq!(status("127.0.1.9", "/free", &[&guess(number), &spoofed[0]]).await, expected);
            assert_eq!(status("127.0.1.9", "/free", &[&key]).await, 200, "beside {number} guesses");
        }
        assert_eq!(status("127.0.1.10", "/free", &[&guess(9)]).await, 401, "another network");
    }
}
