//! Work of a ledger that outlives the request it is done for.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use crate::{StoreError, StoreFuture, trace};

/// Work of a ledger that finishes by itself where it is dropped midway, as when the client leaves while it is asked.
#[inline]
pub(super) fn surviving(work: StoreFuture<()>) -> StoreFuture<()> {
    if work.is_ready() { work } else { survive(work) }
}

#[cold]
fn survive(work: StoreFuture<()>) -> StoreFuture<()> {
    let mut work = Surviving(Some(work));
    StoreFuture::boxed(poll_fn(move |cx| work.poll(cx)))
}

struct Surviving(Option<StoreFuture<()>>);

impl Surviving {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StoreError>> {
        let Some(work) = &mut self.0 else { return Poll::Ready(Ok(())) };
        let done = ready!(Pin::new(work).poll(cx));
        self.0 = None;
        Poll::Ready(done)
    }
}

impl Drop for Surviving {
    fn drop(&mut self) {
        if let Some(work) = self.0.take() {
            detach(work);
        }
    }
}

/// Lets a ledger's work finish by itself, where nobody is left to wait for it. Outside a tokio runtime, where it cannot
/// run, the ledger's own sweep of open charges must find it.
pub(crate) fn detach<T: Send + 'static>(mut work: StoreFuture<T>) {
    if work.is_ready() {
        if let Poll::Ready(Err(error)) = Pin::new(&mut work).poll(&mut Context::from_waker(Waker::noop())) {
            trace::unsettled(&error);
        }
        return;
    }
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn(async move {
            if let Err(error) = work.await {
                trace::unsettled(&error);
            }
        })),
        Err(_) => trace::unsettled(&StoreError::unavailable("no runtime to finish the charge on")),
    }
}
