//! The ledger traits of [`Resilient`].

use std::sync::Arc;

use super::Resilient;
use super::pending_settlements::Closing;
use crate::account::{Allowance, BudgetStatus};
use crate::amount::{ChargeId, Credits, Currency};
use crate::clock::Timestamp;
use crate::credit::{
    Adjusted, Adjustment, Balance, Bucket, BudgetDraw, Charge, Charged, Commitment, CreditAdmin,
    CreditLeasing, CreditLedger, Entry, EntryQuery, Refund, Settlement,
};
use crate::future::StoreFuture;
use crate::name::AccountId;

impl<T: CreditLedger> CreditLedger for Resilient<T> {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        self.ask_once(charge.id, |ledger| ledger.charge(charge))
    }

    fn settle(&self, settlement: &Settlement<'_>) -> StoreFuture<()> {
        self.close(Closing::of_settlement(settlement))
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        if self.shared.unsent.take(refund.id) {
            return StoreFuture::ready(());
        }
        self.close(Closing::of_refund(refund))
    }

    fn is_failing(&self) -> bool {
        self.shared.circuit.is_open() || self.back_end.is_failing()
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn CreditAdmin>> {
        let back_end = Arc::clone(&self.back_end).admin()?;
        Some(Arc::new(self.in_front_of(back_end)))
    }
}

impl<T: CreditLedger> Resilient<T> {
    /// Sends a charge or a block, and records the id if it was not sent.
    fn ask_once(&self, id: ChargeId, ask: impl FnOnce(&T) -> StoreFuture<Charged>) -> StoreFuture<Charged> {
        self.shared.unsent.take(id);
        self.send(self.shared.limits.waiting, ask).unwrap_or_else(|error| {
            self.shared.unsent.add(id);
            StoreFuture::failed(error)
        })
    }
}

impl<T: CreditAdmin> CreditAdmin for Resilient<T> {
    fn balance_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        allowance: &Allowance,
        now: Timestamp,
    ) -> StoreFuture<Balance> {
        self.ask(|ledger| ledger.balance_of(account, currency, allowance, now))
    }

    fn buckets_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        allowance: &Allowance,
        now: Timestamp,
    ) -> StoreFuture<Vec<Bucket>> {
        self.ask(|ledger| ledger.buckets_of(account, currency, allowance, now))
    }

    fn budget_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        draw: &BudgetDraw<'_>,
        now: Timestamp,
    ) -> StoreFuture<Option<BudgetStatus>> {
        self.ask(|ledger| ledger.budget_of(account, currency, draw, now))
    }

    fn entries(&self, query: &EntryQuery) -> StoreFuture<Vec<Entry>> {
        self.ask(|ledger| ledger.entries(query))
    }

    fn adjust(&self, adjustment: &Adjustment<'_>) -> StoreFuture<Adjusted> {
        self.ask(|ledger| ledger.adjust(adjustment))
    }

    fn erase_balance(&self, account: &AccountId) -> StoreFuture<bool> {
        self.ask(|ledger| ledger.erase_balance(account))
    }

    fn forget_entries(&self, before: Timestamp) -> StoreFuture<u64> {
        self.ask(|ledger| ledger.forget_entries(before))
    }
}

impl<T: CreditLeasing> CreditLeasing for Resilient<T> {
    fn lease(&self, block: &Charge<'_>, committed: Credits) -> StoreFuture<Charged> {
        self.ask_once(block.id, |ledger| ledger.lease(block, committed))
    }

    fn commit(&self, commitment: &Commitment<'_>) -> StoreFuture<bool> {
        self.ask(|ledger| ledger.commit(commitment))
    }
}
