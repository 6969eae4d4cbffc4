//! Polls a service without a runtime. All stacks use this.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::extract::Request;
use tower::Service;

/// Returns the output of a future that is ready at the first poll.
pub(crate) fn poll_now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here waits"),
    }
}

/// Returns the response of a service that is always ready.
pub(crate) fn call<S: Service<Request>>(service: &mut S, request: Request) -> S::Response {
    let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Ok(()))), "the service is always ready");
    poll_now(service.call(request)).unwrap_or_else(|_| panic!("the service never fails"))
}
