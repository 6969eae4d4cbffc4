//! One request to the URL of a webhook.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::alert::webhook::{Parts, Target, address};
use crate::error::StoreError;
use crate::tls;

/// The time limit of a request, from the look-up of the host to the head of the response.
const LIMIT: Duration = Duration::from_secs(20);

/// The pause after which the next address of a host is tried too.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// The settings of TLS, with the certificates that the process found first. The error is a text.
static TLS: LazyLock<Result<Arc<ClientConfig>, String>> = LazyLock::new(tls::of_system);

/// Sends a message. The errors contain no part of the URL but the host's addresses.
pub(super) async fn send(
    target: &Target,
    id: &str,
    timestamp: &str,
    body: Vec<u8>,
) -> Result<(), StoreError> {
    let parts = target.parts().map_err(|error| StoreError::unavailable(error.problem().to_owned()))?;
    let signatures: Vec<_> = target.secrets.iter().map(|secret| secret.sign(id, timestamp, &body)).collect();
    let request = Request::post(&parts.path)
        .header(header::HOST, &parts.authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signatures.join(" "))
        .body(Full::new(Bytes::from(body)))
        .map_err(StoreError::rejected)?;
    let answered = tokio::time::timeout(LIMIT, call(&parts, target.allows_private, request)).await;
    let status = answered.map_err(|_| StoreError::timed_out())??.status();
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::GONE => Err(StoreError::rejected("the receiver answered 410: it wants no more messages")),
        status => Err(StoreError::unavailable(format!("the receiver answered {}", status.as_u16()))),
    }
}

async fn call(
    parts: &Parts,
    allows_private: bool,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, StoreError> {
    let stream = connect(parts, allows_private).await?;
    if !parts.is_https {
        return exchange(TokioIo::new(stream), request).await;
    }
    let config = TLS.as_ref().map_err(|problem| StoreError::unavailable(problem.as_str()))?;
    let name = ServerName::try_from(parts.host.clone()).map_err(StoreError::unavailable)?;
    let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
    exchange(TokioIo::new(stream.map_err(StoreError::unavailable)?), request).await
}

/// Connects to an address of the host that was checked. A second look-up of the host could return another one.
async fn connect(parts: &Parts, allows_private: bool) -> Result<TcpStream, StoreError> {
    let found = tokio::net::lookup_host((parts.host.as_str(), parts.port)).await;
    let found: Vec<SocketAddr> = found.map_err(StoreError::unavailable)?.collect();
    let allowed = |found: &SocketAddr| allows_private || address::is_public(found.ip());
    connect_to_any(found.into_iter().filter(allowed)).await
}

/// Connects to the address that answers first. After each pause the next address is tried too, because the first one may
/// never answer (RFC 8305).
async fn connect_to_any(addresses: impl Iterator<Item = SocketAddr>) -> Result<TcpStream, StoreError> {
    let mut attempts = JoinSet::new();
    for (place, address) in (0..).zip(addresses) {
        attempts.spawn(async move {
            tokio::time::sleep(NEXT_ADDRESS * place).await;
            TcpStream::connect(address).await
        });
    }
    let mut problem = StoreError::unavailable("the host has no public address");
    while let Some(attempted) = attempts.join_next().await {
        match attempted {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => problem = StoreError::unavailable(error),
            Err(_) => {}
        }
    }
    Err(problem)
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, StoreError>
where
    S: Read + Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(stream).await.map_err(StoreError::unavailable)?;
    // The connection ends when the sender and the response are dropped.
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(StoreError::unavailable);
    driver.abort();
    response
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// The first address accepts no connection, since its queue is full, and the second one does.
    #[tokio::test]
    async fn second_address_is_tried() -> std::io::Result<()> {
        let full = TcpSocket::new_v4()?;
        full.bind(([127, 0, 0, 1], 0).into())?;
        let full = full.listen(1)?;
        let (silent, listener) = (full.local_addr()?, TcpListener::bind(("127.0.0.1", 0)).await?);
        let mut queued = Vec::new();
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(silent)).await
        {
            queued.push(stream?);
        }
        let addresses = [silent, listener.local_addr()?];
        let connected = tokio::time::timeout(LIMIT / 4, connect_to_any(addresses.into_iter())).await?;
        assert_eq!(connected.map(|stream| stream.peer_addr().ok()).ok().flatten(), Some(addresses[1]));
        Ok(())
    }
}
