//! The choice between the HTTP and the gRPC form of a denial.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Response};

use crate::denial::Denial;
use crate::error::ConfigError;
use crate::key::KeySource;
use crate::request::RequestView;
use crate::respond::{DenialContext, ErrorFormat, Protocol, ResponseForDenial};

/// The responders of a gate: one for HTTP requests, and one for gRPC calls.
#[derive(Debug)]
pub(crate) struct Responders {
    http: Arc<dyn ResponseForDenial>,
    #[cfg(feature = "tonic")]
    calls: crate::respond::grpc::Calls,
}

impl Responders {
    /// Compiles a presentation. `own`, if given, is used for HTTP requests in its place.
    pub(crate) fn new(
        own: Option<Arc<dyn ResponseForDenial>>,
        error_format: &ErrorFormat,
        sources: &[KeySource],
        request_id: &HeaderName,
    ) -> Result<Self, ConfigError> {
        let http = match own {
            Some(responder) => responder,
            None => Arc::new(error_format.compile(sources, request_id)?),
        };
        Ok(Self {
            http,
            #[cfg(feature = "tonic")]
            calls: crate::respond::grpc::Calls::new(error_format, sources, request_id)?,
        })
    }

    /// Returns the response to a request. The content type and method of the request decide if it is a gRPC call.
    pub(crate) fn respond(
        &self,
        view: &RequestView<'_>,
        denial: &Denial,
        context: &DenialContext<'_>,
    ) -> Response<Bytes> {
        #[cfg(feature = "tonic")]
        if let Some(protocol) = Protocol::of(view) {
            return self.calls.respond(protocol, denial, context);
        }
        self.http.respond(denial, context)
    }

    /// Returns the responder for HTTP, for any request.
    pub(crate) fn http(&self) -> &dyn ResponseForDenial {
        &*self.http
    }
}
