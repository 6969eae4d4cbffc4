//! Reading a request's body, up to a bound.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::Body;
use pin_project_lite::pin_project;

use crate::gate::{BodyFault, LARGEST_BODY};

pin_project! {
    /// The body of a request to what the gate answers itself.
    pub(super) struct Collecting<B> {
        #[pin]
        body: B,
        read: Vec<u8>,
    }
}

impl<B: Body> Collecting<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body, read: Vec::new() }
    }

    pub(super) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Bytes, BodyFault>> {
        let mut this = self.project();
        loop {
            let Some(frame) = ready!(this.body.as_mut().poll_frame(cx)) else {
                return Poll::Ready(Ok(std::mem::take(this.read).into()));
            };
            let Ok(frame) = frame else { return Poll::Ready(Err(BodyFault::Broken)) };
            // Trailers say nothing here.
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
