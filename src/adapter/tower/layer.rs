//! The layer.

use tower::Layer;

use crate::{Gate, TollgateService};

/// Puts a [`Gate`] in front of a service.
///
/// # Wrap the whole service
///
/// A layer sees what passes through it. One that is added to single routes misses fallbacks and the routes that come
/// later, and answers 404 before 401; put it around the whole service, as the last layer added:
///
/// ```
/// use axum::{Router, routing::get};
/// use tollgate::{Gate, KeyFormat, KeySource, Length, TollgateLayer};
/// use tower::Layer;
///
/// # fn app() -> Result<(), tollgate::ConfigError> {
/// let gate = Gate::builder()
///     .source(KeySource::header("X-API-Key")?)
///     .format(KeyFormat::new("acme_", Length::exactly(32))?)
///     .build()?;
/// let app = TollgateLayer::new(gate).layer(Router::<()>::new().route("/v1/candles", get(|| async { "[]" })));
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
///
/// Layers that answer in place of the service (CORS, timeouts) and layers that rewrite paths go outside the gate, so that
/// refusals have CORS headers too and the gate judges the path that is routed; layers that cost (compression,
/// decompression of bodies) go inside it.
#[derive(Debug, Clone)]
pub struct TollgateLayer {
    gate: Gate,
}

impl TollgateLayer {
    /// A layer that puts this gate in front of a service.
    pub fn new(gate: Gate) -> Self {
        Self { gate }
    }
}

impl<S> Layer<S> for TollgateLayer {
    type Service = TollgateService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TollgateService::new(inner, self.gate.clone())
    }
}
