//! Real sockets: a server that speaks HTTP/1.1 and HTTP/2, and clients that write what a polite client would not.

use http_body_util::Empty;
use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tollgate::adapter::Peer;
use tollgate::{Gate, TollgateLayer};
use tower::{Layer, Service, ServiceExt};

use super::Answer;

/// A server on a port of its own; it ends with the test's runtime.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server(pub(crate) SocketAddr);

impl Server {
    /// Serves a service behind a gate.
    pub(crate) async fn gated<S, R>(gate: &Gate, inner: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self::plain(TollgateLayer::new(gate.clone()).layer(inner)).await
    }

    /// Serves a service as it is, with the peer's address among the extensions.
    pub(crate) async fn plain<S, R>(service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let service = service.clone().map_request(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(Peer::from(peer));
                    request
                });
                tokio::spawn(async move {
                    let mut builder = auto::Builder::new(TokioExecutor::new());
                    builder.http2().enable_connect_protocol();
                    // A request that is no HTTP ends the connection: the client sees it.
                    let _ = builder
                        .serve_connection_with_upgrades(
                            TokioIo::new(stream),
                            TowerToHyperService::new(service),
                        )
                        .await;
                });
            }
        });
        Self(address)
    }

    /// Writes bytes, and reads until the server closes.
    pub(crate) async fn raw(self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.0).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut read = Vec::new();
        // A reset after the answer is as good as an end.
        let _ = stream.read_to_end(&mut read).await;
        read
    }

    /// Sends an HTTP/1.1 head, its lines separated by CRLF, and reads the answer.
    pub(crate) async fn http1(self, lines: &[&[u8]]) -> Answer {
        let mut head = lines.join(&b"\r\n"[..]);
        head.extend_from_slice(b"\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        parse(&self.raw(&head).await)
    }

    /// Sends a request over HTTP/2 by the `h2` crate.
    pub(crate) async fn http2(self, request: Request<Empty<Bytes>>) -> Answer {
        let stream = TcpStream::connect(self.0).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        // An extended CONNECT may be sent once the server's settings allow it.
        while request.extensions().get::<h2::ext::Protocol>().is_some()
            && !client.is_extended_connect_protocol_enabled()
        {
            tokio::task::yield_now().await;
        }
        let extended = request.method() == http::Method::CONNECT;
        let (response, _) = client.send_request(request.map(drop), true).unwrap();
        let (parts, mut body) = response.await.unwrap().into_parts();
        let mut text = Vec::new();
        // A stream that was opened for more has no end to read to.
        if !extended || !parts.status.is_success() {
            while let Some(chunk) = body.data().await {
                text.extend_from_slice(&chunk.unwrap());
            }
        }
        let body = String::from_utf8(text).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }
}

/// Reads an HTTP/1.1 answer as it came: status 0 where the server closed without one.
pub(crate) fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let mut headers = http::HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        headers.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    Answer { status, headers, body: body.to_owned() }
}
