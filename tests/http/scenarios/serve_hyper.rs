//! The routes of the table, as a service serves them that no router stands before.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::body::Body;
use futures_util::stream::{self, StreamExt};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tollgate::Credits;
use tollgate::gate::FinalCost;
use tower::service_fn;

use crate::scenarios::fixture::{Notes, Stage};
use crate::support::wire::Server;

pub(crate) async fn serve(stage: &Stage) -> SocketAddr {
    let notes = stage.notes.clone();
    let inner = service_fn(move |request: Request<Incoming>| answer(request, notes.clone()));
    Server::gated(&stage.gate, inner).await.0
}

async fn answer(request: Request<Incoming>, notes: Notes) -> Result<Response<Body>, Infallible> {
    let status = |status| Response::builder().status(status).body(Body::empty()).unwrap();
    let path = request.uri().path();
    Ok(match (request.method(), path) {
        (&Method::OPTIONS, _) => status(StatusCode::NO_CONTENT),
        // Over HTTP/2 nothing takes the body of an answer to `HEAD` away.
        (&Method::HEAD, _) => status(StatusCode::OK),
        (_, "/open") => Response::new(Body::from("open")),
        (_, "/status") => Response::new(Body::from("status")),
        (_, "/v1/ticker") => {
            let principal = request.extensions().get::<tollgate::Principal>().unwrap();
            Response::new(Body::from(if principal.is_anonymous() { "for all" } else { "for a key" }))
        }
        (_, "/v1/data") => Response::new(Body::from("data")),
        (_, "/v1/stream") => {
            let chunks = stream::iter(["one ", "two ", "three"]).map(Ok::<_, std::io::Error>);
            Response::new(Body::from_stream(chunks))
        }
        (_, "/v1/fails") => status(StatusCode::INTERNAL_SERVER_ERROR),
        (_, "/v1/final") => {
            let mut response = Response::new(Body::from("data"));
            response.extensions_mut().insert(FinalCost(Credits::new(4)));
            response
        }
        (_, "/v1/slow") => {
            notes.work().await;
            status(StatusCode::OK)
        }
        (_, "/v1/endless") => {
            let first = stream::once(async { Ok::<_, std::io::Error>("one ") });
            let rest = stream::once(async move {
                notes.work().await;
                Err(std::io::Error::other("nobody is left to read it"))
            });
            Response::new(Body::from_stream(first.chain(rest)))
        }
        (_, "/v1/echo") => {
            let upgrade = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            upgrade.header("connection", "upgrade").header("upgrade", "echo").body(Body::empty()).unwrap()
        }
        (_, "/v1/free" | "/v1/scoped" | "/v1/paid" | "/v1/bulk" | "/v1/rare" | "/v1/weighed") => {
            Response::new(Body::from("served"))
        }
        _ => status(StatusCode::NOT_FOUND),
    })
}
