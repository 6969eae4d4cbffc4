//! What a gate answers itself, behind its own checks.

use std::fmt::Debug;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use bytes::Bytes;
use http::Response;

use crate::{Gate, Principal, RequestId};

/// The most bytes that are read of a body: what is mounted takes small JSON.
pub(crate) const LARGEST_BODY: usize = 64 * 1024;

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
}

/// An answer in the making.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

/// A service of the gate's own, under a path of the gate.
pub(crate) trait Mounted: Debug + Send + Sync {
    /// Whether a request for this path is its.
    fn takes(&self, path: &str) -> bool;

    /// The methods of what stands at a path, as `Allow` says them; `None` where nothing does.
    fn allowed(&self, path: &str) -> Option<&'static str>;

    /// Its routes, as OpenAPI says them.
    #[cfg(feature = "openapi")]
    fn routes(&self) -> Vec<(&'static str, String)>;

    /// Answers a request.
    fn answer(&self, gate: Gate, call: Call) -> Answering;
}
