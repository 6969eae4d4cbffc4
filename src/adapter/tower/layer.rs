//! The layer.

use tower::Layer;

use crate::adapter::TollgateService;
use crate::gate::Gate;

/// Puts a [`Gate`] in front of a service.
///
/// # Wrap the whole service
///
/// A layer sees what passes through it. One that is added to single routes misses fallbacks and the routes that come
/// later, and answers 404 before 401; put it around the whole service, as the last layer added:
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
/// From the outside to the inside, as `examples/axum.rs` has it:
///
/// 1. tower-http's `SetRequestIdLayer` and `PropagateRequestIdLayer`: refusals bear the same id.
/// 2. `TraceLayer`: refusals are traced too. Its own spans name the whole address, a key in the query included: make them
///    with `redacted_span` (feature `tracing`).
/// 3. `CorsLayer`: it answers preflights, and scripts of other origins can read refusals.
/// 4. Layers that rewrite paths, such as `NormalizePathLayer`: the gate judges the path that is routed. They stand around a
///    router of axum's, not among its own layers, which run when it has routed.
/// 5. The gate.
/// 6. `TimeoutLayer`: a handler that is too late costs nothing, if the status is of the class 5xx. Around the gate it also
///    bounds the wait for the back ends, and what it cuts off has been served.
/// 7. `CompressionLayer`, and what else costs: refused requests are spared it.
///
/// The gate does its work in any other order as well; but within it, CORS headers are missing from refusals.
///
/// # Within routers
///
/// | where | what it misses |
/// |---|---|
/// | `around` the whole router | routes and fallbacks that are added to what it returns |
/// | `Router::layer` | routes and fallbacks that are added later |
/// | `Router::route_layer` | unknown paths: a fallback is served without a key |
/// | within a nested router | all that lies beside it; rules are for whole paths all the same |
///
/// `testing::open_routes` finds what answers without a key, and `testing::unruled_routes` what no rule names.
///
/// A service that is nested, as by `Router::nest_service`, answers its own path with and without a slash at the end, and all
/// that lies below: a rule for `/files/*` names neither `/files` nor `/files/`, but
/// [holds for them](crate::rule::Rule#paths-that-routers-read-differently) where no other rule may be meant.
///
/// # What is paid
///
/// The cost of a request is charged before the handler runs. [`Outcome`](crate::gate::Outcome) has the table of what becomes of
/// the charge: a response of the class 5xx, a panic and an error of the service give it back, anything else lets it stand.
/// Nothing that a client says of itself decides about it.
///
/// - Each request that fails is given back, however many there are. A handler that fails on purpose, or that a client can
///   make fail, works for nothing: answer 4xx where the fault is the client's. A quota on the plan bounds such requests,
///   since a draw from a rate limit is never given back.
/// - The gate does not read `Idempotency-Key`. A retry is a request of its own: it is charged again, and a service that
///   answers it from what it has stored can say so by a [`FinalCost`](crate::gate::FinalCost) of zero.
///
/// # Panics
///
/// A panic of a back end, or of a closure that the gate calls, is answered 500 (kind `internal`), and the charge goes back.
/// So is a panic of the ledger that settles a charge: the service's response is dropped then. Each is an event at the level
/// `ERROR` (feature `tracing`) that names the part and not the panic's message. A panic of the service passes through the
/// gate.
///
/// # Two gates
///
/// A request that passes two gates is judged by both. The first that asks for credits takes them, the first that has quotas
/// draws, and the other does neither again for the same key, unless the outer one was built
/// [`without_principal`](crate::gate::GateBuilder::without_principal). A key that the outer gate took out of the request is handed
/// on as its hash, if both hash and accept keys alike.
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
