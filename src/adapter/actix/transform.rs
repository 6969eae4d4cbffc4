//! The transform.

use std::future::{Ready, ready};
use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};

use crate::adapter::TollgateMiddleware;
use crate::adapter::actix::names::Front;
use crate::gate::Gate;

/// Puts a [`Gate`] in front of an actix-web `App`, `Scope` or `Resource`.
///
/// # Wrap the whole application
///
/// A gate around a scope or a resource sees what is routed there and nothing else: other routes, the default service and
/// routes that are added later are open. Wrap the `App`, as the last middleware added but for those that answer in
/// its place (CORS) or rewrite paths (`NormalizePath`), which are wrapped behind it and so run before it: refusals have
/// CORS headers then, and the gate judges the path that is routed.
///
/// ```
/// use actix_web::{App, HttpResponse, web};
/// use tollgate::key::Length;
/// use tollgate::{Gate, KeyFormat, KeySource, Principal, TollgateTransform};
///
/// let gate = Gate::builder()
///     .source(KeySource::header("X-API-Key")?)
///     .format(KeyFormat::new("acme_", Length::exactly(32))?)
///     .build()?;
/// async fn candles(who: Principal) -> HttpResponse {
///     HttpResponse::Ok().body(format!("candles for {}", who.account().id))
/// }
/// let app = App::new().route("/v1/candles", web::get().to(candles)).wrap(TollgateTransform::new(gate));
/// # let _ = app;
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
///
/// # What it judges
///
/// - **The path that actix-web routes**: percent-decoded once, but for `%25`, `%2F` and `%2B`, and whole, also within a
///   scope. `/v1/%61dmin` is `/v1/admin`, to the rules as to the router.
/// - **The peer on the socket**, and the gate's own [`TrustedProxies`](crate::gate::TrustedProxies); never what
///   `realip_remote_addr` believes.
///
/// # The order of routes
///
/// actix-web takes the first route that matches, and the gate the most specific rule. Add routes from the most specific to
/// the least: behind `/v1/{id}`, a route `/v1/all` is never reached, and yet its rule is judged.
///
/// # `HEAD`
///
/// A rule for `GET` covers `HEAD`, cost included. Unlike axum, actix-web does not answer `HEAD` from the handler for `GET`:
/// where nothing routes it, as `web::head()` does, it answers 404 behind the gate, or 405 where a resource has other methods.
/// That is an answer like any other, and is paid.
///
/// # When a client leaves
///
/// Over HTTP/1.1 actix-web lets a handler work on whose client has closed its side, unless the server is told
/// `h1_allow_half_closed(false)`, and over HTTP/2 always: the charge is settled when the handler ends.
///
/// # What it answers
///
/// Refusals are responses. The service's errors keep their type, and the responses that they become bear what the gate adds to
/// others: the request id, `Cache-Control`, limits. What the service answers decides what is paid, as behind a
/// [`TollgateLayer`](crate::adapter::TollgateLayer): a response or an error of the class 5xx costs nothing. An error is judged by its
/// `ResponseError::status_code`. [`Outcome`](crate::gate::Outcome) has the whole table.
#[derive(Debug, Clone)]
pub struct TollgateTransform {
    front: Arc<Front>,
}

impl TollgateTransform {
    /// A transform that puts this gate in front of a service.
    pub fn new(gate: Gate) -> Self {
        Self { front: Arc::new(Front::new(gate)) }
    }
}

impl<S, B> Transform<S, ServiceRequest> for TollgateTransform
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Transform = TollgateMiddleware<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(TollgateMiddleware::new(Rc::new(service), Arc::clone(&self.front))))
    }
}
