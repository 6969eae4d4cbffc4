//! What a gate answers itself, behind its own checks.

use std::fmt::Debug;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Response;

use crate::gate::{Gate, Principal};
use crate::name::Scope;
use crate::respond::RequestId;

/// The most bytes that are read of a body: what is mounted takes small JSON.
pub(crate) const LARGEST_BODY: usize = 64 * 1024;

/// The time in which a body must have been read, if nothing is said.
const BODY_TIME: Duration = Duration::from_secs(10);

/// What a gate says of the management of its keys.
#[derive(Debug, Clone)]
pub(crate) struct Management {
    /// The path under which the gate answers requests for it.
    pub(crate) path: Option<String>,
    /// The scope that lets a key manage keys whose scopes are restricted.
    pub(crate) scope: Option<Scope>,
    /// Whether a list of keys over HTTP tells which key issued each.
    #[cfg(feature = "keygen")]
    pub(crate) lists_issuers: bool,
    /// The time in which a request's body must have been read.
    pub(crate) body_time: Duration,
}

impl Default for Management {
    fn default() -> Self {
        Self {
            path: None,
            scope: None,
            #[cfg(feature = "keygen")]
            lists_issuers: false,
            body_time: BODY_TIME,
        }
    }
}

/// A request to what is mounted, its body read.
#[cfg_attr(not(feature = "keygen"), expect(dead_code, reason = "read by key management alone"))]
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: http::Method,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) media_type: Option<String>,
    pub(crate) body: Result<Bytes, BodyFault>,
    pub(crate) principal: Principal,
    pub(crate) client: Option<IpAddr>,
    pub(crate) request_id: RequestId,
}

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// It is larger than what is mounted takes.
    TooLarge,
    /// It broke off.
    Broken,
    /// It did not come in time.
    Late,
}

/// An answer in the making.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

/// What a route of the gate's own takes in its query and answers, as `OpenAPI` says it: refusals stand elsewhere.
#[cfg(feature = "openapi")]
#[derive(Debug, Default)]
pub(crate) struct Described {
    /// Its query parameters.
    pub(crate) parameters: Vec<serde_json::Value>,
    /// Its answers, by status.
    pub(crate) responses: Vec<(&'static str, serde_json::Value)>,
    /// The schemas that these refer to, by name.
    pub(crate) schemas: Vec<(&'static str, serde_json::Value)>,
}

/// A service of the gate's own, under a path of the gate.
pub(crate) trait Mounted: Debug + Send + Sync {
    /// Whether a request for this path is its.
    fn takes(&self, path: &str) -> bool;

    /// The methods of what stands at a path, as `Allow` says them; `None` where nothing does.
    fn allowed(&self, path: &str) -> Option<&'static str>;

    /// Its routes, as OpenAPI says them.
    #[cfg(feature = "openapi")]
    fn routes(&self) -> Vec<(&'static str, String)>;

    /// What the route of this method and path takes in its query and answers.
    #[cfg(feature = "openapi")]
    fn described(&self, method: &str, path: &str) -> Described;

    /// Answers a request.
    fn answer(&self, gate: Gate, call: Call) -> Answering;
}
