//! A charge that ends with its call: what has become of a call is told last, behind all that it streams.

use std::task::Poll;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};
use http_body::Frame;
use tonic::Code;

use crate::adapter::view::first_value;
use crate::gate::{Admission, Outcome, detach};
use crate::respond::Protocol;

/// Whether what a request came to is told by a gRPC status, and its charge is open until then.
pub(crate) fn ends_with_status(posted: &HeaderMap, admission: &Admission) -> bool {
    admission.is_charged() && first_value(posted, &CONTENT_TYPE).and_then(Protocol::named).is_some()
}

/// What the status among these headers or trailers says of the handler; `None` where there is none.
pub(crate) fn told(headers: &HeaderMap, served: Outcome) -> Option<Outcome> {
    static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
    let code = Code::from_bytes(first_value(headers, &GRPC_STATUS)?);
    Some(if has_failed(code) { Outcome::Failed } else { served })
}

/// The codes that a server which fails answers with, as it does with a 5xx elsewhere. A deadline is the caller's own and
/// so is a cancellation: what they cut off was served.
fn has_failed(code: Code) -> bool {
    matches!(code, Code::Unknown | Code::Unimplemented | Code::Internal | Code::Unavailable | Code::DataLoss)
}

/// The open charge of a call, if it has one. Dropped before the call's end, as when the client leaves, it stands.
#[derive(Debug)]
pub(crate) struct CallEnd(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    admission: Admission,
    served: Outcome,
}

impl CallEnd {
    /// There is nothing to end.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// The end of a call whose answer has begun, and what it comes to if its status is good.
    pub(crate) fn awaited(admission: Admission, served: Outcome) -> Self {
        Self(Some(Box::new(Open { admission, served })))
    }

    /// Says that the body is about to be polled: a panic that leaves it is not served.
    pub(crate) fn risk(&mut self) {
        if let Some(open) = &mut self.0 {
            open.admission.risk();
        }
    }

    /// Looks at what the body has yielded, and ends the charge with the call.
    pub(crate) fn look<D, E>(&mut self, polled: &Poll<Option<Result<Frame<D>, E>>>) {
        let Some(open) = &mut self.0 else { return };
        open.admission.begin();
        let outcome = match polled {
            Poll::Pending => return,
            Poll::Ready(None) => open.served,
            Poll::Ready(Some(Err(_))) => Outcome::Failed,
            Poll::Ready(Some(Ok(frame))) => match frame.trailers_ref() {
                None => return,
                Some(trailers) => told(trailers, open.served).unwrap_or(open.served),
            },
        };
        let open = self.0.take();
        if let Some(closing) = open.and_then(|mut open| open.admission.close(outcome)) {
            detach(closing);
        }
    }
}
