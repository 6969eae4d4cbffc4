//! Back ends that answer later, wrongly or not at all.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use tollgate::credit::{Charge, ChargeId, Charged, Refund, Settlement};
use tollgate::key::KeyHash;
use tollgate::limit::{Acquire, Acquired, Correction, Draw, LimitDecision, WindowStatus};
use tollgate::store::AccountAdmin;
use tollgate::{Account, CreditLedger, Credits, KeyRecord, KeyStore, RateLimiter, StoreError, StoreFuture};

/// A back end whose futures are pending once: what is asked of a remote one.
#[derive(Debug, Clone)]
pub(crate) struct Later<T>(pub(crate) T);

/// Asks `back_end` when it is polled for the second time.
fn later<T: Send + 'static>(ask: impl FnOnce() -> StoreFuture<T> + Send + 'static) -> StoreFuture<T> {
    StoreFuture::boxed(async move {
        let mut asked = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut asked, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        ask().await
    })
}

impl<T: KeyStore + Clone> KeyStore for Later<T> {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        let (store, hash) = (self.0.clone(), *hash);
        later(move || store.find(&hash))
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        Arc::new(self.0.clone()).admin()
    }
}

/// A store without a write side.
#[derive(Debug, Clone)]
pub(crate) struct ReadOnly<T>(pub(crate) T);

impl<T: KeyStore> KeyStore for ReadOnly<T> {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.0.find(hash)
    }
}

impl<T: RateLimiter + Clone> RateLimiter for Later<T> {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision> {
        // The draw borrows: it is made now, and told later.
        let answer = self.0.draw(draw);
        later(move || answer)
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        let answer = self.0.peek(draw);
        later(move || answer)
    }

    fn correct(&self, correction: &Correction<'_>) -> StoreFuture<()> {
        let answer = self.0.correct(correction);
        later(move || answer)
    }

    fn acquire(&self, acquire: &Acquire<'_>) -> StoreFuture<Acquired> {
        let answer = self.0.acquire(acquire);
        later(move || answer)
    }

    fn release(&self, acquire: &Acquire<'_>) -> StoreFuture<()> {
        let answer = self.0.release(acquire);
        later(move || answer)
    }

    fn limits_in_flight(&self) -> bool {
        self.0.limits_in_flight()
    }
}

impl<T: CreditLedger + Clone> CreditLedger for Later<T> {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        let answer = self.0.charge(charge);
        later(move || answer)
    }

    fn settle(&self, settlement: &Settlement<'_>) -> StoreFuture<()> {
        let (ledger, account) = (self.0.clone(), settlement.account.clone());
        let (id, cost) = (settlement.id, settlement.cost);
        later(move || ledger.settle(&super::settlement(&account, id, cost)))
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        let (ledger, account, id) = (self.0.clone(), refund.account.clone(), refund.id);
        later(move || ledger.refund(&super::refund(&account, id)))
    }
}

/// A back end that fails while it is told to, and counts what it is asked.
#[derive(Debug, Clone)]
pub(crate) struct Failing<T> {
    pub(crate) back_end: T,
    pub(crate) down: Arc<AtomicBool>,
    pub(crate) asked: Arc<AtomicUsize>,
    /// True if a charge is posted although its answer is lost.
    pub(crate) after_the_fact: bool,
}

impl<T> Failing<T> {
    pub(crate) fn new(back_end: T) -> Self {
        Self { back_end, down: Arc::new(true.into()), asked: Arc::default(), after_the_fact: false }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn failure(&self) -> Option<StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.down.load(Ordering::SeqCst).then(|| StoreError::unavailable("connection refused"))
    }
}

impl<T: KeyStore> KeyStore for Failing<T> {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.failure().map_or_else(|| self.back_end.find(hash), StoreFuture::failed)
    }
}

impl<T: RateLimiter> RateLimiter for Failing<T> {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision> {
        self.failure().map_or_else(|| self.back_end.draw(draw), StoreFuture::failed)
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        self.back_end.peek(draw)
    }

    fn correct(&self, correction: &Correction<'_>) -> StoreFuture<()> {
        self.failure().map_or_else(|| self.back_end.correct(correction), StoreFuture::failed)
    }
}

impl<T: CreditLedger> CreditLedger for Failing<T> {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        match self.failure() {
            None => self.back_end.charge(charge),
            Some(error) if self.after_the_fact => {
                drop(futures_ready(self.back_end.charge(charge)));
                StoreFuture::failed(error)
            }
            Some(error) => StoreFuture::failed(error),
        }
    }

    fn settle(&self, settlement: &Settlement<'_>) -> StoreFuture<()> {
        self.back_end.settle(settlement)
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        self.back_end.refund(refund)
    }
}

/// Drives what a back end in memory has answered already.
fn futures_ready<T>(future: StoreFuture<T>) -> Poll<Result<T, StoreError>> {
    std::pin::pin!(future).poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}
