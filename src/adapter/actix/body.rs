//! The body of a response of the service.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use pin_project_lite::pin_project;

use crate::gate::{CostMeter, Held};

pin_project! {
    /// The body of a response of the service behind the gate, unchanged. The request counts as in flight until the body has
    /// ended or is dropped. So does the meter of its cost, if the cost is known only then.
    #[derive(Debug)]
    pub struct GatedBody<B> {
        #[pin]
        body: B,
        held: Held,
        meter: Option<CostMeter>,
    }
}

impl<B> GatedBody<B> {
    pub(super) fn new(body: B, held: Held, meter: Option<CostMeter>) -> Self {
        Self { body, held, meter }
    }
}

impl<B: MessageBody> MessageBody for GatedBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        let polled = ready!(this.body.poll_next(cx));
        if !matches!(polled, Some(Ok(_))) {
            (*this.held, *this.meter) = (Held::default(), None);
        }
        Poll::Ready(polled)
    }

    /// Returns the bytes of a body that is complete, unless the request must be held until they are sent.
    fn try_into_bytes(self) -> Result<Bytes, Self> {
        if !self.held.is_empty() || self.meter.is_some() {
            return Err(self);
        }
        let Self { body, held, meter } = self;
        body.try_into_bytes().map_err(|body| Self { body, held, meter })
    }
}
