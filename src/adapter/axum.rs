//! The support for axum: the gate around a router, and extractors for handlers.

use axum::Router;
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
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
