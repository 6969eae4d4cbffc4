//! The opening of one connection: TCP or a Unix socket, TLS, and the greeting.

use std::io;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use redis::{AsyncConnectionConfig, ErrorKind, RedisConnectionInfo, RedisError, RedisResult};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;

use super::address::{Address, Endpoint};

/// The time after which a peer that acknowledges nothing counts as gone.
const PEER_GONE: Duration = Duration::from_secs(10);

impl Address {
    /// Opens a connection to a server, without a time limit.
    pub(super) async fn open(
        &self,
        endpoint: &Endpoint,
        login: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        // A cluster and the sentinels name servers that the URL does not.
        if !self.permits(endpoint) {
            let problem = "connections to this server are not encrypted; use `rediss://`, or add `?insecure=true` to \
                           the address";
            return Err(RedisError::from((ErrorKind::InvalidClientConfig, problem, endpoint.to_string())));
        }
        match endpoint {
            Endpoint::Tcp(host, port) => {
                let stream = connect(host, *port).await?;
                #[cfg(feature = "redis-tls")]
                if let Some(tls) = &self.tls {
                    use tokio_rustls::rustls::pki_types::ServerName;
                    let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                    let stream = tokio_rustls::TlsConnector::from(tls.clone()).connect(name, stream).await?;
                    return greet(stream, login, config).await;
                }
                greet(stream, login, config).await
            }
            #[cfg(unix)]
            Endpoint::Unix(path) => greet(tokio::net::UnixStream::connect(path).await?, login, config).await,
            #[cfg(not(unix))]
            Endpoint::Unix(_) => Err(io::Error::from(io::ErrorKind::Unsupported).into()),
        }
    }
}

/// Connects to all addresses of a host at once. The first that answers is used.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    for address in lookup_host((host, port)).await? {
        attempts.spawn(TcpStream::connect(address));
    }
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    while let Some(attempt) = attempts.join_next().await {
        match attempt.map_err(io::Error::other).flatten() {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let socket = SockRef::from(&stream);
                socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PEER_GONE))?;
                #[cfg(target_os = "linux")]
                socket.set_tcp_user_timeout(Some(PEER_GONE))?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn greet<S>(
    stream: S,
    login: &RedisConnectionInfo,
    config: AsyncConnectionConfig,
) -> RedisResult<MultiplexedConnection>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (connection, driver) = MultiplexedConnection::new_with_config(login, stream, config).await?;
    // It ends with the last clone of the connection.
    tokio::spawn(driver);
    Ok(connection)
}
