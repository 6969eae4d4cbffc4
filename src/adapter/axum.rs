//! What axum's users need: the gate around a router, and extractors for handlers.

use axum::Router;
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use tower::Layer;

use crate::account::Caps;
use crate::adapter::NoPrincipal;
use crate::adapter::TollgateLayer;
use crate::gate::Principal;

impl TollgateLayer {
    /// Puts the gate around a whole router, unknown paths included, as a router that can be served or nested.
    ///
    /// # Add routes before, layers after
    ///
    /// The gate stands in front of the routes that the router has now. Routes that are added to the returned router are
    /// open: `route`, `nest`, `merge` and their like answer without a key, and `fallback` takes the gate's own place. Layers
    /// may be added to it, as in `.around(routes).layer(cors)`: tower-http's `CorsLayer` answers preflights there, and refusals
    /// bear its headers. `testing::open_routes` finds what answers without a key.
    ///
    /// Serve it with `into_make_service_with_connect_info::<SocketAddr>()`, so that the gate knows the peer's address.
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

/// The caps in force, for handlers that answer lists.
impl<S: Send + Sync> FromRequestParts<S> for Caps {
    type Rejection = NoPrincipal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.get().map(|principal: &Principal| principal.caps().clone()).ok_or(NoPrincipal)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Caps {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().map(|principal: &Principal| principal.caps().clone()))
    }
}
