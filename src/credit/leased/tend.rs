//! What is done in the background: to commit ahead, to take blocks, to give them back.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};

use super::purse::{Block, Purse, State};
use super::{LeaseTerms, Shared};
use crate::amount::{ChargeId, Credits};
use crate::clock::Now;
use crate::credit::{Charge, Charged, CreditLeasing};
use crate::error::StoreError;

/// After a failure of the authority nothing is leased for so long.
const REST: Duration = Duration::from_millis(100);

/// How many accounts are worked on at once.
const AT_ONCE: usize = 256;

/// One round trip.
#[derive(Debug)]
enum Step {
    Commit { id: ChargeId, upto: u64 },
    Close { id: ChargeId, used: u64 },
    Undo { id: ChargeId },
    Take { amount: u64, committed: u64 },
}

impl State {
    /// The next thing to do, if there is any; `more` is whether to commit and to take besides giving back.
    fn next_step(&mut self, now: Now, terms: &LeaseTerms, more: bool) -> Option<Step> {
        let elapsed = now.elapsed();
        for block in &mut self.blocks {
            block.ended |= elapsed >= block.ends_at || block.used == block.amount;
            if block.ended && block.open == 0 {
                return Some(Step::Close { id: block.id, used: block.used });
            }
        }
        if let Some(&(id, _)) = self.unheard.first() {
            return Some(Step::Undo { id });
        }
        if !more || elapsed < self.rests_until {
            return None;
        }
        // What would be lost with the node is bounded over all blocks, those included that wait for their open charges.
        let more = self.ahead().saturating_sub(self.at_stake());
        if !self.is_low() {
            return None;
        }
        // One that was not heard of may have been committed: to ask again puts no more at stake.
        let unheard = |block: &&Block| !block.ended && block.committed < block.asked;
        if let Some(block) = self.blocks.iter().find(unheard) {
            return Some(Step::Commit { id: block.id, upto: block.asked });
        }
        if more < self.cost {
            return None;
        }
        let rest = |block: &&Block| !block.ended && block.committed < block.amount;
        if let Some(block) = self.blocks.iter().find(rest) {
            return Some(Step::Commit { id: block.id, upto: block.amount.min(block.asked + more) });
        }
        let amount = terms.room_for(self.balance, self.held()).min(self.wanted());
        // In whole requests: a piece that pays for none would be of no use to anybody.
        let amount = amount - amount % self.cost;
        // A block of one request would save nothing.
        (amount / 2 >= self.cost).then_some(Step::Take { amount, committed: more.min(amount) })
    }
}

impl<T: CreditLeasing> Shared<T> {
    /// Works on a purse in the background, if nobody does yet.
    pub(super) fn kick(self: &Arc<Self>, purse: &Arc<Purse>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if std::mem::replace(&mut purse.lock().tended, true) {
            return;
        }
        self.watch(&runtime);
        let tended = Tended { shared: Arc::clone(self), purse: Arc::clone(purse) };
        drop(runtime.spawn(async move {
            // What fails is tried again: with the next request, or when idle purses are looked after.
            let _ = tended.shared.work(&tended.purse, true).await;
        }));
    }

    /// Gives back what has been idle or is too old.
    pub(super) async fn give_back_idle(self: &Arc<Self>) -> Result<(), StoreError> {
        let (now, idle) = (self.clock.now(), self.terms.idle);
        self.work_on_all(false, move |state| state.end_idle(now, idle)).await
    }

    /// Gives back all that is held, and what is on its way here when it has arrived.
    pub(super) async fn give_back_all(self: &Arc<Self>) -> Result<(), StoreError> {
        self.work_on_all(true, State::end_all).await
    }

    /// Works on all purses, so many at once, where `end` has ended what is to be given back; drops those that are empty.
    async fn work_on_all(
        self: &Arc<Self>,
        arrived: bool,
        end: impl Fn(&mut State) + Copy + Send + 'static,
    ) -> Result<(), StoreError> {
        let purses: Vec<_> = self.purses().values().map(Arc::clone).collect();
        let (mut work, mut done) = (JoinSet::new(), Ok(()));
        let mut hear = |told: Result<Result<(), StoreError>, JoinError>| {
            let answer = told.unwrap_or_else(|ended| Err(StoreError::unavailable(ended)));
            done = std::mem::replace(&mut done, Ok(())).and(answer);
        };
        for purse in purses {
            // Most accounts have nothing to give back: a task for each would cost more than looking.
            if !arrived && !self.has_work(&purse, end) {
                continue;
            }
            if work.len() >= AT_ONCE
                && let Some(told) = work.join_next().await
            {
                hear(told);
            }
            let shared = Arc::clone(self);
            work.spawn(async move {
                // A block that is on its way is held when it arrives, and could not be given back before.
                while arrived && let Some(trip) = purse.next_trip() {
                    trip.await;
                }
                end(&mut purse.lock());
                shared.work(&purse, false).await
            });
        }
        while let Some(told) = work.join_next().await {
            hear(told);
        }
        // One that a record points to stays: two purses of one account would hold more than one.
        self.purses().retain(|_, purse| Arc::strong_count(purse) > 1 || !purse.lock().is_empty());
        done
    }

    /// Ends what is to be given back; says whether anything is.
    fn has_work(&self, purse: &Purse, end: impl Fn(&mut State)) -> bool {
        let mut state = purse.lock();
        end(&mut state);
        state.next_step(self.clock.now(), &self.terms, false).is_some()
    }

    async fn work(&self, purse: &Purse, more: bool) -> Result<(), StoreError> {
        loop {
            let now = self.clock.now();
            let more = more && !self.closed.load(Ordering::Acquire);
            let Some(step) = purse.lock().next_step(now, &self.terms, more) else { return Ok(()) };
            let done = match step {
                Step::Commit { id, upto } => self.commit(purse, id, upto).await.map(|_| ()),
                Step::Close { id, used } => self.give_back(purse, id, used).await,
                Step::Undo { id } => self.undo(purse, id).await,
                Step::Take { amount, committed } => self.take(purse, amount, committed, now).await,
            };
            self.heard(&done);
            if more {
                purse.lock().grow(now, &self.terms);
            }
            if done.is_err() {
                purse.lock().rests_until = now.elapsed().saturating_add(REST);
                return done;
            }
            purse.trips.notify_waiters();
        }
    }

    pub(super) async fn commit(&self, purse: &Purse, id: ChargeId, upto: u64) -> Result<bool, StoreError> {
        if let Some(block) = purse.lock().blocks.iter_mut().find(|block| block.id == id) {
            block.asked = block.asked.max(upto.min(block.amount));
        }
        let open = self.authority.commit(&purse.account, id, Credits::new(upto)).await?;
        let mut state = purse.lock();
        if open {
            if let Some(block) = state.blocks.iter_mut().find(|block| block.id == id) {
                block.committed = block.committed.max(upto.min(block.amount));
            }
        } else {
            // The authority has closed it as abandoned: what was committed is spent, and the rest is back.
            state.let_go(id);
        }
        Ok(open)
    }

    /// Gives back what is ended already.
    pub(super) async fn give_back_ended(&self, purse: &Purse) -> Result<(), StoreError> {
        self.work(purse, false).await
    }

    async fn give_back(&self, purse: &Purse, id: ChargeId, used: u64) -> Result<(), StoreError> {
        self.authority.settle(&purse.account, id, Credits::new(used)).await?;
        purse.lock().let_go(id);
        Ok(())
    }

    /// Gives back a block that may have been taken. A refund bars it too, should it be on its way still.
    async fn undo(&self, purse: &Purse, id: ChargeId) -> Result<(), StoreError> {
        match self.authority.refund(&purse.account, id).await {
            // What cannot be right will not be by asking again: it is for the authority's sweep.
            Err(error) if !error.is_corrupt() => Err(error),
            _ => {
                purse.lock().unheard.retain(|(unheard, _)| *unheard != id);
                Ok(())
            }
        }
    }

    async fn take(&self, purse: &Purse, amount: u64, committed: u64, now: Now) -> Result<(), StoreError> {
        let (id, allowance) = (self.ids.next(), purse.lock().allowance.clone());
        let block = Charge::new(id, &purse.account, Credits::new(amount), &allowance, now);
        let leased = self.authority.lease(&block, Credits::new(committed)).await;
        let mut state = purse.lock();
        let ends_at = now.elapsed().saturating_add(self.terms.longest);
        match leased {
            Ok(Charged::Posted { balance: Some(balance) }) => {
                let ended = self.closed.load(Ordering::Acquire);
                let (asked, used, open) = (committed, 0, 0);
                state.blocks.push(Block { id, amount, committed, asked, used, open, ends_at, ended });
                state.learn(balance, &self.terms);
            }
            // Without limit there is nothing to hold.
            Ok(Charged::Posted { balance: None }) => state.rests_until = ends_at,
            Ok(Charged::Insufficient { balance }) => {
                state.learn(balance, &self.terms);
                state.rests_until = now.elapsed().saturating_add(REST);
            }
            Err(error) => {
                // It may have been taken all the same: it is given back as soon as the authority is there.
                state.unheard.push((id, committed));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Looks after idle purses from now on, for as long as the ledger is there.
    fn watch(self: &Arc<Self>, runtime: &Handle) {
        if self.watched.swap(true, Ordering::AcqRel) {
            return;
        }
        let (watcher, idle) = (Watcher(Arc::downgrade(self)), self.terms.idle.min(self.terms.longest));
        drop(runtime.spawn(async move {
            loop {
                tokio::time::sleep((idle / 2).max(Duration::from_millis(10))).await;
                let Some(shared) = watcher.0.upgrade() else { return };
                let _ = shared.give_back_idle().await;
            }
        }));
    }
}

/// Marks a purse as worked on until it is dropped.
struct Tended<T> {
    shared: Arc<Shared<T>>,
    purse: Arc<Purse>,
}

impl<T> Drop for Tended<T> {
    fn drop(&mut self) {
        self.purse.lock().tended = false;
        self.purse.trips.notify_waiters();
    }
}

/// Gives the watch back if its runtime ends: another may take it up.
struct Watcher<T>(Weak<Shared<T>>);

impl<T> Drop for Watcher<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.watched.store(false, Ordering::Release);
        }
    }
}
