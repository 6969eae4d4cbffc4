//! Back-end work that outlives its request.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::trace;

/// Wraps a back-end call so that it continues on its own if it is dropped before its end, as when the client leaves.
#[cold]
pub(crate) fn surviving<T: Send + 'static>(work: StoreFuture<T>) -> StoreFuture<T> {
    if work.is_ready() {
        return work;
    }
    let mut work = DetachOnDrop(Some(work));
    StoreFuture::boxed(poll_fn(move |cx| work.poll(cx)))
}

struct DetachOnDrop<T: Send + 'static>(Option<StoreFuture<T>>);

impl<T: Send + 'static> DetachOnDrop<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, StoreError>> {
        // Polling a finished future is an error of the caller. It stays pending instead of panicking.
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let done = ready!(Pin::new(work).poll(cx));
        self.0 = None;
        Poll::Ready(done)
    }
}

impl<T: Send + 'static> Drop for DetachOnDrop<T> {
    fn drop(&mut self) {
        if let Some(work) = self.0.take() {
            detach(work);
        }
    }
}

/// Runs a ledger call to its end without a waiting caller. Outside a tokio runtime the call cannot run, and the
/// ledger's sweep of open charges must find the charge.
pub(crate) fn detach<T: Send + 'static>(work: StoreFuture<T>) {
    finish_alone(work, trace::unsettled);
}

/// Runs a back-end call to its end without a waiting caller, and logs its error.
pub(crate) fn finish_alone<T: Send + 'static>(mut work: StoreFuture<T>, log: fn(&StoreError)) {
    if work.is_ready() {
        if let Poll::Ready(Err(error)) = Pin::new(&mut work).poll(&mut Context::from_waker(Waker::noop())) {
            log(&error);
        }
        return;
    }
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn(async move {
            if let Err(error) = work.await {
                log(&error);
            }
        })),
        Err(_) => log(&StoreError::unavailable("no tokio runtime to finish the call")),
    }
}
