//! The support for axum: the gate around a router, and extractors for handlers.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum::extract::{ConnectInfo, FromRequestParts, NestedPath, OptionalFromRequestParts, OriginalUri};
use axum::response::{IntoResponse, Response};
use axum::routing::{IntoMakeService, Route};
use axum::serve::{IncomingStream, Listener};
use axum::{BoxError, Router};
use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, Request, StatusCode, Uri};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::account::ParamLimits;
use crate::adapter::{NoPrincipal, ResponseBody, ResponseFuture, TollgateLayer, TollgateService};
use crate::gate::Principal;

impl TollgateLayer {
    /// Puts the gate around a whole router, unknown paths included.
    ///
    /// The gate decides before the router looks for a route, and the result is a service of its own: no route can be added to
    /// it. [`GatedRouter`] can be served, nested, merged and layered like a router.
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
    /// let app = TollgateLayer::new(gate).around(Router::new().route("/v1/candles", get(|| async { "[]" })));
    /// # let _ = app;
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    pub fn around(&self, router: Router) -> GatedRouter {
        // `with_state` turns all handlers into services once. Otherwise the router would do it for each request.
        GatedRouter(self.layer(router.with_state(())))
    }
}

/// An axum router behind a gate, made by [`TollgateLayer::around`].
///
/// | use | code |
/// |---|---|
/// | serve it | `axum::serve(listener, gated.into_make_service_with_connect_info::<SocketAddr>())`, so that the gate knows the peer's address |
/// | add layers that apply to all responses, denials included | `gated.layer(cors)` |
/// | nest it below a path | `Router::new().nest("/v1", gated.into())`, or `nest_service` |
/// | add routes that need no key | `Router::new().route("/open", …).merge(gated)` |
///
/// `testing::open_routes` finds the routes of a service that are served without a key.
#[derive(Debug, Clone)]
pub struct GatedRouter(TollgateService<Router>);

impl GatedRouter {
    /// Adds a layer around the gate. tower-http's `CorsLayer`, for example, then responds to preflights, and denials have
    /// its headers.
    pub fn layer<L>(self, layer: L) -> Router
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request<Body>> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request<Body>>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request<Body>>>::Error: Into<Infallible> + 'static,
        <L::Service as Service<Request<Body>>>::Future: Send + 'static,
    {
        Router::from(self).layer(layer)
    }

    /// Returns a service for [`axum::serve()`], without the addresses of peers.
    pub fn into_make_service(self) -> IntoMakeService<Self> {
        axum::ServiceExt::<Request<Body>>::into_make_service(self)
    }

    /// Returns a service for [`axum::serve()`]. It stores the address of each peer as [`ConnectInfo`], where the gate and
    /// handlers find it.
    pub fn into_make_service_with_connect_info<C>(self) -> IntoMakeServiceWithConnectInfo<Self, C> {
        axum::ServiceExt::<Request<Body>>::into_make_service_with_connect_info(self)
    }
}

impl<S: Clone + Send + Sync + 'static> From<GatedRouter> for Router<S> {
    fn from(gated: GatedRouter) -> Self {
        Self::new().fallback_service(gated)
    }
}

impl<B> Service<Request<B>> for GatedRouter
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = GatedRouterFuture<B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<B>>::poll_ready(&mut self.0, cx)
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> GatedRouterFuture<B> {
        GatedRouterFuture { response: self.0.call(request) }
    }
}

impl<L: Listener> Service<IncomingStream<'_, L>> for GatedRouter {
    type Response = Self;
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: IncomingStream<'_, L>) -> Self::Future {
        ready(Ok(self.clone()))
    }
}

pin_project! {
    /// The future of a response of a [`GatedRouter`].
    pub struct GatedRouterFuture<B>
    where
        B: http_body::Body<Data = Bytes>,
        B: Send,
        B: 'static,
        B::Error: Into<BoxError>,
    {
        #[pin]
        response: ResponseFuture<Router, B>,
    }
}

impl<B> Future for GatedRouterFuture<B>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response, Infallible>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().response.poll(cx).map_ok(|response| response.map(ResponseBody::into_axum))
    }
}

impl<B> fmt::Debug for GatedRouterFuture<B>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatedRouterFuture").finish_non_exhaustive()
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
