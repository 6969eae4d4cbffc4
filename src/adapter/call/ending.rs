//! The end of a response: the slots that are held until then, and the charge of a gRPC response, whose status comes last, or
//! of a request whose cost is known only then.

use std::task::Poll;

use http::HeaderName;
use http::header::CONTENT_TYPE;
use http_body::Frame;

use crate::gate::{Admission, CostMeter, Held, Outcome, detach};
use crate::respond::{AnswerHeaders, Protocol};

/// Returns the outcome according to a response's head. It is `served`, unless the response is gRPC and its status shows
/// that the server failed. Returns `None` for a gRPC response whose status is not in its head.
///
/// The function does not read the request: a client that claims to speak gRPC must not decide about its charge.
pub(crate) fn grpc_outcome(headers: &impl AnswerHeaders, served: Outcome) -> Option<Outcome> {
    if served == Outcome::Failed || !speaks_grpc(headers) {
        return Some(served);
    }
    by_status(headers, served)
}

fn speaks_grpc(headers: &impl AnswerHeaders) -> bool {
    headers.any(&CONTENT_TYPE, |media_type| Protocol::named(media_type).is_some())
}

/// Returns the outcome according to the status among these headers or trailers. Returns `None` if there is no status.
fn by_status(headers: &impl AnswerHeaders, served: Outcome) -> Option<Outcome> {
    const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
    let mut grpc_outcome = None;
    headers.any(&GRPC_STATUS, |code| {
        grpc_outcome = Some(if has_failed(code) { Outcome::Failed } else { served });
        true
    });
    grpc_outcome
}

/// Returns true if a code means that the server failed, like a 5xx in HTTP: unknown (2, and all unknown codes),
/// unimplemented (12), internal (13), unavailable (14) and data loss (15). A deadline and a cancellation are caused by the
/// caller.
fn has_failed(code: &[u8]) -> bool {
    !matches!(code, b"0" | b"1" | b"3" | b"4" | b"5" | b"6" | b"7" | b"8" | b"9" | b"10" | b"11" | b"16")
}

/// The slots of a request and the open charge of a gRPC response, if there are any, until the end of the response's body.
/// If this is dropped before the body's end, the charge is kept, unless the body panicked.
#[derive(Debug)]
pub(crate) struct CallEnd {
    open: Option<Box<Open>>,
    /// The meter of a request whose charge is settled when no clone of the meter is left.
    meter: Option<CostMeter>,
    held: Held,
}

#[derive(Debug)]
struct Open {
    admission: Admission,
    served: Outcome,
    /// True while the body is polled, and after a panic of the body.
    polling: bool,
}

impl CallEnd {
    /// Creates the end of a response without an open charge.
    #[inline]
    pub(crate) fn holding(held: Held) -> Self {
        Self { open: None, meter: None, held }
    }

    /// Creates the end of a response whose meter settles the charge.
    #[inline]
    pub(crate) fn metered(meter: CostMeter, held: Held) -> Self {
        Self { open: None, meter: Some(meter), held }
    }

    /// Returns true if nothing waits for the end of the response.
    #[cfg(feature = "axum")]
    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.open.is_none() && self.meter.is_none() && self.held.is_empty()
    }

    /// Creates the end of a response whose head is there, with an open charge. `served` is its outcome if the status is
    /// good.
    pub(crate) fn awaited(mut admission: Admission, served: Outcome, held: Held) -> Self {
        admission.mark_sent();
        let open = Some(Box::new(Open { admission, served, polling: false }));
        Self { open, meter: None, held }
    }

    /// Marks the body as about to be polled. Until [`look`](Self::look) is called, the body counts as panicked.
    pub(crate) fn mark_unserved(&mut self) {
        if let Some(open) = &mut self.open {
            open.polling = true;
        }
    }

    /// Inspects the result of a poll of the body. At the body's end, closes the charge and releases the slots.
    pub(crate) fn look<D, E>(&mut self, polled: &Poll<Option<Result<Frame<D>, E>>>) {
        let has_ended = match polled {
            Poll::Pending => false,
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers(),
            Poll::Ready(None | Some(Err(_))) => true,
        };
        if has_ended {
            (self.held, self.meter) = (Held::default(), None);
        }
        let Some(open) = &mut self.open else { return };
        open.polling = false;
        let outcome = match polled {
            Poll::Pending => return,
            Poll::Ready(None) => open.served,
            Poll::Ready(Some(Err(_))) => Outcome::Failed,
            Poll::Ready(Some(Ok(frame))) => match frame.trailers_ref() {
                None => return,
                Some(trailers) => by_status(trailers, open.served).unwrap_or(open.served),
            },
        };
        self.close(outcome);
    }

    fn close(&mut self, outcome: Outcome) {
        let Some(mut open) = self.open.take() else { return };
        // The clones of the meter that the handler has left end the charge.
        if open.admission.leave_to_meter(outcome).is_none()
            && let Some(closing) = open.admission.close(outcome)
        {
            detach(closing);
        }
    }
}

impl Drop for CallEnd {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            let outcome = if open.polling { Outcome::Failed } else { open.served };
            self.close(outcome);
        }
    }
}
