//! The tower service that a gate protects.

use std::task::{Context, Poll, Waker};

use arc_swap::Guard;
use http::{Request, Response};
use http_body::Body;
use tower::Service;

use crate::adapter::tower::future::prepare;
use crate::adapter::tower::managed::Managed;
use crate::adapter::tower::{ResponseBody, ResponseFuture};
use crate::gate::Gate;
use crate::gate::{Decision, decide};
use crate::request::RequestView;

/// A service behind a [`Gate`].
///
/// If the gate's back ends are in memory, the whole decision is made within [`call`](Service::call), without a heap
/// allocation. The service's readiness and its error type do not change. Every denial is an `Ok` response.
#[derive(Debug, Clone)]
pub struct TollgateService<S> {
    inner: S,
    gate: Gate,
}

impl<S> TollgateService<S> {
    /// Creates a service that has a gate in front of it.
    pub fn new(inner: S, gate: Gate) -> Self {
        Self { inner, gate }
    }

    /// Releases what the inner service has reserved in `poll_ready`, such as a permit, because this request does not
    /// call it.
    fn release(&mut self)
    where
        S: Clone,
    {
        let clone = self.inner.clone();
        drop(std::mem::replace(&mut self.inner, clone));
    }

    /// Returns the service behind the gate.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, B, R> Service<Request<B>> for TollgateService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    B: Body,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (mut decision, core) = (Decision::default(), self.gate.load());
        // In-memory back ends are ready at once. For other back ends, the future polls again, with a waker.
        let polled =
            decide(&mut decision, &core, &mut Context::from_waker(Waker::noop()), &RequestView::of(&request));
        match polled {
            Poll::Ready(Ok(())) => {
                if let Some(target) = Managed::target(&core, &request, decision.admitted()) {
                    let managed = ResponseFuture::manage(&core, target, request, decision.admission());
                    self.release();
                    return managed;
                }
                let request_id = prepare(&core, &mut request, decision.admission_mut());
                ResponseFuture::serve(self.inner.call(request), &mut decision, request_id)
            }
            Poll::Ready(Err(denial)) => {
                self.release();
                ResponseFuture::refuse(&core, &request, &denial, &decision)
            }
            Poll::Pending => {
                // This request uses the service that is ready. The clone must become ready for the next request.
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                ResponseFuture::decide(Guard::into_inner(core), decision, ready, request)
            }
        }
    }
}
