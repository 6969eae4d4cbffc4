//! Failed settlements and refunds, kept until they succeed.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Resilient;
use crate::account::{Account, Allowance, ExpiredRefunds, Overage};
use crate::amount::{ChargeId, Credits, Currency};
use crate::clock::Now;
use crate::credit::{CreditLedger, Refund, Settlement};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::trace;

/// The closing of a charge: a settlement at a cost, or a refund.
#[derive(Debug, Clone)]
pub(super) struct Closing {
    account: Account,
    currency: Currency,
    id: ChargeId,
    /// The cost and the terms of a settlement; `None` for a refund.
    settlement: Option<(Credits, Allowance, Overage)>,
    expired_refunds: ExpiredRefunds,
    /// The time of the closing, which a later attempt does not change.
    now: Now,
}

impl Closing {
    pub(super) fn of_settlement(settlement: &Settlement<'_>) -> Self {
        Self {
            account: id_of(settlement.account),
            currency: settlement.currency.clone(),
            id: settlement.id,
            settlement: Some((settlement.cost, settlement.allowance.clone(), settlement.overage)),
            expired_refunds: settlement.expired_refunds,
            now: settlement.clock.now(),
        }
    }

    pub(super) fn of_refund(refund: &Refund<'_>) -> Self {
        Self {
            account: id_of(refund.account),
            currency: refund.currency.clone(),
            id: refund.id,
            settlement: None,
            expired_refunds: refund.expired_refunds,
            now: refund.clock.now(),
        }
    }

    fn is_settlement(&self) -> bool {
        self.settlement.is_some()
    }

    fn ask(&self, ledger: &impl CreditLedger) -> StoreFuture<()> {
        if let Some((cost, allowance, overage)) = &self.settlement {
            let mut settlement = Settlement::new(&self.account, self.id, *cost, &self.now);
            (settlement.currency, settlement.allowance) = (&self.currency, allowance);
            (settlement.overage, settlement.expired_refunds) = (*overage, self.expired_refunds);
            return ledger.settle(&settlement);
        }
        let mut refund = Refund::new(&self.account, self.id, &self.now);
        (refund.currency, refund.expired_refunds) = (&self.currency, self.expired_refunds);
        ledger.refund(&refund)
    }
}

/// Returns an account with the same id. A ledger uses only the id, so the other fields are not copied.
fn id_of(account: &Account) -> Account {
    Account::new(account.id.clone(), account.plan.clone())
}

/// The closings that wait for the ledger.
///
/// Settlements come before refunds, and the oldest of each kind comes first.
#[derive(Debug)]
pub(super) struct PendingSettlements {
    most: usize,
    kept: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    settlements: VecDeque<Closing>,
    refunds: VecDeque<Closing>,
    /// The ids of the charges that wait to be closed. They prevent a repeated closing from being kept twice.
    ids: HashSet<ChargeId>,
    /// True if a task is sending the closings.
    carried: bool,
}

impl PendingSettlements {
    pub(super) fn keeping(most: usize) -> Self {
        Self { most, kept: Mutex::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().ids.len()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Adds a closing.
    ///
    /// Returns an error if there was no room, so that this closing or an older refund is left to the sweep.
    fn add(&mut self, closing: Closing, most: usize) -> Result<(), StoreError> {
        if self.ids.contains(&closing.id) {
            return Ok(());
        }
        let mut added = Ok(());
        if self.ids.len() >= most {
            // Drop a refund, since the sweep does what the refund would have done. A settlement is worth more.
            let refund = if closing.is_settlement() { self.refunds.pop_front() } else { None };
            let Some(refund) = refund else { return Err(StoreError::overloaded()) };
            self.ids.remove(&refund.id);
            added = Err(StoreError::overloaded());
        }
        self.ids.insert(closing.id);
        if closing.is_settlement() {
            self.settlements.push_back(closing);
        } else {
            self.refunds.push_back(closing);
        }
        added
    }

    fn next(&mut self) -> Option<Closing> {
        let closing = self.settlements.pop_front().or_else(|| self.refunds.pop_front())?;
        self.ids.remove(&closing.id);
        Some(closing)
    }
}

impl<T: CreditLedger> Resilient<T> {
    /// Closes a charge, now or as soon as the ledger answers.
    pub(super) fn close(&self, closing: Closing) -> StoreFuture<()> {
        let mut asked = self.ask_to_close(&closing);
        let mut unsettled = OpenSettlement { guard: self.clone(), closing: Some(closing) };
        if let Some(answer) = asked.take_ready() {
            return unsettled.hear(answer).into();
        }
        StoreFuture::boxed(async move {
            let answer = asked.await;
            unsettled.hear(answer)
        })
    }

    /// Sends a closing.
    ///
    /// The bound on waiting calls does not apply to it.
    fn ask_to_close(&self, closing: &Closing) -> StoreFuture<()> {
        self.send(usize::MAX, |ledger| closing.ask(ledger)).unwrap_or_else(StoreFuture::failed)
    }

    /// Tries every failed settlement and refund once more, at once. Call it at shutdown.
    ///
    /// Settlements are sent first. Up to [`settlements_at_once`](crate::guard::GuardLimits::settlements_at_once) closings are
    /// sent at a time.
    ///
    /// It ends within [`GuardLimits::flush`](crate::guard::GuardLimits::flush), and as soon as the ledger fails.
    ///
    /// # Errors
    ///
    /// The error of the first closing that fails again, or a time-out. Closings that failed and closings that were not
    /// sent are kept.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::guard::Resilient;
    /// use tollgate::MemoryLedger;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tollgate::StoreError> {
    /// let ledger = Resilient::new(MemoryLedger::new());
    /// ledger.flush().await?;
    /// assert_eq!(ledger.health().pending_settlements, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn flush(&self) -> Result<(), StoreError> {
        timeout(self.shared.limits.flush, self.send_all()).await.unwrap_or(Err(StoreError::timed_out()))
    }

    /// Sends the kept closings, a bounded number at a time, until the ledger fails.
    async fn send_all(&self) -> Result<(), StoreError> {
        let (mut asked, mut done, mut failed) = (JoinSet::new(), Ok(()), false);
        loop {
            // While the circuit is open, a single call probes whether the ledger is back.
            let open = self.shared.circuit.is_open();
            let most = if open { 1 } else { self.shared.limits.settlements_at_once.max(1) };
            while !failed
                && asked.len() < most
                && let Some(unsettled) = self.next_unsettled()
            {
                asked.spawn(unsettled.ask());
            }
            match asked.join_next().await {
                None => return done,
                Some(joined) => {
                    let answer = joined.unwrap_or_else(|ended| Err(StoreError::unavailable(ended)));
                    failed |= answer.as_ref().is_err_and(|error| !error.is_answer());
                    done = done.and(answer);
                }
            }
        }
    }

    fn next_unsettled(&self) -> Option<OpenSettlement<T>> {
        let closing = self.shared.pending_settlements.lock().next()?;
        Some(OpenSettlement { guard: self.clone(), closing: Some(closing) })
    }

    /// Keeps a closing, and starts the task that sends it unless one is running.
    ///
    /// Outside a tokio runtime, the next closing that is kept inside one starts the task.
    fn keep(&self, closing: Closing) {
        let mut kept = self.shared.pending_settlements.lock();
        if let Err(error) = kept.add(closing, self.shared.pending_settlements.most) {
            trace::unsettled(&error);
        }
        if kept.carried {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            kept.carried = true;
            drop(kept);
            let carrier = RetryTask(self.clone());
            drop(runtime.spawn(async move { carrier.run().await }));
        }
    }
}

/// A closing that is kept if it is dropped before it succeeds, because it failed or because its caller stopped waiting.
struct OpenSettlement<T: CreditLedger> {
    guard: Resilient<T>,
    closing: Option<Closing>,
}

impl<T: CreditLedger> OpenSettlement<T> {
    /// Sends the closing.
    async fn ask(mut self) -> Result<(), StoreError> {
        let Some(closing) = &self.closing else { return Ok(()) };
        let answer = self.guard.ask_to_close(closing).await;
        self.hear(answer)
    }

    fn hear(&mut self, answer: Result<(), StoreError>) -> Result<(), StoreError> {
        // An invalid answer stays invalid if the call is repeated: leave the charge to the ledger's sweep.
        if answer.as_ref().map_or_else(StoreError::is_answer, |()| true) {
            self.closing = None;
        }
        answer
    }
}

impl<T: CreditLedger> Drop for OpenSettlement<T> {
    fn drop(&mut self) {
        if let Some(closing) = self.closing.take() {
            self.guard.keep(closing);
        }
    }
}

/// The task that sends the kept closings until none are left.
struct RetryTask<T: CreditLedger>(Resilient<T>);

impl<T: CreditLedger> RetryTask<T> {
    async fn run(self) {
        let Self(guard) = &self;
        while !guard.shared.pending_settlements.is_done() {
            if guard.send_all().await.is_err() {
                sleep(guard.shared.limits.cooldown).await;
            }
        }
    }
}

impl PendingSettlements {
    /// Returns true if no closing is left, and clears the task flag in the same step.
    fn is_done(&self) -> bool {
        let mut kept = self.lock();
        kept.carried = !kept.ids.is_empty();
        !kept.carried
    }
}

impl<T: CreditLedger> Drop for RetryTask<T> {
    fn drop(&mut self) {
        // A runtime that ends also ends the task: the next closing starts another.
        self.0.shared.pending_settlements.lock().carried = false;
    }
}
