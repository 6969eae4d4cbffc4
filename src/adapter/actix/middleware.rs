//! The actix-web service that a gate protects.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use arc_swap::Guard;

use crate::adapter::actix::gate_headers::GateHeaders;
use crate::adapter::actix::view::RequestWithGate;
use crate::adapter::actix::{GatedBody, MiddlewareFuture};
use crate::gate::{Decision, Gate, decide};

/// An actix-web service behind a [`Gate`](crate::gate::Gate), created by a
/// [`TollgateTransform`](crate::adapter::TollgateTransform).
///
/// If the gate's back ends are in memory, the whole decision is made within `call`.
pub struct TollgateMiddleware<S> {
    service: Rc<S>,
    gate: Gate,
    /// The configuration of the last request.
    front: RefCell<Arc<GateHeaders>>,
}

impl<S> TollgateMiddleware<S> {
    pub(super) fn new(service: Rc<S>, gate: Gate) -> Self {
        let front = RefCell::new(Arc::new(GateHeaders::new(gate.core())));
        Self { service, gate, front }
    }

    /// Returns the configuration in force.
    fn front(&self) -> Arc<GateHeaders> {
        let (core, mut front) = (self.gate.load(), self.front.borrow_mut());
        if !Arc::ptr_eq(&front.core, &core) {
            *front = Arc::new(GateHeaders::new(Guard::into_inner(core)));
        }
        Arc::clone(&front)
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
        let (mut decision, front) = (Decision::default(), self.front());
        // In-memory back ends are ready at once. For other back ends, the future polls again, with a waker.
        let polled = {
            let request_with_gate = RequestWithGate { request: &request, front: &front };
            let cx = &mut Context::from_waker(Waker::noop());
            decide(&mut decision, &front.core, cx, &request_with_gate.view())
        };
        match polled {
            Poll::Ready(Ok(())) => {
                MiddlewareFuture::serve(&front, &*self.service, request, decision.admission())
            }
            Poll::Ready(Err(denial)) => MiddlewareFuture::refuse(&front, request, &denial, &decision),
            Poll::Pending => {
                let service = Rc::clone(&self.service);
                MiddlewareFuture::decide(front, decision, service, request)
            }
        }
    }
}

impl<S> fmt::Debug for TollgateMiddleware<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TollgateMiddleware").field("gate", &self.gate).finish_non_exhaustive()
    }
}
