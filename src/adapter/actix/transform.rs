//! The actix-web transform that puts a gate in front of a service.

use std::future::{Ready, ready};
use std::rc::Rc;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};

use crate::adapter::{GatedBody, TollgateMiddleware};
use crate::gate::Gate;

/// A transform that puts a [`Gate`] in front of an actix-web `App`, `Scope` or `Resource`.
///
/// # Wrap the whole application
///
/// A gate around a scope or a resource only sees the requests that are routed there. Other routes, the default service
/// and routes that are added later are open. Wrap the `App`, as the last middleware added.
///
/// Two kinds of middleware are wrapped after the gate, and so run before it: those that respond in its place (CORS),
/// and those that rewrite paths (`NormalizePath`). Denials then have CORS headers, and the gate checks the path that is
/// routed.
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
/// # What it checks
///
/// - **The path that actix-web routes.** It is percent-decoded once, except for `%25`, `%2F` and `%2B`. It is the whole
///   path, also within a scope. `/v1/%61dmin` is `/v1/admin`, both to the rules and to the router.
/// - **The peer on the socket**, and the gate's own [`TrustedProxies`](crate::gate::TrustedProxies); never the result
///   of `realip_remote_addr`.
///
/// # The order of routes
///
/// actix-web uses the first route that matches, and the gate uses the most specific rule. Add routes from the most
/// specific to the least specific. After `/v1/{id}`, a route `/v1/all` is never reached, although its rule applies.
///
/// # `HEAD`
///
/// A rule for `GET` covers `HEAD`, cost included. Unlike axum, actix-web does not respond to `HEAD` with the handler
/// for `GET`. Without a route for `HEAD` (`web::head()`), it responds with 404 behind the gate, or with 405 if a
/// resource has other methods. Such a response is charged like any other.
///
/// # Clients that leave
///
/// Over HTTP/1.1, actix-web lets a handler continue after its client has closed its side, unless the server is
/// configured with `h1_allow_half_closed(false)`. Over HTTP/2 it always does so. The charge is settled when the handler
/// ends.
///
/// # Responses
///
/// Denials are responses. The service's errors keep their type, and the gate adds the same headers to the responses
/// that they become: the request id, `Cache-Control`, limits.
///
/// The service's result decides about the charge, as behind a [`TollgateLayer`](crate::adapter::TollgateLayer): a
/// response or an error of the class 5xx costs nothing. The status of an error is that of its
/// `ResponseError::status_code`. [`Outcome`](crate::gate::Outcome) has the whole table.
#[derive(Debug, Clone)]
pub struct TollgateTransform {
    gate: Gate,
}

impl TollgateTransform {
    /// Creates a transform that puts this gate in front of a service.
    pub fn new(gate: Gate) -> Self {
        Self { gate }
    }
}

impl<S, B> Transform<S, ServiceRequest> for TollgateTransform
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<GatedBody<B>>>;
    type Error = actix_web::Error;
    type Transform = TollgateMiddleware<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(TollgateMiddleware::new(Rc::new(service), self.gate.clone())))
    }
}
