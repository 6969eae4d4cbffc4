//! The service behind the gate: it counts its calls and remembers the last.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Full;
use tollgate::Principal;
use tower::Service;

/// Answers 200, counts, and keeps what it was shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inner(Arc<State>);

#[derive(Debug, Default)]
struct State {
    calls: AtomicUsize,
    seen: Mutex<Option<Parts>>,
    answer: Mutex<Option<Response<&'static str>>>,
}

impl Inner {
    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn count(&self) {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
    }

    /// The request that it was called with last.
    pub(crate) fn seen(&self) -> Parts {
        self.0.seen.lock().unwrap().clone().unwrap()
    }

    /// Returns the principal of the last call.
    pub(crate) fn principal(&self) -> Option<Principal> {
        self.seen().extensions.get().cloned()
    }

    /// Sets the answer from now on.
    pub(crate) fn answer(&self, response: Response<&'static str>) {
        *self.0.answer.lock().unwrap() = Some(response);
    }
}

impl<B> Service<Request<B>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.count();
        *self.0.seen.lock().unwrap() = Some(request.into_parts().0);
        let answer = self.0.answer.lock().unwrap().clone().unwrap_or_else(|| Response::new("served"));
        ready(Ok(answer.map(|text| Full::from(text.as_bytes()))))
    }
}
