//! A charge between its taking and its end.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use crate::gate::Core;
use crate::{ChargeId, Credits, KeyRecord, StoreError, StoreFuture, trace};

/// An open charge: it ends by settling or by refunding, once, whatever becomes of the request.
#[derive(Debug)]
pub(crate) struct Hold {
    core: Arc<Core>,
    record: Arc<KeyRecord>,
    id: ChargeId,
    amount: Credits,
    served: bool,
    closed: bool,
}

impl Hold {
    pub(crate) fn new(core: Arc<Core>, record: Arc<KeyRecord>, id: ChargeId, amount: Credits) -> Self {
        Self { core, record, id, amount, served: false, closed: false }
    }

    pub(crate) fn id(&self) -> ChargeId {
        self.id
    }

    /// There is nothing to end: the charge was not posted.
    pub(crate) fn void(mut self) {
        self.closed = true;
    }

    /// Whether a client that leaves now has been served.
    pub(crate) fn set_served(&mut self, served: bool) {
        self.served = served;
    }

    /// Ends the charge at its final cost, at most what was charged.
    pub(crate) fn settle(mut self, cost: Option<Credits>) -> StoreFuture<()> {
        self.closed = true;
        let cost = cost.unwrap_or(self.amount).min(self.amount);
        surviving(self.core.ledger.settle(&self.record.account, self.id, cost))
    }

    /// Gives the charge back.
    pub(crate) fn refund(mut self) -> StoreFuture<()> {
        self.closed = true;
        surviving(self.core.ledger.refund(&self.record.account, self.id))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        let account = &self.record.account;
        detach(if self.served && !std::thread::panicking() {
            self.core.ledger.settle(account, self.id, self.amount)
        } else {
            self.core.ledger.refund(account, self.id)
        });
    }
}

/// Work of a ledger that finishes by itself where it is dropped midway, as when the client leaves while it is asked.
fn surviving(work: StoreFuture<()>) -> StoreFuture<()> {
    if work.is_ready() {
        return work;
    }
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
