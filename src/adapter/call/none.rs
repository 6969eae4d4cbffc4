//! The replacements without gRPC: no request has a deadline, and the head of a response decides the outcome.

use std::task::{Context, Poll};

use http_body::Frame;

use crate::gate::{Admission, Outcome};
use crate::request::RequestView;
use crate::respond::AnswerHeaders;

pub(crate) struct Deadline;

impl Deadline {
    pub(crate) fn of(_: &RequestView<'_>) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "the feature's own has what to look at")]
    pub(crate) fn has_passed(&mut self, _: &mut Context<'_>) -> bool {
        false
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of the feature's own")]
pub(crate) fn grpc_outcome(_: &impl AnswerHeaders, served: Outcome) -> Option<Outcome> {
    Some(served)
}

#[derive(Debug)]
pub(crate) struct CallEnd;

impl CallEnd {
    pub(crate) fn none() -> Self {
        Self
    }

    pub(crate) fn awaited(_: Admission, _: Outcome) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "the feature's own has what to look at")]
    pub(crate) fn mark_unserved(&mut self) {}

    #[expect(clippy::unused_self, reason = "the feature's own has what to look at")]
    pub(crate) fn look<D, E>(&mut self, _: &Poll<Option<Result<Frame<D>, E>>>) {}
}
