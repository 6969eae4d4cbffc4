//! Background work on leased credits: committing ahead, taking blocks and returning them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};

use super::leased_balance::{Block, LeasedBalance, State};
use super::{LeaseTerms, Shared};
use crate::amount::{ChargeId, Credits};
use crate::clock::Now;
use crate::credit::{Charge, Charged, Commitment, CreditLeasing, Refund, Settlement};
use crate::error::StoreError;

/// The time for which nothing is leased after a failure of the authority.
const PAUSE: Duration = Duration::from_millis(100);

/// The maximum number of accounts that are worked on at once.
const AT_ONCE: usize = 256;

/// One round trip to the authority.
#[derive(Debug)]
enum Step {
    Commit { id: ChargeId, upto: u64 },
    Close { id: ChargeId, used: u64 },
    Undo { id: ChargeId },
    Take { amount: u64, committed: u64 },
}

impl State {
    /// Returns the next step, if there is any.
    ///
    /// If `more` is false, the step is never to commit or to take a block.
    fn next_step(&mut self, now: Now, terms: &LeaseTerms, more: bool) -> Option<Step> {
        let elapsed = now.elapsed();
        for block in &mut self.blocks {
            block.ended |= elapsed >= block.ends_at || block.used == block.amount;
            if block.ended && block.open == 0 {
                return Some(Step::Close { id: block.id, used: block.used });
            }
        }
        if let Some(&(id, _)) = self.unanswered.first() {
            return Some(Step::Undo { id });
        }
        if !more || elapsed < self.paused_until {
            return None;
        }
        // The amount that would be lost if the node crashed is bounded over all blocks, including those that wait for
        // their open charges.
        let more = self.amount_to_commit().saturating_sub(self.lost_on_crash());
        if !self.is_low() {
            return None;
        }
        // The commit whose answer was lost may have succeeded: a repetition puts no more credits at stake.
        let unanswered = |block: &&Block| !block.ended && block.committed < block.asked;
        if let Some(block) = self.blocks.iter().find(unanswered) {
            return Some(Step::Commit { id: block.id, upto: block.asked });
        }
        if more < self.cost {
            return None;
        }
        let rest = |block: &&Block| !block.ended && block.committed < block.amount;
        if let Some(block) = self.blocks.iter().find(rest) {
            return Some(Step::Commit { id: block.id, upto: block.amount.min(block.asked + more) });
        }
        let amount = terms.room_for(self.balance, self.unreturned()).min(self.amount_to_take());
        // Take a multiple of one request's cost: a remainder that pays for no request is of no use.
        let amount = amount - amount % self.cost;
        // A block of one request would save no round trip.
        (amount / 2 >= self.cost).then_some(Step::Take { amount, committed: more.min(amount) })
    }
}

impl<T: CreditLeasing> Shared<T> {
    /// Starts background work on an account's blocks, unless it is already in progress.
    pub(super) fn start_work(self: &Arc<Self>, leased_balance: &Arc<LeasedBalance>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if std::mem::replace(&mut leased_balance.lock().under_maintenance, true) {
            return;
        }
        self.start_idle_check(&runtime);
        let guard = MaintenanceGuard { shared: Arc::clone(self), leased_balance: Arc::clone(leased_balance) };
        drop(runtime.spawn(async move {
            // A failed step is tried again with the next request, or when idle accounts are checked.
            let _ = guard.shared.run_steps(&guard.leased_balance, true).await;
        }));
    }

    /// Returns the blocks that are idle or too old to the authority.
    pub(super) async fn return_idle(self: &Arc<Self>) -> Result<(), StoreError> {
        let (now, idle) = (self.clock.now(), self.terms.idle);
        self.run_steps_of_all(false, move |state| state.end_idle(now, idle)).await
    }

    /// Returns all blocks to the authority, including those that are still being taken, once they have arrived.
    pub(super) async fn return_all(self: &Arc<Self>) -> Result<(), StoreError> {
        self.run_steps_of_all(true, State::end_all).await
    }

    /// Works on all accounts, up to `AT_ONCE` at a time, and removes the accounts without state.
    ///
    /// `end` marks the blocks that are to be returned. If `arrived` is true, round trips in progress are awaited
    /// first.
    async fn run_steps_of_all(
        self: &Arc<Self>,
        arrived: bool,
        end: impl Fn(&mut State) + Copy + Send + 'static,
    ) -> Result<(), StoreError> {
        let leased_balances: Vec<_> = self.leased_balances().values().map(Arc::clone).collect();
        let (mut work, mut done) = (JoinSet::new(), Ok(()));
        let mut handle_answer = |joined: Result<Result<(), StoreError>, JoinError>| {
            let answer = joined.unwrap_or_else(|ended| Err(StoreError::unavailable(ended)));
            done = std::mem::replace(&mut done, Ok(())).and(answer);
        };
        for leased_balance in leased_balances {
            // Most accounts have nothing to return: a task for each would cost more than this check.
            if !arrived && !self.has_step(&leased_balance, end) {
                continue;
            }
            if work.len() >= AT_ONCE
                && let Some(joined) = work.join_next().await
            {
                handle_answer(joined);
            }
            let shared = Arc::clone(self);
            work.spawn(async move {
                // A block that is still being taken could not be returned before it arrives.
                while arrived && let Some(trip) = leased_balance.next_trip() {
                    trip.await;
                }
                end(&mut leased_balance.lock());
                shared.run_steps(&leased_balance, false).await
            });
        }
        while let Some(joined) = work.join_next().await {
            handle_answer(joined);
        }
        // Keep the state that a record points to: two states of one account would together lease more than one is
        // allowed to.
        self.leased_balances().retain(|_, leased_balance| {
            Arc::strong_count(leased_balance) > 1 || !leased_balance.lock().is_empty()
        });
        done
    }

    /// Marks the blocks that are to be returned.
    ///
    /// Returns true if there is any step to do.
    fn has_step(&self, leased_balance: &LeasedBalance, end: impl Fn(&mut State)) -> bool {
        let mut state = leased_balance.lock();
        end(&mut state);
        state.next_step(self.clock.now(), &self.terms, false).is_some()
    }

    async fn run_steps(&self, leased_balance: &LeasedBalance, more: bool) -> Result<(), StoreError> {
        loop {
            let now = self.clock.now();
            let more = more && !self.closed.load(Ordering::Acquire);
            let Some(step) = leased_balance.lock().next_step(now, &self.terms, more) else { return Ok(()) };
            let done = match step {
                Step::Commit { id, upto } => self.commit(leased_balance, id, upto).await.map(|_| ()),
                Step::Close { id, used } => self.return_block(leased_balance, id, used).await,
                Step::Undo { id } => self.refund_block(leased_balance, id).await,
                Step::Take { amount, committed } => {
                    self.take_block(leased_balance, amount, committed, now).await
                }
            };
            self.note_answer(&done);
            if more {
                leased_balance.lock().raise_demand(now, &self.terms);
            }
            if done.is_err() {
                leased_balance.lock().paused_until = now.elapsed().saturating_add(PAUSE);
                return done;
            }
            leased_balance.trips.notify_waiters();
        }
    }

    pub(super) async fn commit(
        &self,
        leased_balance: &LeasedBalance,
        id: ChargeId,
        upto: u64,
    ) -> Result<bool, StoreError> {
        if let Some(block) = leased_balance.lock().blocks.iter_mut().find(|block| block.id == id) {
            block.asked = block.asked.max(upto.min(block.amount));
        }
        let open =
            self.authority.commit(&Commitment::new(&leased_balance.account, id, Credits::new(upto))).await?;
        let mut state = leased_balance.lock();
        if open {
            if let Some(block) = state.blocks.iter_mut().find(|block| block.id == id) {
                block.committed = block.committed.max(upto.min(block.amount));
            }
        } else {
            // The authority has closed the block as abandoned: its committed amount is spent, and the rest is returned.
            if let Some(block) = state.remove_block(id) {
                self.metrics.returned(block.amount, block.committed);
            }
        }
        Ok(open)
    }

    /// Returns the ended blocks to the authority.
    pub(super) async fn return_ended(&self, leased_balance: &LeasedBalance) -> Result<(), StoreError> {
        self.run_steps(leased_balance, false).await
    }

    async fn return_block(
        &self,
        leased_balance: &LeasedBalance,
        id: ChargeId,
        used: u64,
    ) -> Result<(), StoreError> {
        let settlement = Settlement::new(&leased_balance.account, id, Credits::new(used), &*self.clock);
        self.authority.settle(&settlement).await?;
        if let Some(block) = leased_balance.lock().remove_block(id) {
            self.metrics.returned(block.amount, used);
        }
        Ok(())
    }

    /// Returns a block that may have been taken to the authority.
    ///
    /// The refund also bars the block if its request is still on the way.
    async fn refund_block(&self, leased_balance: &LeasedBalance, id: ChargeId) -> Result<(), StoreError> {
        match self.authority.refund(&Refund::new(&leased_balance.account, id, &*self.clock)).await {
            // An invalid answer stays invalid if the call is repeated: leave the block to the authority's sweep.
            Err(error) if !error.is_corrupt() => Err(error),
            _ => {
                leased_balance.lock().unanswered.retain(|(unanswered, _)| *unanswered != id);
                Ok(())
            }
        }
    }

    async fn take_block(
        &self,
        leased_balance: &LeasedBalance,
        amount: u64,
        committed: u64,
        now: Now,
    ) -> Result<(), StoreError> {
        let (id, allowance) = (self.ids.next(), leased_balance.lock().allowance.clone());
        let block = Charge::new(id, &leased_balance.account, Credits::new(amount), &allowance, now);
        let leased = self.authority.lease(&block, Credits::new(committed)).await;
        let mut state = leased_balance.lock();
        let ends_at = now.elapsed().saturating_add(self.terms.longest);
        match leased {
            Ok(Charged::Posted { balance: Some(balance) }) => {
                let ended = self.closed.load(Ordering::Acquire);
                let (asked, used, open) = (committed, 0, 0);
                state.blocks.push(Block { id, amount, committed, asked, used, open, ends_at, ended });
                state.record_balance(balance, &self.terms);
                self.metrics.taken(amount);
            }
            // An account without limit needs no block.
            Ok(Charged::Posted { balance: None } | Charged::OverBudget { .. }) => {
                state.paused_until = ends_at;
            }
            Ok(Charged::Insufficient { balance }) => {
                state.record_balance(balance, &self.terms);
                state.paused_until = now.elapsed().saturating_add(PAUSE);
            }
            Err(error) => {
                // The block may have been taken although the call failed: it is returned as soon as the authority
                // answers.
                state.unanswered.push((id, committed));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Starts the task that returns the blocks of idle accounts, for as long as the ledger exists.
    fn start_idle_check(self: &Arc<Self>, runtime: &Handle) {
        if self.checks_idle.swap(true, Ordering::AcqRel) {
            return;
        }
        let (check, idle) = (IdleCheck(Arc::downgrade(self)), self.terms.idle.min(self.terms.longest));
        drop(runtime.spawn(async move {
            loop {
                tokio::time::sleep((idle / 2).max(Duration::from_millis(10))).await;
                let Some(shared) = check.0.upgrade() else { return };
                let _ = shared.return_idle().await;
            }
        }));
    }
}

/// Marks an account as worked on until it is dropped.
struct MaintenanceGuard<T> {
    shared: Arc<Shared<T>>,
    leased_balance: Arc<LeasedBalance>,
}

impl<T> Drop for MaintenanceGuard<T> {
    fn drop(&mut self) {
        self.leased_balance.lock().under_maintenance = false;
        self.leased_balance.trips.notify_waiters();
    }
}

/// Clears the `checks_idle` flag when its runtime ends, so that another runtime can start the task.
struct IdleCheck<T>(Weak<Shared<T>>);

impl<T> Drop for IdleCheck<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.checks_idle.store(false, Ordering::Release);
        }
    }
}
