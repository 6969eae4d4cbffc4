//! A request that the service handles, for every framework.

use std::task::Poll;

use crate::adapter::headers::{self, RequestIdHeader};
use crate::future::StoreFuture;
use crate::gate::{Admission, CostMeter, FinalCost, Held, Outcome, ResponseBytes};
use crate::respond::{AnswerHeaders, RequestCredits};

/// An admitted request that the service is handling, with its slots and its open charge.
pub(super) struct Serving {
    admission: Admission,
    request_id: RequestIdHeader,
}

impl Serving {
    #[inline]
    pub(super) fn new(admission: Admission, request_id: RequestIdHeader) -> Self {
        Self { admission, request_id }
    }

    /// Polls the service. A panic of the service refunds the charge. A client that leaves while the service works is
    /// charged.
    #[inline]
    pub(super) fn poll<T>(&mut self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        self.admission.mark_unserved();
        let polled = poll();
        if polled.is_pending() {
            self.admission.mark_served();
        }
        polled
    }

    /// Adds the gate's headers to a response, and stores its status.
    #[inline]
    pub(super) fn answer(&mut self, status: u16, headers: &mut impl AnswerHeaders) {
        headers::answer(headers, &self.admission, &mut self.request_id);
        self.admission.set_status(status);
    }

    /// Stores the number of bytes that the handler reported, if the gate has a sink.
    #[inline]
    pub(super) fn set_bytes(&mut self, reported: impl FnOnce() -> Option<ResponseBytes>) {
        self.admission.set_bytes(reported);
    }

    /// Stores the status of a response that is still to come.
    #[cfg(feature = "actix-web")]
    pub(super) fn set_status(&mut self, status: u16) {
        self.admission.set_status(status);
    }

    /// Returns the outcome of a response by its status and the final cost that the handler reported. `None` if there is no
    /// charge, as when a gate around this one closes its own.
    #[inline]
    pub(super) fn outcome(
        &self,
        status: u16,
        reported: impl FnOnce() -> Option<FinalCost>,
    ) -> Option<Outcome> {
        if !self.admission.is_charged() {
            return None;
        }
        Some(match reported() {
            _ if status >= 500 => Outcome::Failed,
            Some(FinalCost(cost)) => Outcome::ServedAt(cost),
            None => self.admission.served(),
        })
    }

    /// Adds the cost of the request and the balance, after this outcome, to a response.
    #[inline]
    pub(super) fn tell_credits(&self, outcome: Outcome, headers: &mut impl AnswerHeaders) {
        headers::tell_credits(headers, &self.admission, self.credits_after(outcome));
    }

    /// Returns the cost of the request after this outcome, and the balance, if the gate has headers for them.
    #[inline]
    pub(super) fn credits_after(&self, outcome: Outcome) -> Option<RequestCredits> {
        self.admission.credits_after(outcome)
    }

    /// Leaves the end of the charge to the request's meter, if the cost is not known yet.
    #[inline]
    pub(super) fn leave_to_meter(&mut self, outcome: Outcome) -> Option<CostMeter> {
        self.admission.leave_to_meter(outcome)
    }

    /// Closes the charge. Returns `None` if there is nothing to wait for.
    #[inline]
    pub(super) fn close(&mut self, outcome: Outcome) -> Option<StoreFuture<()>> {
        self.admission.close(outcome)
    }

    /// Takes the slots, which are held until the end of the response's body.
    #[inline]
    pub(super) fn take_held(&mut self) -> Held {
        self.admission.take_held()
    }

    /// Takes the admission and the header of the request's id, for a response that is still to come.
    #[inline]
    pub(super) fn take(&mut self) -> (Admission, RequestIdHeader) {
        (std::mem::take(&mut self.admission), self.request_id.take())
    }
}
