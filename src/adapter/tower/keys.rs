//! Key management as a separate service.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use tower::Service;

use crate::adapter::tower::collect::Collecting;
use crate::adapter::tower::managed::{Managed, Target};
use crate::denial::{Denial, DenialKind};
use crate::error::ConfigError;
use crate::gate::{Admission, Gate, Mounted, Principal};
use crate::manage::Endpoints;
use crate::request::RequestView;

/// A key management service that a router mounts behind the gate, for gates that do not mount it themselves.
///
/// The caller is the [`Principal`] that the gate has inserted into the request's extensions. A request without one is
/// denied. The configuration has the rules for its routes: they should cost nothing, allow every scope, and be closed
/// to plans that manage no keys.
///
/// # Example
///
/// ```
/// use tollgate::adapter::KeyService;
/// use tollgate::key::Length;
/// use tollgate::{Gate, KeyFormat, KeySource};
///
/// let gate = Gate::builder()
///     .source(KeySource::header("X-API-Key")?)
///     .format(KeyFormat::new("acme_", Length::exactly(32))?)
///     .build()?;
/// let service = KeyService::new(gate, "/account/api-keys")?;
/// let app: axum::Router = axum::Router::new()
///     .route_service("/account/api-keys", service.clone())
///     .route_service("/account/api-keys/{*rest}", service);
/// # let _ = app;
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct KeyService {
    gate: Gate,
    endpoints: Arc<dyn Mounted>,
}

impl KeyService {
    /// Creates a service that manages the keys of a gate under this path. Requests must have the path in this form.
    ///
    /// # Errors
    ///
    /// Returns an error if the path does not begin with `/` or ends with it, or if the gate's store
    /// has no write side ([`KeyStore::admin`](crate::store::KeyStore::admin)).
    pub fn new(gate: Gate, path: &str) -> Result<Self, ConfigError> {
        if !path.starts_with('/') || path.ends_with('/') {
            let expected = "write it as in `/account/api-keys`";
            return Err(ConfigError::new(path, "invalid path for key management", expected).in_member("path"));
        }
        gate.writable_store()?;
        Ok(Self { gate, endpoints: Arc::new(Endpoints::under(path)) })
    }

    /// Returns the denial's response to a request that is not for keys or that has no principal.
    fn refuse<B>(&self, request: &Request<B>, kind: DenialKind) -> Response<Bytes> {
        let (core, denial) = (self.gate.core(), Denial::of(kind));
        let view = RequestView::of(request);
        let id = core.request_id(&view);
        let context = core.denial_context(request.uri().path(), &id);
        core.refuse(&core.observed(&denial), |responders, denial| responders.respond(&view, denial, &context))
    }
}

impl<B> Service<Request<B>> for KeyService
where
    B: Body<Data: Send> + Send + 'static,
{
    /// The body is JSON, or empty.
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let head_only = request.method() == Method::HEAD;
        let refusal = |kind| text(self.refuse(&request, kind), head_only);
        let Some(principal) = request.extensions().get::<Principal>().cloned() else {
            return Box::pin(ready(Ok(refusal(DenialKind::Missing))));
        };
        if !self.endpoints.takes(request.uri().path()) {
            return Box::pin(ready(Ok(refusal(DenialKind::NotFound))));
        }
        // Use the path as the router shows it. The router may have removed a prefix, and this service is mounted under
        // the rest.
        let path = request.uri().path().to_owned();
        let target = Target { mounted: self.endpoints.clone(), path, principal };
        let core = self.gate.core();
        let (managed, body) = Managed::part(&core, target, request, &Admission::default());
        let time = core.management.body_time;
        Box::pin(async move {
            let mut body = pin!(Collecting::new(body, time));
            let read = poll_fn(|cx| body.as_mut().poll(cx)).await;
            Ok(text(managed.answer(read).await, head_only))
        })
    }
}

/// Converts the body to text. The endpoints write JSON, which is text.
fn text(response: Response<Bytes>, head_only: bool) -> Response<String> {
    response.map(|body| if head_only { String::new() } else { String::from_utf8_lossy(&body).into_owned() })
}

impl fmt::Debug for KeyService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyService").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}
