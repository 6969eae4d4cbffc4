//! The [`CreditLedger`] implementation of [`LeasedLedger`].

use std::sync::Arc;

use super::LeasedLedger;
use super::direct_charge::DirectCharge;
use super::leased_balance::{Closed, LeasedBalance, Spent};
use crate::account::Account;
use crate::amount::{ChargeId, Credits};
use crate::credit::{Charge, Charged, CreditAdmin, CreditLeasing, CreditLedger, Refund, Settlement};
use crate::future::StoreFuture;

impl<T: CreditLeasing> CreditLedger for LeasedLedger<T> {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        // Leased credits have no budgets, and only the default currency is leased.
        if charge.budget.is_some() || !charge.currency.is_default() {
            return self.0.authority.charge(charge);
        }
        if let Some(leased_balance) = charge.account.state().get::<LeasedBalance>(self.0.owner)
            && let Spent::Here { balance, low: false } =
                leased_balance.lock().spend(charge.id, charge.amount, charge.now)
        {
            return StoreFuture::ready(Charged::Posted { balance: Some(balance) });
        }
        self.0.with_leased_balance(charge.account, |leased_balance| self.charge_with(leased_balance, charge))
    }

    fn settle(&self, settlement: &Settlement<'_>) -> StoreFuture<()> {
        match self.close_here(settlement.account, settlement.id, settlement.cost) {
            Closed::Here { .. } => StoreFuture::ready(()),
            Closed::Beyond { rest } => self.charge_beyond(settlement, rest),
            Closed::Elsewhere => self.0.authority.settle(settlement),
        }
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        match self.close_here(refund.account, refund.id, Credits::ZERO) {
            Closed::Here { .. } | Closed::Beyond { .. } => StoreFuture::ready(()),
            Closed::Elsewhere => self.0.authority.refund(refund),
        }
    }

    fn is_failing(&self) -> bool {
        self.0.authority.is_failing()
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
                state.record_allowance(charge.allowance);
            }
            drop(state);
            if low {
                self.0.start_work(leased_balance);
            }
            return StoreFuture::ready(Charged::Posted { balance: Some(balance) });
        }
        let mut direct = DirectCharge::new(&self.0, leased_balance, charge, state.returned);
        if let Some(trip) = state.trip_in_progress(leased_balance) {
            drop(state);
            // Wait for the round trip that is in progress: its credits may suffice, and concurrent requests must not
            // each ask the authority for the same thing.
            return StoreFuture::boxed(async move {
                trip.await;
                direct.charge().await
            });
        }
        direct.frequent = state.record_direct_charge(charge, &self.0.terms);
        drop(state);
        let asked = self.0.authority.charge(charge);
        StoreFuture::boxed(async move { direct.handle_answer(asked.await).await })
    }

    /// Charges the rest of a cost that a block does not cover, at the authority: as the cost of a charge of nothing.
    fn charge_beyond(&self, settlement: &Settlement<'_>, rest: Credits) -> StoreFuture<()> {
        let now = settlement.clock.now();
        let Settlement { account, id, allowance, overage, expired_refunds, .. } = *settlement;
        let account = Account::new(account.id.clone(), account.plan.clone());
        let (shared, allowance) = (Arc::clone(&self.0), allowance.clone());
        StoreFuture::boxed(async move {
            let nothing = Charge::new(id, &account, Credits::ZERO, &allowance, now);
            if let Charged::Posted { balance: Some(_) } = shared.authority.charge(&nothing).await? {
                let mut rest = Settlement::new(&account, id, rest, &now);
                (rest.allowance, rest.overage, rest.expired_refunds) = (&allowance, overage, expired_refunds);
                shared.authority.settle(&rest).await?;
            }
            Ok(())
        })
    }

    fn close_here(&self, account: &Account, id: ChargeId, cost: Credits) -> Closed {
        if let Some(leased_balance) = account.state().get::<LeasedBalance>(self.0.owner) {
            let closed = leased_balance.lock().close(id, cost);
            if closed != (Closed::Here { last: true }) {
                return closed;
            }
            // The block is finished: return it in the background.
            self.0.with_leased_balance(account, |leased_balance| self.0.start_work(leased_balance));
            return closed;
        }
        let Some(leased_balance) = self.0.leased_balances().get(&account.id).map(Arc::clone) else {
            return Closed::Elsewhere;
        };
        let closed = leased_balance.lock().close(id, cost);
        if closed == (Closed::Here { last: true }) {
            self.0.start_work(&leased_balance);
        }
        closed
    }
}
