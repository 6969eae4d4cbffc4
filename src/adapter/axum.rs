//! The support for axum: the gate around a router, and extractors for handlers.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts, NestedPath, OptionalFromRequestParts, OriginalUri};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Extensions, Request, StatusCode, Uri};
use tower::Layer;

use crate::account::ParamLimits;
use crate::adapter::NoPrincipal;
use crate::adapter::TollgateLayer;
use crate::gate::Principal;

impl TollgateLayer {
    /// Puts the gate around a whole router, unknown paths included. Returns a router that can be served or nested.
    ///
    /// # Add routes before, layers after
    ///
    /// The gate protects the routes that the router has now. Routes that are added to the returned router are open:
    /// `route`, `nest`, `merge` and similar methods add routes without a key, and `fallback` replaces the gate itself.
    /// Layers may be added to the returned router, as in `.around(routes).layer(cors)`: tower-http's `CorsLayer` then
    /// responds to preflights, and denials have its headers. `testing::open_routes` finds the routes that are served
    /// without a key.
    ///
    /// Serve the router with `into_make_service_with_connect_info::<SocketAddr>()`, so that the gate knows the peer's
    /// address.
    ///
    /// # Example
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use tollgate::key::Length;
    /// use tollgate::{Gate, KeyFormat, KeySource, TollgateLayer};
    ///
    /// let gate = Gate::builder()
    ///     .source(KeySource::header("X-API-Key")?)
    ///     .format(KeyFormat::new("acme_", Length::exactly(32))?)
    ///     .build()?;
    /// let app: Router = TollgateLayer::new(gate).around(Router::new().route("/v1/candles", get(|| async { "[]" })));
    /// # let _ = app;
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    pub fn around(&self, router: Router) -> Router {
        Router::new().fallback_service(self.layer(router))
    }
}

impl IntoResponse for NoPrincipal {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = NoPrincipal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.get().cloned().ok_or(NoPrincipal)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().cloned())
    }
}

/// The limits on parameters that apply to the request, for handlers that return lists.
impl<S: Send + Sync> FromRequestParts<S> for ParamLimits {
    type Rejection = NoPrincipal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.get().map(|principal: &Principal| principal.caps().clone()).ok_or(NoPrincipal)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for ParamLimits {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().map(|principal: &Principal| principal.caps().clone()))
    }
}

/// Returns the peer's address from axum's `ConnectInfo`.
#[inline]
pub(super) fn peer_of(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get().map(|ConnectInfo(socket): &ConnectInfo<SocketAddr>| socket.ip())
}

/// Returns the original URI, which an axum router in front of the gate has stored for handlers.
pub(super) fn original_uri(extensions: &mut Extensions) -> Option<&mut Uri> {
    extensions.get_mut().map(|OriginalUri(uri)| uri)
}

/// Returns the whole path of a request within a nested router, in which axum shows only the rest of it. If a layer has
/// rewritten the path in between, the original is unknown. The path is then empty, and the gate denies it.
#[inline]
pub(super) fn nested_path<B>(request: &Request<B>) -> Option<&str> {
    let nested = request.extensions().get::<NestedPath>()?;
    let original = request.extensions().get::<OriginalUri>();
    let shown = request.uri().path();
    Some(original.and_then(|original| unnested(original.path(), nested.as_str(), shown)).unwrap_or(""))
}

/// Returns the original path if `shown` is its rest after the prefix at which the router is nested.
fn unnested<'a>(original: &'a str, nested_at: &str, shown: &str) -> Option<&'a str> {
    // A segment of the prefix may be a parameter, which still matches exactly one segment of the path.
    let segments = nested_at.trim_end_matches('/').matches('/').count();
    let end = original.match_indices('/').nth(segments).map_or(original.len(), |(place, _)| place);
    let rest = &original[end..];
    (rest == shown || (rest.is_empty() && shown == "/")).then_some(original)
}

#[cfg(test)]
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
