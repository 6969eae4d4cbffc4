//! What the gate sees of a request of the `http` crate.

use std::net::{IpAddr, SocketAddr};

use http::{Extensions, HeaderMap, HeaderName, Request};

use crate::{Fields, KeyId, Principal, RequestView};

/// The address of the peer on the socket, for services without axum's `ConnectInfo`: put it among the request's
/// extensions before the gate sees the request.
///
/// # Example
///
/// ```
/// use http::Request;
/// use tollgate::Peer;
///
/// let mut request = Request::new(());
/// request.extensions_mut().insert(Peer("203.0.113.9".parse().unwrap()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

impl From<SocketAddr> for Peer {
    fn from(socket: SocketAddr) -> Self {
        Self(socket.ip())
    }
}

impl<B> Fields for Request<B> {
    fn each<'s>(&'s self, name: &HeaderName, visit: &mut dyn FnMut(&'s [u8])) {
        each_value(self.headers(), name, visit);
    }

    fn peer(&self) -> Option<IpAddr> {
        peer_of(self.extensions())
    }

    fn admitted(&self) -> Option<KeyId> {
        self.extensions().get::<Principal>().map(Principal::key)
    }
}

fn each_value<'s>(headers: &'s HeaderMap, name: &HeaderName, visit: &mut dyn FnMut(&'s [u8])) {
    for value in headers.get_all(name) {
        visit(value.as_bytes());
    }
}

fn peer_of(extensions: &Extensions) -> Option<IpAddr> {
    if let Some(Peer(address)) = extensions.get() {
        return Some(*address);
    }
    #[cfg(feature = "axum")]
    if let Some(axum::extract::ConnectInfo(socket)) =
        extensions.get::<axum::extract::ConnectInfo<SocketAddr>>()
    {
        return Some(socket.ip());
    }
    #[cfg(feature = "tonic")]
    if let Some(info) = extensions.get::<tonic::transport::server::TcpConnectInfo>() {
        return info.remote_addr().map(|socket| socket.ip());
    }
    None
}

impl<'a> RequestView<'a> {
    /// A view of a request of the [`http`] crate.
    pub fn of<B>(request: &'a Request<B>) -> Self {
        let uri = request.uri();
        Self::new(request.method().as_str(), uri.path(), uri.query(), request)
    }
}
