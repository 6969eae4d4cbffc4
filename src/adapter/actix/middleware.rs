//! The actix-web service that a gate protects.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};

use crate::adapter::actix::gate_headers::GateHeaders;
use crate::adapter::actix::view::RequestWithGate;
use crate::adapter::actix::{GatedBody, MiddlewareFuture};
use crate::gate::{Decision, decide};

/// An actix-web service behind a [`Gate`](crate::gate::Gate), created by a
/// [`TollgateTransform`](crate::adapter::TollgateTransform).
///
/// If the gate's back ends are in memory, the whole decision is made within `call`.
pub struct TollgateMiddleware<S> {
    service: Rc<S>,
    front: Arc<GateHeaders>,
}

impl<S> TollgateMiddleware<S> {
    pub(super) fn new(service: Rc<S>, front: Arc<GateHeaders>) -> Self {
        Self { service, front }
    }
}

impl<S, B> Service<ServiceRequest> for TollgateMiddleware<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<GatedBody<B>>>;
    type Error = actix_web::Error;
    type Future = MiddlewareFuture<S, B>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let mut decision = Decision::default();
        // In-memory back ends are ready at once. For other back ends, the future polls again, with a waker.
        let polled = {
            let request_with_gate = RequestWithGate { request: &request, front: &self.front };
            let cx = &mut Context::from_waker(Waker::noop());
            decide(&mut decision, &self.front.gate.0, cx, &request_with_gate.view())
        };
        match polled {
            Poll::Ready(Ok(())) => {
                MiddlewareFuture::serve(&self.front, &*self.service, request, decision.admission())
            }
            Poll::Ready(Err(denial)) => MiddlewareFuture::refuse(&self.front, request, &denial, &decision),
            Poll::Pending => {
                let (front, service) = (Arc::clone(&self.front), Rc::clone(&self.service));
                MiddlewareFuture::decide(front, decision, service, request)
            }
        }
    }
}

impl<S> fmt::Debug for TollgateMiddleware<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TollgateMiddleware").field("gate", &self.front.gate).finish_non_exhaustive()
    }
}
