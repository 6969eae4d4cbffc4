//! Which form a refusal is told in.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Response};

use crate::denial::Denial;
use crate::error::ConfigError;
use crate::key::KeySource;
use crate::request::RequestView;
#[cfg(feature = "tonic")]
use crate::respond::grpc::{Calls, Protocol};
use crate::respond::{Occasion, Presentation, ResponseForDenial};

/// What answers refusals: one form for HTTP, and another for gRPC calls.
#[derive(Debug)]
pub(crate) struct Responders {
    http: Arc<dyn ResponseForDenial>,
    #[cfg(feature = "tonic")]
    calls: Calls,
}

impl Responders {
    /// Compiles a presentation; code of one's own, where there is any, answers in its place.
    pub(crate) fn new(
        own: Option<Arc<dyn ResponseForDenial>>,
        presentation: &Presentation,
        sources: &[KeySource],
        request_id: &HeaderName,
    ) -> Result<Self, ConfigError> {
        let http = match own {
            Some(responder) => responder,
            None => Arc::new(presentation.compile(sources, request_id)?),
        };
        Ok(Self {
            http,
            #[cfg(feature = "tonic")]
            calls: Calls::new(presentation, sources, request_id)?,
        })
    }

    /// The answer to a request: by its content type, and for gRPC by its method.
    pub(crate) fn respond(
        &self,
        view: &RequestView<'_>,
        denial: &Denial,
        occasion: &Occasion<'_>,
    ) -> Response<Bytes> {
        #[cfg(feature = "tonic")]
        if let Some(protocol) = Protocol::of(view) {
            return self.calls.respond(protocol, denial, occasion);
        }
        let _ = view;
        self.http.respond(denial, occasion)
    }

    /// What answers in HTTP's form, whatever was asked.
    #[cfg(any(feature = "keygen", feature = "openapi"))]
    pub(crate) fn http(&self) -> &dyn ResponseForDenial {
        &*self.http
    }
}
