//! How a refusal looks.

mod challenge;
mod face;
#[cfg(feature = "tonic")]
mod grpc;
mod headers;
mod instance;
mod limits;
mod presentation;
mod request_id;
mod responders;
mod template;
mod unique;
mod wording;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::{HeaderName, Response};

#[cfg(feature = "tonic")]
pub(crate) use grpc::Protocol;
pub(crate) use headers::AnswerHeaders;
pub(crate) use limits::limit_headers;
pub use presentation::Presentation;
pub use request_id::{RequestId, RequestIds};
pub(crate) use responders::Responders;
#[cfg(all(test, feature = "config"))]
pub(crate) use template::placeholders;
pub use wording::Wording;

use crate::clock::{Clock, Timestamp};
use crate::denial::Denial;

/// The circumstances of a refusal.
#[derive(Debug, Clone, Copy)]
pub struct Occasion<'a> {
    instance: &'a str,
    request_id: &'a RequestId,
    request_id_header: &'a HeaderName,
    clock: &'a dyn Clock,
}

impl<'a> Occasion<'a> {
    pub(crate) fn new(
        instance: &'a str,
        request_id: &'a RequestId,
        request_id_header: &'a HeaderName,
        clock: &'a dyn Clock,
    ) -> Self {
        Self { instance, request_id, request_id_header, clock }
    }

    /// The path as it was sent, not decoded, without the query, as a URI reference (RFC 3986, section 4.1): what no URI
    /// holds is percent-encoded, `//` at its beginning would name an authority and is written `/%2F`, and behind 256 bytes it
    /// is cut off.
    pub fn instance(&self) -> Cow<'a, str> {
        instance::reference_to(self.instance)
    }

    /// The request's id.
    pub fn request_id(&self) -> &'a RequestId {
        self.request_id
    }

    /// The header that the request's id belongs in.
    pub fn request_id_header(&self) -> &'a HeaderName {
        self.request_id_header
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now().wall()
    }
}

/// Turns a refusal into a response.
///
/// # Contract
///
/// What it answers goes to the client as it is, but for the request's id, which is added where it is missing. It should
/// tell no more of the key than the refusal's kind does: a key that may not be used from an address must look like one
/// that is unknown.
///
/// # Example
///
/// ```
/// use bytes::Bytes;
/// use http::{Response, StatusCode};
/// use tollgate::respond::{Occasion, ResponseForDenial};
/// use tollgate::Denial;
///
/// #[derive(Debug)]
/// struct Teapot;
///
/// impl ResponseForDenial for Teapot {
///     fn respond(&self, _: &Denial, _: &Occasion<'_>) -> Response<Bytes> {
///         let mut response = Response::new(Bytes::from_static(b"no"));
///         *response.status_mut() = StatusCode::IM_A_TEAPOT;
///         response
///     }
/// }
/// ```
pub trait ResponseForDenial: fmt::Debug + Send + Sync + 'static {
    /// The response to a refused request. Of a response to `HEAD` only the head is sent.
    fn respond(&self, denial: &Denial, occasion: &Occasion<'_>) -> Response<Bytes>;
}
