//! A back end far away: it is slow, it is down, it loses its answers. Its time is tokio's, which a test may stop.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tollgate::clock::{Now, Timestamp};
use tollgate::credit::{Charge, ChargeId, Charged, Refund, Settlement};
use tollgate::key::KeyHash;
use tollgate::limit::{Acquire, Acquired, Correction, Draw, LimitDecision, WindowStatus};
use tollgate::{
    Account, Clock, CreditLedger, Credits, KeyRecord, KeyStore, RateLimiter, StoreError, StoreFuture,
};

/// The faults of a back end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It answers, after its delay.
    None,
    /// It refuses the connection: nothing happens there.
    Down,
    /// It does what it is asked, and the answer is lost.
    Mute,
    /// The same, and it is known that nothing will come any more.
    Lost,
    /// It is asked, and neither acts nor answers.
    Hung,
    /// Answers that cannot be right.
    Corrupt,
    /// It will not do what it is asked.
    Unwilling,
}

/// A back end behind a network.
pub(crate) struct Remote<T>(Arc<Wire<T>>);

impl<T> Clone for Remote<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Wire<T> {
    back_end: T,
    fault: Mutex<(Fault, Duration)>,
    asked: AtomicUsize,
    closed: AtomicUsize,
    local: AtomicBool,
}

impl<T> fmt::Debug for Remote<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

impl<T> Remote<T> {
    pub(crate) fn new(back_end: T) -> Self {
        let fault = Mutex::new((Fault::None, Duration::from_millis(1)));
        let (asked, closed, local) = Default::default();
        Self(Arc::new(Wire { back_end, fault, asked, closed, local }))
    }

    /// Sets the fault from now on.
    pub(crate) fn set(&self, fault: Fault) {
        self.0.fault.lock().unwrap().0 = fault;
    }

    /// Returns the current fault.
    pub(crate) fn fault(&self) -> Fault {
        self.0.fault.lock().unwrap().0
    }

    /// Sets the delay of answers from now on.
    pub(crate) fn delay(&self, delay: Duration) {
        self.0.fault.lock().unwrap().1 = delay;
    }

    /// Sets if it answers at once, as a back end in this process does.
    pub(crate) fn answer_at_once(&self, local: bool) {
        self.0.local.store(local, Ordering::SeqCst);
    }

    /// Returns the number of look-ups, draws and charges.
    pub(crate) fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Returns the number of settlements and refunds.
    pub(crate) fn closed(&self) -> usize {
        self.0.closed.load(Ordering::SeqCst)
    }

    /// Carries a question over: it acts at once where it acts at all, and is heard of later.
    pub(crate) fn carry<R: Send + 'static>(&self, act: impl FnOnce(&T) -> StoreFuture<R>) -> StoreFuture<R> {
        let (fault, delay) = *self.0.fault.lock().unwrap();
        let acted = match fault {
            Fault::None | Fault::Mute | Fault::Lost => Some(act(&self.0.back_end)),
            Fault::Down | Fault::Hung | Fault::Corrupt | Fault::Unwilling => None,
        };
        if self.0.local.load(Ordering::SeqCst)
            && let Some(acted) = acted
        {
            return acted;
        }
        StoreFuture::boxed(async move {
            tokio::time::sleep(delay).await;
            match (fault, acted) {
                (Fault::None, Some(acted)) => acted.await,
                (Fault::Mute, Some(acted)) => acted.await.and(std::future::pending().await),
                (Fault::Lost, Some(acted)) => acted.await.and(Err(StoreError::timed_out())),
                (Fault::Corrupt, _) => Err(StoreError::corrupt("the record of another key")),
                (Fault::Unwilling, _) => Err(StoreError::rejected("this cannot be")),
                (Fault::Hung, _) => std::future::pending().await,
                _ => Err(StoreError::unavailable("connection refused")),
            }
        })
    }

    fn ask<R: Send + 'static>(&self, act: impl FnOnce(&T) -> StoreFuture<R>) -> StoreFuture<R> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        self.carry(act)
    }

    fn close(&self, act: impl FnOnce(&T) -> StoreFuture<()>) -> StoreFuture<()> {
        self.0.closed.fetch_add(1, Ordering::SeqCst);
        self.carry(act)
    }
}

impl<T: KeyStore> KeyStore for Remote<T> {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.ask(|store| store.find(hash))
    }
}

impl<T: RateLimiter> RateLimiter for Remote<T> {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision> {
        self.ask(|limiter| limiter.draw(draw))
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        self.ask(|limiter| limiter.peek(draw))
    }

    fn acquire(&self, slots: &Acquire<'_>) -> StoreFuture<Acquired> {
        self.ask(|limiter| limiter.acquire(slots))
    }

    fn release(&self, slots: &Acquire<'_>) -> StoreFuture<()> {
        self.ask(|limiter| limiter.release(slots))
    }

    fn correct(&self, correction: &Correction<'_>) -> StoreFuture<()> {
        self.ask(|limiter| limiter.correct(correction))
    }

    fn limits_in_flight(&self) -> bool {
        self.0.back_end.limits_in_flight()
    }
}

impl<T: CreditLedger> CreditLedger for Remote<T> {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        self.ask(|ledger| ledger.charge(charge))
    }

    fn settle(&self, settlement: &Settlement<'_>) -> StoreFuture<()> {
        self.close(|ledger| ledger.settle(settlement))
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        self.close(|ledger| ledger.refund(refund))
    }
}

#[cfg(feature = "fleet")]
impl<T: tollgate::credit::CreditLeasing> tollgate::credit::CreditLeasing for Remote<T> {
    fn lease(&self, block: &Charge<'_>, committed: Credits) -> StoreFuture<Charged> {
        self.ask(|ledger| ledger.lease(block, committed))
    }

    fn commit(&self, commitment: &tollgate::credit::Commitment<'_>) -> StoreFuture<bool> {
        self.ask(|ledger| ledger.commit(commitment))
    }
}

/// A clock that goes by tokio's time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokioClock(Instant);

impl TokioClock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Now {
        let (elapsed, start) = (self.0.elapsed(), Timestamp::from_millis(1_777_550_400_000));
        Now::new(start.saturating_add(elapsed), elapsed)
    }
}
