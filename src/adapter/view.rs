//! The gate's view of a request of the `http` crate.

use std::net::{IpAddr, SocketAddr};

use http::{Extensions, HeaderMap, HeaderName, Request};

use crate::gate::Principal;
use crate::request::{Admitted, Channel, RequestParts, RequestView, TakenKey};

/// The address of the peer on the socket, for services without axum's `ConnectInfo`. Insert it into the request's
/// extensions before the gate receives the request.
///
/// # Example
///
/// ```
/// use http::Request;
/// use tollgate::adapter::Peer;
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

impl<B> RequestParts for Request<B> {
    fn each<'s>(&'s self, name: &HeaderName, visit: &mut dyn FnMut(&'s [u8])) {
        each_value(self.headers(), name, visit);
    }

    fn peer(&self) -> Option<IpAddr> {
        peer_of(self.extensions())
    }

    fn admitted(&self) -> Option<Admitted> {
        self.extensions().get::<Principal>().map(Principal::admitted)
    }

    fn taken(&self) -> Option<TakenKey> {
        self.extensions().get().cloned()
    }

    fn channel(&self) -> Option<Channel> {
        self.extensions().get().copied()
    }
}

/// The number of headers up to which a name is searched one by one. That costs less than hashing a name.
pub(super) const FEW: usize = 12;

#[inline]
fn each_value<'s>(headers: &'s HeaderMap, name: &HeaderName, visit: &mut dyn FnMut(&'s [u8])) {
    if headers.len() <= FEW {
        headers.iter().filter(|(named, _)| *named == name).for_each(|(_, value)| visit(value.as_bytes()));
    } else {
        headers.get_all(name).iter().for_each(|value| visit(value.as_bytes()));
    }
}

#[inline]
fn peer_of(extensions: &Extensions) -> Option<IpAddr> {
    if let Some(Peer(address)) = extensions.get() {
        return Some(*address);
    }
    #[cfg(feature = "axum")]
    if let Some(address) = super::axum::peer_of(extensions) {
        return Some(address);
    }
    #[cfg(feature = "tonic")]
    if let Some(info) = extensions.get::<tonic::transport::server::TcpConnectInfo>() {
        return info.remote_addr().map(|socket| socket.ip());
    }
    None
}

/// Returns the whole path that was routed.
fn whole_path(request: &Request<impl Sized>) -> &str {
    #[cfg(feature = "axum")]
    if let Some(path) = super::axum::nested_path(request) {
        return path;
    }
    request.uri().path()
}

impl<'a> RequestView<'a> {
    /// Creates a view of a request of the [`http`] crate.
    ///
    /// Its path is the URI's path. Within a nested router of axum's (feature `axum`), it is the path with which the
    /// outermost router was called. If a layer has rewritten the path between the two routers, the path is empty, and
    /// the gate responds with 400.
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self::new(request.method().as_str(), whole_path(request), request.uri().query(), request)
    }
}
