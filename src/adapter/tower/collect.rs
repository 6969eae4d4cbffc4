//! A reader of a request's body, with a limit on its size and a time limit.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::Body;
use pin_project_lite::pin_project;

use crate::adapter::call::Deadline;
use crate::gate::{BodyFault, LARGEST_BODY};

pin_project! {
    /// The body of a request to which the gate itself responds.
    ///
    /// `http_body_util::Limited` needs a body whose errors convert into a boxed error. That bound would be required of
    /// every service that the layer wraps, so the body is read here.
    pub(super) struct Collecting<B> {
        #[pin]
        body: B,
        read: Vec<u8>,
        time: Duration,
        // Created when the body is first waited for, because most bodies are there at once.
        deadline: Option<Deadline>,
    }
}

impl<B: Body> Collecting<B> {
    /// Creates a reader of this body. The time limit starts when the body is first waited for.
    pub(super) fn new(body: B, time: Duration) -> Self {
        Self { body, read: Vec::new(), time, deadline: None }
    }

    pub(super) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Bytes, BodyFault>> {
        let mut this = self.project();
        loop {
            let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) else {
                let deadline = this.deadline.get_or_insert_with(|| Deadline::after(*this.time));
                return if deadline.has_passed(cx) {
                    Poll::Ready(Err(BodyFault::Late))
                } else {
                    Poll::Pending
                };
            };
            let Some(frame) = frame else {
                return Poll::Ready(Ok(std::mem::take(this.read).into()));
            };
            let Ok(frame) = frame else { return Poll::Ready(Err(BodyFault::Broken)) };
            // Trailers have no meaning here.
            let Ok(mut data) = frame.into_data() else { continue };
            if this.read.len() + data.remaining() > LARGEST_BODY {
                return Poll::Ready(Err(BodyFault::TooLarge));
            }
            while data.has_remaining() {
                let taken = data.chunk().len();
                this.read.extend_from_slice(data.chunk());
                data.advance(taken);
            }
        }
    }
}
