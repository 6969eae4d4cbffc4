//! Handling of panics in code that the gate calls.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, Response, StatusCode};

use crate::denial::Denial;
use crate::gate::{Core, Decision};
use crate::panics::{Panicked, guard};
use crate::request::RequestView;
use crate::respond::Responders;

/// Decides on a request as [`Decision::poll`] does. If a back end panics, the request is denied and its charge
/// refunded.
#[inline]
pub(crate) fn decide(
    decision: &mut Decision,
    core: &Arc<Core>,
    cx: &mut Context<'_>,
    view: &RequestView<'_>,
) -> Poll<Result<(), Denial>> {
    let polled = guard("a back end", || {
        if !core.sinks.is_empty() {
            decision.event.begin(core, view);
        }
        decision.poll(core, cx, view)
    });
    match polled {
        Ok(Poll::Pending) => {
            decision.wait(core);
            Poll::Pending
        }
        Ok(Poll::Ready(decided)) => {
            decision.stop_waiting();
            Poll::Ready(decided)
        }
        Err(Panicked) => Poll::Ready(Err(abandoned(decision))),
    }
}

#[cold]
fn abandoned(decision: &mut Decision) -> Denial {
    decision.stop_waiting();
    // An admission that is dropped before its handler begins refunds its charge.
    let mut admission = decision.admission();
    if let Some(entry) = &mut admission.entry {
        // A request that was admitted before the panic is recorded as denied.
        if !entry.event.is_empty() {
            decision.event = std::mem::take(&mut entry.event);
        }
    }
    let denial = Denial::panicked();
    match admission.entry() {
        Some(entry) => denial.of_key(entry.record()),
        None => denial,
    }
}

impl Core {
    /// Returns the response to a denial that was [observed](Self::observed). A panic of the responder is answered with
    /// 500.
    pub(crate) fn refuse(
        &self,
        denial: &Denial,
        respond: impl Fn(&Responders, &Denial) -> Response<Bytes>,
    ) -> Response<Bytes> {
        let response = guard("a responder", || respond(&self.responders, denial));
        response.unwrap_or_else(|Panicked| bare_failure())
    }

    /// Passes a denial to the log and to the observer, and returns the denial to answer with.
    pub(crate) fn observed<'d>(&self, denial: &'d Denial) -> std::borrow::Cow<'d, Denial> {
        match guard("an observer of denials", || self.observe(denial)) {
            Ok(()) => std::borrow::Cow::Borrowed(denial),
            Err(Panicked) => std::borrow::Cow::Owned(Denial::panicked().in_place_of(denial)),
        }
    }
}

/// A response with status 500 and no body, which is valid for every protocol and every method.
#[cold]
pub(crate) fn bare_failure() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
