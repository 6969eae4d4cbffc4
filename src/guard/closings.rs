//! Settlements and refunds that failed, kept until they are done.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Guarded;
use crate::{Account, ChargeId, CreditLedger, Credits, StoreError, StoreFuture, trace};

/// What ends a charge: a settlement at a cost, or a refund.
#[derive(Debug, Clone)]
pub(super) struct Closing {
    account: Account,
    id: ChargeId,
    cost: Option<Credits>,
}

impl Closing {
    pub(super) fn new(account: &Account, id: ChargeId, cost: Option<Credits>) -> Self {
        // A ledger goes by the account's id: what else an account has is not copied.
        Self { account: Account::new(account.id.clone(), account.plan.clone()), id, cost }
    }

    fn ask(&self, ledger: &impl CreditLedger) -> StoreFuture<()> {
        match self.cost {
            Some(cost) => ledger.settle(&self.account, self.id, cost),
            None => ledger.refund(&self.account, self.id),
        }
    }
}

/// The closings that wait for the ledger, the oldest first.
#[derive(Debug)]
pub(super) struct Closings {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    waiting: VecDeque<Closing>,
    /// Whether a task carries them home.
    carried: bool,
}

impl Closings {
    pub(super) fn keeping(most: usize) -> Self {
        Self { most, kept: Mutex::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: CreditLedger> Guarded<T> {
    /// Ends a charge, now or as soon as the ledger is there.
    pub(super) fn close(&self, closing: Closing) -> StoreFuture<()> {
        let mut asked = self.ask(|ledger| closing.ask(ledger));
        let mut unsettled = Unsettled { guard: self.clone(), closing: Some(closing) };
        if let Some(answer) = asked.take_ready() {
            return unsettled.hear(answer).into();
        }
        StoreFuture::boxed(async move {
            let answer = asked.await;
            unsettled.hear(answer)
        })
    }

    /// Tries once more, now, every settlement and refund that has failed: what is left to do at shutdown.
    ///
    /// # Errors
    ///
    /// The first that fails again; it and those behind it stay kept.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::{Guarded, MemoryLedger};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tollgate::StoreError> {
    /// let ledger = Guarded::new(MemoryLedger::new());
    /// ledger.flush().await?;
    /// assert_eq!(ledger.health().closings, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn flush(&self) -> Result<(), StoreError> {
        while let Some(mut unsettled) = self.next_unsettled() {
            let Some(closing) = unsettled.closing.clone() else { continue };
            let answer = self.ask(|ledger| closing.ask(ledger)).await;
            unsettled.hear(answer)?;
        }
        Ok(())
    }

    fn next_unsettled(&self) -> Option<Unsettled<T>> {
        let closing = self.0.closings.lock().waiting.pop_front()?;
        Some(Unsettled { guard: self.clone(), closing: Some(closing) })
    }

    /// Keeps a closing, and sees that it is carried home. Outside a runtime the next one that comes in one sees to it.
    fn keep(&self, closing: Closing) {
        let mut kept = self.0.closings.lock();
        if kept.waiting.len() >= self.0.closings.most {
            return trace::unsettled(&StoreError::overloaded());
        }
        kept.waiting.push_back(closing);
        if kept.carried {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            kept.carried = true;
            drop(kept);
            let carrier = Carrier(self.clone());
            drop(runtime.spawn(async move { carrier.carry().await }));
        }
    }
}

/// A closing that is kept if it is dropped before it is done: as it fails, or as nobody waits for it any more.
struct Unsettled<T: CreditLedger> {
    guard: Guarded<T>,
    closing: Option<Closing>,
}

impl<T: CreditLedger> Unsettled<T> {
    fn hear(&mut self, answer: Result<(), StoreError>) -> Result<(), StoreError> {
        // What cannot be right will not be by asking again: it is for the ledger's sweep.
        if answer.as_ref().map_or_else(StoreError::is_answer, |()| true) {
            self.closing = None;
        }
        answer
    }
}

impl<T: CreditLedger> Drop for Unsettled<T> {
    fn drop(&mut self) {
        if let Some(closing) = self.closing.take() {
            self.guard.keep(closing);
        }
    }
}

/// Carries what is kept home, for as long as there is any.
struct Carrier<T: CreditLedger>(Guarded<T>);

impl<T: CreditLedger> Carrier<T> {
    async fn carry(self) {
        let Self(guard) = &self;
        while !guard.0.closings.is_done() {
            if guard.flush().await.is_err() {
                tokio::time::sleep(guard.0.limits.rest).await;
            }
        }
    }
}

impl Closings {
    /// Whether nothing is left: then the task that carries ends, in the same step.
    fn is_done(&self) -> bool {
        let mut kept = self.lock();
        kept.carried = !kept.waiting.is_empty();
        !kept.carried
    }
}

impl<T: CreditLedger> Drop for Carrier<T> {
    fn drop(&mut self) {
        // A runtime that ends takes the task with it: the next closing starts another.
        self.0.0.closings.lock().carried = false;
    }
}
