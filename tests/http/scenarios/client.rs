//! A client that asks over HTTP/1.1 or HTTP/2, one connection for each request.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// An answer whose connection lasts until the handle is dropped or ended.
pub(crate) struct Connected {
    pub(crate) connection: JoinHandle<()>,
    pub(crate) answer: JoinHandle<hyper::Result<Response<Incoming>>>,
}

/// Sends a request.
pub(crate) async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Connected {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    if request.version() == Version::HTTP_2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        let connection = tokio::spawn(async { drop(connection.await) });
        return Connected {
            connection,
            answer: tokio::spawn(async move { sender.send_request(request).await }),
        };
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let connection = tokio::spawn(async { drop(connection.with_upgrades().await) });
    Connected { connection, answer: tokio::spawn(async move { sender.send_request(request).await }) }
}
