//! The body of a response: the service's body or that of a denial.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::adapter::call::CallEnd;

pin_project! {
    /// The body of a response through the gate: the service's own body, unchanged, or the body of a denial.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        content: Content<B>,
    }
}

pin_project! {
    #[project = Projected]
    #[derive(Debug)]
    enum Content<B> {
        Served { #[pin] body: B, end: CallEnd },
        Refused { body: Option<Bytes> },
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn served(body: B, end: CallEnd) -> Self {
        Self { content: Content::Served { body, end } }
    }

    pub(super) fn refused(body: Bytes) -> Self {
        Self { content: Content::Refused { body: Some(body).filter(|body| !body.is_empty()) } }
    }
}

#[cfg(feature = "axum")]
impl ResponseBody<axum::body::Body> {
    /// Returns this body as axum's. It is boxed only if the gate has to see its end: the end of a gRPC call
    /// or of a request that holds slots.
    #[inline]
    pub(in crate::adapter) fn into_axum(self) -> axum::body::Body {
        match self.content {
            Content::Served { body, end } if end.is_none() => body,
            Content::Refused { body } => body.map_or_else(axum::body::Body::empty, axum::body::Body::from),
            content @ Content::Served { .. } => axum::body::Body::new(Self { content }),
        }
    }
}

impl<B> Default for ResponseBody<B> {
    /// Returns an empty body, for a response that a layer around the gate creates.
    fn default() -> Self {
        Self { content: Content::Refused { body: None } }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().content.project() {
            Projected::Served { body, end } => {
                end.mark_unserved();
                let polled = body.poll_frame(cx);
                end.look(&polled);
                polled
            }
            Projected::Refused { body } => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Served { body, .. } => body.is_end_stream(),
            Content::Refused { body } => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Served { body, .. } => body.size_hint(),
            Content::Refused { body } => SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64),
        }
    }
}
