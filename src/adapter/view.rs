//! The gate's view of a request of the `http` crate.

use std::net::{IpAddr, SocketAddr};

use http::{Extensions, HeaderMap, HeaderName, Request};

use crate::gate::Principal;
use crate::request::{Admitted, RequestParts, RequestView, TakenKey};

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

/// Returns the whole path that was routed. Within a nested router, axum shows only the rest of it.
fn whole_path(request: &Request<impl Sized>) -> &str {
    let shown = request.uri().path();
    #[cfg(feature = "axum")]
    if let Some(nested) = request.extensions().get::<axum::extract::NestedPath>() {
        let original = request.extensions().get::<axum::extract::OriginalUri>();
        // If a layer has rewritten the path in between, the original is unknown. The path is then empty, and the gate
        // denies it.
        return original
            .map_or("", |original| unnested(original.path(), nested.as_str(), shown).unwrap_or(""));
    }
    shown
}

/// Returns the original path if `shown` is its rest after the prefix at which the router is nested.
#[cfg(feature = "axum")]
fn unnested<'a>(original: &'a str, nested_at: &str, shown: &str) -> Option<&'a str> {
    // A segment of the prefix may be a parameter, which still matches exactly one segment of the path.
    let segments = nested_at.trim_end_matches('/').matches('/').count();
    let end = original.match_indices('/').nth(segments).map_or(original.len(), |(place, _)| place);
    let rest = &original[end..];
    (rest == shown || (rest.is_empty() && shown == "/")).then_some(original)
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

#[cfg(all(test, feature = "axum"))]
mod tests {
    use super::unnested;

    #[test]
    fn nested_rest_belongs_to_the_original_path() {
        let rows = [
            ("/v1/admin", "/v1", "/admin", true),
            ("/v1", "/v1", "/", true),
            ("/v1/", "/v1", "/", true),
            ("/v1/", "/v1/", "/", true),
            ("/acme/v1/a/b", "/{tenant}/v1", "/a/b", true),
            ("/acme/v1//b", "/{tenant}/v1", "//b", true),
            ("/v1/admin/", "/v1", "/admin", false),
            ("/v1/admin", "/v1", "/other", false),
            ("/v1", "/v1/v2", "/admin", false),
            ("/x/v1/admin", "/v1", "/admin", false),
        ];
        for (original, nested_at, shown, same) in rows {
            let whole = unnested(original, nested_at, shown);
            assert_eq!(whole, same.then_some(original), "{original} {nested_at} {shown}");
        }
    }
}
