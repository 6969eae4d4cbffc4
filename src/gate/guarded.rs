//! What the gate does where code that it calls panics.

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

/// Judges a request as [`Decision::poll`] does. A panic of a back end refuses it, and what was charged goes back.
#[inline]
pub(crate) fn decide(
    decision: &mut Decision,
    core: &Arc<Core>,
    cx: &mut Context<'_>,
    view: &RequestView<'_>,
) -> Poll<Result<(), Denial>> {
    match guard("a back end", || decision.poll(core, cx, view)) {
        Ok(polled) => polled,
        Err(Panicked) => Poll::Ready(Err(abandoned(decision))),
    }
}

#[cold]
fn abandoned(decision: &mut Decision) -> Denial {
    // Dropped before its handler begins, an admission gives its charge back.
    let admission = decision.admission();
    let denial = Denial::panicked();
    match admission.entry() {
        Some(entry) => denial.of_key(entry.record()),
        None => denial,
    }
}

impl Core {
    /// Tells a refusal to the log and to whoever asked for it, and returns the response to it. A panic of the observer or
    /// of the responder is answered 500.
    pub(crate) fn refuse(
        &self,
        denial: &Denial,
        respond: impl Fn(&Responders, &Denial) -> Response<Bytes>,
    ) -> Response<Bytes> {
        let denial = self.observed(denial);
        let response = guard("a responder", || respond(&self.responders, &denial));
        response.unwrap_or_else(|Panicked| bare_failure())
    }

    /// Tells a refusal to the log and to whoever asked for it; returns the one to answer.
    pub(crate) fn observed<'d>(&self, denial: &'d Denial) -> std::borrow::Cow<'d, Denial> {
        match guard("an observer of denials", || self.observe(denial)) {
            Ok(()) => std::borrow::Cow::Borrowed(denial),
            Err(Panicked) => std::borrow::Cow::Owned(Denial::panicked().in_place_of(denial)),
        }
    }
}

/// A 500 without a body, which every protocol and every method can have.
#[cold]
pub(crate) fn bare_failure() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
