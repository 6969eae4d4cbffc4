//! Responses to denied requests.
//!
//! By default, a denial is answered with problem details (RFC 9457). A service that has an error format of its own
//! describes it by an [`ErrorFormat`], so that its clients see one format.
//!
//! # Example
//!
//! ```
//! use http::{Request, StatusCode};
//! use tollgate::key::Length;
//! use tollgate::respond::{ErrorFormat, ErrorText};
//! use tollgate::{Denial, DenialKind, Gate, KeyFormat, KeySource, RequestView};
//!
//! let text = ErrorText {
//!     code: Some("invalid_api_key".into()),
//!     message: Some("Send a valid key in X-API-Key.".into()),
//!     ..ErrorText::default()
//! };
//! let format = ErrorFormat::json(r#"{"error": {"code": "{code}", "message": "{message}"}}"#)?
//!     .error_text(DenialKind::Unauthorized, text);
//! let gate = Gate::builder()
//!     .source(KeySource::header("X-API-Key")?)
//!     .format(KeyFormat::new("acme_", Length::exactly(32))?)
//!     .error_format(format)
//!     .build()?;
//!
//! let request = Request::get("/v1/candles").body(())?;
//! let response = gate.response(&RequestView::of(&request), &Denial::of(DenialKind::Missing));
//! assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(
//!     response.body(),
//!     r#"{"error":{"code":"invalid_api_key","message":"Send a valid key in X-API-Key."}}"#,
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Overview
//!
//! - [`ErrorFormat`]: the format as data: problem details, or a JSON template with placeholders.
//! - [`ErrorText`]: the status, the code and the texts of denials of one kind and of all kinds below it.
//! - [`ResponseForDenial`]: code that makes the response, where a template is not enough.
//! - [`CreditHeaders`]: the headers of a request's cost and of the balance after it.
//! - [`RequestIds`]: the header that a request's id is read from and written to.
//!
//! A denied gRPC call is answered with a gRPC status (feature `tonic`): see `grpc`.

mod challenge;
mod credit_headers;
mod error_format;
mod error_template;
mod error_text;
#[cfg(feature = "tonic")]
mod grpc;
mod headers;
mod instance;
mod limits;
mod protocol;
mod request_id;
mod responders;
mod template;
mod unique;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::{HeaderName, Response};

pub use credit_headers::CreditHeaders;
pub(crate) use credit_headers::RequestCredits;
pub use error_format::ErrorFormat;
pub use error_text::ErrorText;
pub(crate) use headers::AnswerHeaders;
pub(crate) use limits::{ReportedLimits, limit_headers};
pub(crate) use protocol::Protocol;
pub use request_id::{RequestId, RequestIds};
pub(crate) use responders::Responders;
#[cfg(test)]
pub(crate) use template::placeholders;

use crate::clock::{Clock, Timestamp};
use crate::denial::Denial;
use crate::key::KeyFormat;

/// The data of a denied request that its response may contain: path, request id and time.
#[derive(Debug, Clone, Copy)]
pub struct DenialContext<'a> {
    instance: &'a str,
    request_id: &'a RequestId,
    request_id_header: &'a HeaderName,
    clock: &'a dyn Clock,
    /// The formats of the keys that the response must not repeat.
    formats: &'a [KeyFormat],
}

impl<'a> DenialContext<'a> {
    pub(crate) fn new(
        instance: &'a str,
        request_id: &'a RequestId,
        request_id_header: &'a HeaderName,
        clock: &'a dyn Clock,
        formats: &'a [KeyFormat],
    ) -> Self {
        Self { instance, request_id, request_id_header, clock, formats }
    }

    /// Returns the path without the query, as a URI reference (RFC 3986, section 4.1). The path is as sent, not
    /// decoded. Characters that a URI cannot contain are percent-encoded. A `//` at the beginning would name an
    /// authority and is written `/%2F`. A segment that contains a whole key is written `***`. The result is cut off
    /// after 256 bytes.
    pub fn instance(&self) -> Cow<'a, str> {
        instance::reference_to(self.instance, self.formats)
    }

    /// Returns the request's id.
    pub fn request_id(&self) -> &'a RequestId {
        self.request_id
    }

    /// Returns the header for the request's id.
    pub fn request_id_header(&self) -> &'a HeaderName {
        self.request_id_header
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        self.clock.now().wall()
    }
}

/// A conversion of a denial into a response.
///
/// # Contract
///
/// The response goes to the client as it is, except that the gate adds the request's id if it is missing. The response
/// should reveal no more of the key than the denial's kind does: a key that may not be used from an address must look
/// like an unknown key.
///
/// # Example
///
/// ```
/// use bytes::Bytes;
/// use http::{Response, StatusCode};
/// use tollgate::respond::{DenialContext, ResponseForDenial};
/// use tollgate::Denial;
///
/// #[derive(Debug)]
/// struct Teapot;
///
/// impl ResponseForDenial for Teapot {
///     fn respond(&self, _: &Denial, _: &DenialContext<'_>) -> Response<Bytes> {
///         let mut response = Response::new(Bytes::from_static(b"no"));
///         *response.status_mut() = StatusCode::IM_A_TEAPOT;
///         response
///     }
/// }
/// ```
pub trait ResponseForDenial: fmt::Debug + Send + Sync + 'static {
    /// Returns the response to a denied request. For a `HEAD` request, only the head of the response is sent.
    fn respond(&self, denial: &Denial, context: &DenialContext<'_>) -> Response<Bytes>;
}
