//! Through real servers, which poll an empty body not at all.

use std::convert::Infallible;
use std::sync::mpsc;

use actix_web::{App, HttpResponse, HttpServer, web};
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use tollgate::{Gate, TollgateTransform};
use tower::service_fn;

use super::support::wire::Server;
use super::{CLAIMS, KEY, METHODS, Settled, gate};

/// Answers the status that the path names, without a body.
async fn bodiless(request: Request<Incoming>) -> Result<Response<Empty<bytes::Bytes>>, Infallible> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = request.uri().path()[1..].parse().unwrap();
    Ok(response)
}

async fn hyper(gate: &Gate) -> Server {
    Server::gated(gate, service_fn(bodiless)).await
}

async fn actix(gate: Gate) -> Server {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let answer = async |status: web::Path<u16>| {
                HttpResponse::new(actix_web::http::StatusCode::from_u16(*status).unwrap())
            };
            let server = HttpServer::new(move || {
                App::new().route("/{status}", web::to(answer)).wrap(TollgateTransform::new(gate.clone()))
            });
            let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
            tell.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    Server(tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap())
}

#[tokio::test]
async fn an_answer_without_body_is_charged() {
    let (gate, book) = gate(false);
    for server in [hyper(&gate).await, actix(gate.clone()).await] {
        for claim in CLAIMS {
            for method in METHODS {
                for status in [200, 201, 204, 303, 404] {
                    let target = format!("{method} /{status} HTTP/1.1");
                    let key = format!("X-API-Key: {KEY}");
                    let claim = claim.map(|claim| format!("Content-Type: {claim}"));
                    let mut lines = vec![target.as_bytes(), key.as_bytes(), b"Content-Length: 0"];
                    lines.extend(claim.as_ref().map(String::as_bytes));
                    let answer = server.http1(&lines).await;
                    assert_eq!(answer.status, status, "{target} {claim:?}");
                    assert_eq!(book.take(), [Settled(10)], "{target} {claim:?}");
                }
            }
        }
    }
}
