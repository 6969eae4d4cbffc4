//! The [`CreditLedger`] implementation of [`LeasedLedger`].

use std::sync::Arc;

use super::fallback::Fallback;
use super::leased_balance::{Closed, LeasedBalance, Spent};
use super::{LeasedLedger, Shared};
use crate::account::{Account, Allowance};
use crate::amount::{ChargeId, Credits};
use crate::clock::Now;
use crate::credit::{Charge, Charged, CreditAdmin, CreditLeasing, CreditLedger};
use crate::error::StoreError;
use crate::future::StoreFuture;

impl<T: CreditLeasing> CreditLedger for LeasedLedger<T> {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        if let Some(leased_balance) = charge.account.state().get::<LeasedBalance>(self.0.owner)
            && let Spent::Here { balance, low: false } =
                leased_balance.lock().spend(charge.id, charge.amount, charge.now)
        {
            return StoreFuture::ready(Charged::Posted { balance: Some(balance) });
        }
        self.0.with_purse(charge.account, |leased_balance| self.charge_with(leased_balance, charge))
    }

    fn settle(&self, account: &Account, id: ChargeId, cost: Credits) -> StoreFuture<()> {
        match self.close_here(account, id, cost) {
            Closed::Here { .. } => StoreFuture::ready(()),
            Closed::Elsewhere => self.0.authority.settle(account, id, cost),
        }
    }

    fn refund(&self, account: &Account, id: ChargeId) -> StoreFuture<()> {
        match self.close_here(account, id, Credits::ZERO) {
            Closed::Here { .. } => StoreFuture::ready(()),
            Closed::Elsewhere => self.0.authority.refund(account, id),
        }
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn CreditAdmin>> {
        Arc::clone(&self.0.authority).admin()
    }
}

impl<T: CreditLeasing> LeasedLedger<T> {
    fn charge_with(&self, leased_balance: &Arc<LeasedBalance>, charge: &Charge<'_>) -> StoreFuture<Charged> {
        let mut state = leased_balance.lock();
        if let Spent::Here { balance, low } = state.spend(charge.id, charge.amount, charge.now) {
            if low {
                // The next block is requested under the current allowance of the account's plan.
                state.follow(charge.allowance);
            }
            drop(state);
            if low {
                self.0.wake(leased_balance);
            }
            return StoreFuture::ready(Charged::Posted { balance: Some(balance) });
        }
        let mut direct = DirectCharge {
            shared: Arc::clone(&self.0),
            leased_balance: Arc::clone(leased_balance),
            id: charge.id,
            amount: charge.amount,
            allowance: charge.allowance.clone(),
            now: charge.now,
            returned: state.returned,
            frequent: false,
        };
        if let Some(trip) = state.trip_under_way(leased_balance) {
            drop(state);
            // Wait for the round trip that is in progress: its credits may suffice, and concurrent requests must not
            // each ask the authority for the same thing.
            return StoreFuture::boxed(async move {
                trip.await;
                direct.make().await
            });
        }
        direct.frequent = state.pass(charge, &self.0.terms);
        drop(state);
        let asked = self.0.authority.charge(charge);
        StoreFuture::boxed(async move { direct.handle_answer(asked.await).await })
    }

    fn close_here(&self, account: &Account, id: ChargeId, cost: Credits) -> Closed {
        if let Some(leased_balance) = account.state().get::<LeasedBalance>(self.0.owner) {
            let closed = leased_balance.lock().close(id, cost);
            if closed != (Closed::Here { last: true }) {
                return closed;
            }
            // The block is finished: return it in the background.
            self.0.with_purse(account, |leased_balance| self.0.wake(leased_balance));
            return closed;
        }
        let Some(leased_balance) = self.0.leased_balances().get(&account.id).map(Arc::clone) else {
            return Closed::Elsewhere;
        };
        let closed = leased_balance.lock().close(id, cost);
        if closed == (Closed::Here { last: true }) {
            self.0.wake(&leased_balance);
        }
        closed
    }
}

/// The maximum number of times that the authority is asked again for a request that it had too few credits for. It is
/// asked again because credits were being returned at the time.
const ASKED_AGAIN: u32 = 3;

/// A charge that no block covered, to be made at the authority.
struct DirectCharge<T> {
    shared: Arc<Shared<T>>,
    leased_balance: Arc<LeasedBalance>,
    id: ChargeId,
    amount: Credits,
    allowance: Allowance,
    now: Now,
    /// The number of returned blocks at the time when the authority was asked.
    returned: u64,
    /// True if the account is used often enough for leasing to pay off.
    frequent: bool,
}

impl<T: CreditLeasing> DirectCharge<T> {
    /// Charges out of the credits that have just arrived, or asks the authority.
    async fn make(mut self) -> Result<Charged, StoreError> {
        let leased_balance = Arc::clone(&self.leased_balance);
        let charge = Charge::new(self.id, &leased_balance.account, self.amount, &self.allowance, self.now);
        let spent = {
            let mut state = leased_balance.lock();
            let spent = state.spend(self.id, self.amount, self.now);
            self.returned = state.returned;
            if spent == Spent::Elsewhere {
                self.frequent = state.pass(&charge, &self.shared.terms);
            }
            spent
        };
        match spent {
            Spent::Here { balance, low } => {
                if low {
                    self.shared.wake(&leased_balance);
                }
                Ok(Charged::Posted { balance: Some(balance) })
            }
            Spent::Elsewhere => {
                let asked = self.shared.authority.charge(&charge);
                self.handle_answer(asked.await).await
            }
        }
    }

    async fn handle_answer(mut self, answer: Result<Charged, StoreError>) -> Result<Charged, StoreError> {
        self.shared.note_answer(&answer);
        match answer? {
            Charged::Posted { balance: Some(balance) } => {
                let mut state = self.leased_balance.lock();
                let surplus = state.learn(balance, &self.shared.terms);
                let balance = Credits::new(balance.get().saturating_add(state.rest()));
                drop(state);
                if self.frequent || surplus {
                    self.shared.wake(&self.leased_balance);
                }
                Ok(Charged::Posted { balance: Some(balance) })
            }
            Charged::Posted { balance: None } => Ok(Charged::Posted { balance: None }),
            Charged::Insufficient { balance } => {
                {
                    let mut state = self.leased_balance.lock();
                    state.balance = balance.get();
                    state.forget(self.id);
                }
                self.spend_remainder(balance).await
            }
        }
    }

    /// Spends the credits that this node has, or is about to receive, before the request is denied.
    ///
    /// The authority has too few credits at this point.
    async fn spend_remainder(&mut self, mut balance: Credits) -> Result<Charged, StoreError> {
        let mut asked = 0;
        loop {
            let from = (&*self.leased_balance, self.returned);
            let next = self.leased_balance.lock().fallback(self.id, self.amount, self.now, from);
            match next {
                Fallback::Spent(balance) => return Ok(Charged::Posted { balance: Some(balance) }),
                Fallback::Wait(trip) => trip.await,
                Fallback::Commit(id, upto) => drop(self.shared.commit(&self.leased_balance, id, upto).await?),
                Fallback::GiveBack if asked < ASKED_AGAIN => {
                    asked += 1;
                    match self.ask_again().await? {
                        Charged::Insufficient { balance: less } => balance = less,
                        posted @ Charged::Posted { .. } => return Ok(posted),
                    }
                }
                Fallback::GiveBack | Fallback::Refuse => {
                    // The blocks left here are too small for this request, but another node may need their credits.
                    if self.leased_balance.lock().learn(balance, &self.shared.terms) {
                        self.shared.wake(&self.leased_balance);
                    }
                    return Ok(Charged::Insufficient { balance });
                }
            }
        }
    }

    /// Returns ended blocks and asks the authority again.
    ///
    /// The credits were spread over several blocks, or were returned in the meantime, so their sum at the authority may
    /// suffice.
    async fn ask_again(&mut self) -> Result<Charged, StoreError> {
        self.shared.give_back_ended(&self.leased_balance).await?;
        self.returned = self.leased_balance.lock().returned;
        let account = &self.leased_balance.account;
        let again = Charge::new(self.id, account, self.amount, &self.allowance, self.now);
        let answer = self.shared.authority.charge(&again).await?;
        if let Charged::Posted { .. } = answer {
            self.leased_balance.lock().pass(&again, &self.shared.terms);
        }
        Ok(answer)
    }
}
