//! Services that the gate answers itself, after its own checks.

use std::fmt::Debug;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;

use crate::gate::{Gate, Principal};
use crate::key::{KeyId, KeySource};
use crate::name::Scope;
use crate::respond::RequestId;

/// The maximum size of a body in bytes. Mounted services accept small JSON bodies.
pub(crate) const LARGEST_BODY: usize = 64 * 1024;

/// The default time within which a body must arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The gate's settings for key management.
#[derive(Debug, Clone)]
pub(crate) struct Management {
    /// The path of the key management.
    pub(crate) path: Option<String>,
    /// The scope that lets a key manage keys whose scopes are restricted.
    pub(crate) scope: Option<Scope>,
    /// True if a list of keys over HTTP contains the id of the key that issued each.
    pub(crate) lists_issuers: bool,
    /// The time within which a request's body must arrive.
    pub(crate) body_time: Duration,
    /// The time within which the operator may take back a revocation.
    pub(crate) undo_revocation: Option<Duration>,
}

impl Default for Management {
    fn default() -> Self {
        Self { path: None, scope: None, lists_issuers: false, body_time: BODY_TIME, undo_revocation: None }
    }
}

/// A request to a mounted service, with its body.
#[derive(Debug)]
pub(crate) struct MountedRequest {
    pub(crate) method: http::Method,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) media_type: Option<String>,
    pub(crate) body: Result<Bytes, BodyFault>,
    pub(crate) principal: Principal,
    pub(crate) client: Option<IpAddr>,
    pub(crate) request_id: RequestId,
}

/// The reason that a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// A body larger than [`LARGEST_BODY`].
    TooLarge,
    /// A body that ended early.
    Broken,
    /// A body that did not arrive in time.
    Late,
}

/// A future response of a mounted service.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

/// The `OpenAPI` description of a mounted route: its query parameters, its body and its responses, without denials.
#[derive(Debug, Default)]
pub(crate) struct RouteDescription {
    /// The query parameters.
    pub(crate) parameters: Vec<serde_json::Value>,
    /// The body, if the route reads one.
    pub(crate) body: Option<serde_json::Value>,
    /// The responses, by status.
    pub(crate) responses: Vec<(&'static str, serde_json::Value)>,
    /// The schemas that the body and the responses refer to, by name.
    pub(crate) schemas: Vec<(&'static str, serde_json::Value)>,
}

/// A service that the gate answers itself, under its own path.
pub(crate) trait Mounted: Debug + Send + Sync {
    /// Returns the same service with the endpoints for usage.
    fn with_usage(&self) -> Arc<dyn Mounted>;

    /// Returns true if the service answers requests for this path.
    fn takes(&self, path: &str) -> bool;

    /// Returns the methods that a path supports, in the form of an `Allow` header. `None` if the service has no such
    /// path.
    fn allowed(&self, path: &str) -> Option<&'static str>;

    /// Returns the routes of the service, as methods and OpenAPI paths.
    fn routes(&self) -> Vec<(&'static str, String)>;

    /// Returns the description of the route with this method and path.
    fn described(&self, method: &str, path: &str) -> RouteDescription;

    /// Returns the key that a `DELETE` request for this path with this query revokes. `None` if the service would
    /// reject the request.
    fn revoked(&self, path: &str, query: &str, sources: &[KeySource]) -> Option<KeyId>;

    /// Answers a request.
    fn answer(&self, gate: Gate, call: MountedRequest) -> Answering;
}
