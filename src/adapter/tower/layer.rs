//! The tower layer that puts a gate in front of a service.

use tower::Layer;

use crate::adapter::TollgateService;
use crate::gate::Gate;

/// A layer that puts a [`Gate`] in front of a service.
///
/// # Wrap the whole service
///
/// A layer only sees the requests that pass through it. A layer on single routes misses fallbacks and routes that are
/// added later, and it responds with 404 before 401. Put it around the whole service, as the last layer added:
///
/// ```
/// use axum::{Router, routing::get};
/// use tollgate::key::Length;
/// use tollgate::{Gate, KeyFormat, KeySource, TollgateLayer};
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
/// # Among other layers
///
/// The order from the outside to the inside, as in `examples/axum.rs`:
///
/// 1. tower-http's `SetRequestIdLayer` and `PropagateRequestIdLayer`: the responses of denials have the same id.
/// 2. `TraceLayer`: denials are traced too. Its own spans show the whole URI, and so a key in the query. Create the
///    spans with `redacted_span` (feature `tracing`).
/// 3. `CorsLayer`: it responds to preflights, and scripts of other origins can read denials.
/// 4. Layers that rewrite paths, such as `NormalizePathLayer`: the gate then checks the path that is routed. Put them
///    around an axum router, not among its own layers, which run after routing.
/// 5. The gate.
/// 6. `TimeoutLayer`: a request whose handler is too late is not charged, if the timeout's status is of the class 5xx.
///    Around the gate, this layer also limits the wait for the back ends, but a request that it cuts off is charged as
///    served.
/// 7. `CompressionLayer` and other expensive layers: they do not run for denied requests.
///
/// The gate also works in any other order, except that denials have no CORS headers if `CorsLayer` is inside the gate.
///
/// # Within routers
///
/// | place of the gate | what the gate misses |
/// |---|---|
/// | `around` the whole router | routes of a router that the result is merged into |
/// | `Router::layer` | routes and fallbacks that are added later |
/// | `Router::route_layer` | unknown paths: a fallback is served without a key |
/// | within a nested router | all routes outside that router; rules still apply to whole paths |
///
/// `testing::open_routes` finds the routes that are served without a key. `testing::unruled_routes` finds the routes
/// that no rule names.
///
/// A nested service, as by `Router::nest_service`, serves its own path with and without a slash at the end, and all
/// paths below it. A rule for `/files/*` matches neither `/files` nor `/files/`, but it
/// [applies to them](crate::rule::Rule#paths-that-routers-read-differently) where no other rule may be meant.
///
/// # What is charged
///
/// The cost of a request is charged before the handler runs. The table in [`Outcome`](crate::gate::Outcome) shows what
/// becomes of the charge. A response of the class 5xx, a panic and an error of the service refund it. Any other end
/// keeps it. Nothing that a client sends decides about it.
///
/// - Every failed request is refunded, however many there are. A handler that fails on purpose, or that a client can
///   make fail, works for free: respond with 4xx if the fault is the client's. A quota on the plan limits such
///   requests, because a draw from a rate limit is never refunded.
/// - The gate does not read `Idempotency-Key`. A retry is a separate request and is charged again. A service that
///   responds to a retry from stored data can report a [`FinalCost`](crate::gate::FinalCost) of zero.
///
/// # Panics
///
/// If a back end panics, or a closure that the gate calls, the gate responds with 500 (kind `internal`) and refunds the
/// charge. It does the same if the ledger panics while it settles a charge, and then drops the service's response. Each
/// such panic is an event at the level `ERROR` (feature `tracing`), which names the part but not the panic's message. A
/// panic of the service passes through the gate.
///
/// # Two gates
///
/// A request that passes two gates is checked by both. The first gate whose rule has a cost charges it, and the first
/// gate that has quotas draws from them. The other gate does neither again for the same key, unless the outer gate was
/// built [`without_principal`](crate::gate::GateBuilder::without_principal). A key that the outer gate removed from the
/// request is passed on as its hash, if both gates hash and accept keys alike.
#[derive(Debug, Clone)]
pub struct TollgateLayer {
    gate: Gate,
}

impl TollgateLayer {
    /// Creates a layer that puts this gate in front of a service.
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
