//! Sends a request to the gate over a socket, from a client of hyper's to a server of hyper's.
//!
//! It is HTTP/2: over HTTP/1.1 the parser takes the spaces around a header's value away (RFC 9110, section 5.5).

use std::convert::Infallible;
use std::future::ready;

use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tollgate::adapter::Peer;
use tollgate::{Gate, TollgateService};
use tower::{ServiceBuilder, service_fn};

use crate::data::Fault;
use crate::fixture::{Seen, wrapped};

/// Status, headers and body of the answer.
pub(crate) async fn exchange(
    gate: &Gate,
    seen: Seen,
    request: &Request<String>,
) -> Result<(u16, HeaderMap, Vec<u8>), Fault> {
    let inner = service_fn(move |request: Request<Incoming>| {
        let mut response = Response::new(Full::new(Bytes::from_static(b"ok")));
        let target = request.uri().path_and_query().map(ToString::to_string);
        let status = wrapped(&seen, target.unwrap_or_default());
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
        ready(Ok::<_, Infallible>(response))
    });
    // The address that the case names stands for the socket's own.
    let peer = request.extensions().get::<Peer>().copied();
    let service = ServiceBuilder::new()
        .map_request(move |mut request: Request<Incoming>| {
            peer.map(|peer| request.extensions_mut().insert(peer));
            request
        })
        .service(TollgateService::new(inner, gate.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    let (server, _) = listener.accept().await?;
    let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(server), TowerToHyperService::new(service));
    let serving = tokio::spawn(serving);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await?;
    let connection = tokio::spawn(connection);
    let mut request = request.clone().map(|body| Full::new(Bytes::from(body)));
    *request.uri_mut() = format!("http://api.example.com{}", request.uri()).parse()?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    drop(sender);
    connection.await??;
    serving.await??;
    Ok((head.status.as_u16(), head.headers, body))
}
