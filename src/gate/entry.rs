//! The record and terms of a key that was found, and its open charge.

use std::sync::Arc;

use crate::account::AppliedQuotas;
use crate::account::ExceededQuotas;
use crate::account::QuotaChoice;
use crate::account::Quotas;
use crate::account::ResolvedTerms;
use crate::account::WindowStatus;
use crate::account::{Terms, TermsPlace};
use crate::amount::{ChargeId, Credits, Currency};
use crate::credit::{Refund, Settlement};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::gate::detach::{detach, surviving};
use crate::gate::event::{OpenEvent, Report};
use crate::gate::{Core, CostMeter, Outcome, WeightReport};
use crate::key::{KeyHash, KeyRecord};
use crate::panics::{Panicked, guard};
use crate::respond::{ReportedLimits, RequestCredits};
use crate::rule::Rule;
use crate::trace;

/// The result of a key's look-up, and the request's open charge. The charge is settled or refunded exactly once,
/// however the request ends.
#[derive(Debug)]
pub(crate) struct AdmittedKey {
    pub(super) found: FoundKey,
    pub(super) spent: RequestCharges,
    /// The index of the source that contained the key.
    pub(crate) source: usize,
    /// The data for the event about the decision, from the admission to the end of the request.
    pub(super) event: OpenEvent,
}

/// A key's record and its terms.
#[derive(Debug, Clone)]
pub(crate) struct FoundKey {
    pub(super) core: Arc<Core>,
    pub(super) record: Arc<KeyRecord>,
    /// The place of the key's terms.
    pub(super) terms: TermsPlace,
    /// The quotas that apply to the request.
    pub(super) choice: QuotaChoice,
    pub(super) presented: PresentedSecret,
}

/// The secret of the key that was presented.
#[derive(Debug, Clone, Default)]
pub(crate) struct PresentedSecret {
    /// True if it is the previous secret of a rotated key.
    pub(super) retiring: bool,
    /// The secret's hash under the newest scheme, if the key was found under an older one.
    pub(super) renewed: Option<Box<KeyHash>>,
}

/// The draw and the charge of a request.
#[derive(Debug, Default)]
pub(super) struct RequestCharges {
    pub(super) open: Option<OpenCharge>,
    pub(super) balance: Option<Credits>,
    pub(super) window_status: Option<WindowStatus>,
    /// The units that were drawn for a request whose handler reports its weight.
    pub(super) reserved: Option<WeightReport>,
    /// The meter of a request whose cost is known only afterwards.
    pub(super) meter: Option<CostMeter>,
}

impl RequestCharges {
    /// Forgets the open charge, for which the ledger posted nothing.
    #[cold]
    pub(super) fn forget_charge(&mut self, core: &Core) {
        self.open = None;
        if let Some(metrics) = &core.metrics {
            metrics.open_charges.raise(false);
        }
    }
}

/// An open charge.
#[derive(Debug, Clone)]
pub(super) struct OpenCharge {
    pub(super) id: ChargeId,
    pub(super) amount: Credits,
    /// The credits that the ledger took: the amount, or nothing from an account without limit.
    pub(super) taken: Credits,
    /// The index of the rule, which determines the currency and the highest final cost.
    pub(super) rule: u32,
    /// True if the charge is settled when the client leaves now.
    pub(super) served: bool,
}

impl FoundKey {
    /// The state that this gate keeps on the record.
    #[inline]
    pub(super) fn resolved(&self) -> Option<&ResolvedTerms> {
        self.core.plans.resolved(&self.record)
    }

    /// The key's terms.
    #[inline]
    pub(super) fn terms(&self) -> Option<&Arc<Terms>> {
        self.core.plans.at(&self.terms, &self.record)
    }

    /// The quotas that apply to the request.
    pub(super) fn quotas(&self) -> Option<&Quotas> {
        Some(self.terms()?.quotas_at(self.choice))
    }

    /// The quotas that apply to the request, with the terms that they are part of.
    pub(super) fn applied_quotas(&self) -> Option<ExceededQuotas> {
        let quotas = AppliedQuotas { terms: self.share_terms()?, choice: self.choice };
        Some(ExceededQuotas::OfKey(quotas))
    }

    /// Returns the refund of a charge.
    fn refund(&self, open: &OpenCharge) -> Refund<'_> {
        let mut refund = Refund::new(&self.record.account, open.id, &*self.core.clock);
        refund.currency = &self.core.rules.at(open.rule as usize).rule.currency;
        if let Some(terms) = self.terms() {
            refund.expired_refunds = terms.plan.expired_refunds;
        }
        refund
    }

    pub(super) fn share_terms(&self) -> Option<Arc<Terms>> {
        self.terms().cloned()
    }
}

impl AdmittedKey {
    pub(crate) fn core(&self) -> &Core {
        &self.found.core
    }

    pub(crate) fn record(&self) -> &Arc<KeyRecord> {
        &self.found.record
    }

    /// The limits of the request, for headers.
    pub(super) fn reported_limits(&self) -> Option<ReportedLimits<'_>> {
        let limits = self.found.terms()?.limits_at(self.found.choice);
        let least = self.spent.window_status.as_ref();
        Some(ReportedLimits::new(limits, least, self.core().rules.weighs()))
    }

    /// The quotas in force and the status of the one with the least remaining.
    pub(crate) fn windows(&self) -> Option<(&Quotas, &WindowStatus)> {
        Some((self.found.quotas()?, self.spent.window_status.as_ref()?))
    }

    /// Returns the currency of the open charge.
    pub(super) fn currency(&self) -> Currency {
        self.spent.open.as_ref().map(|open| self.rule_of(open).currency.clone()).unwrap_or_default()
    }

    /// Returns true if a charge is open.
    pub(super) fn owes(&self) -> bool {
        self.spent.open.is_some()
    }

    /// Returns the cost of the request after this outcome of its open charge, and the balance, if the gate has headers for
    /// them.
    pub(super) fn credits_after(&self, outcome: Outcome) -> Option<RequestCredits> {
        self.core().credit_headers.as_ref()?;
        let open = self.spent.open.as_ref()?;
        let cost = self.paid(open, outcome);
        let back = open.taken.checked_sub(cost).unwrap_or_default();
        let more = cost.checked_sub(open.taken).unwrap_or_default();
        let after = |balance: Credits| {
            balance.checked_add(back).unwrap_or(balance).checked_sub(more).unwrap_or_default()
        };
        Some(RequestCredits { cost, balance: self.spent.balance.map(after) })
    }

    /// Returns the rule of a charge.
    #[inline]
    fn rule_of(&self, open: &OpenCharge) -> &Rule {
        &self.found.core.rules.at(open.rule as usize).rule
    }

    /// Returns the final cost of a charge after this outcome.
    #[inline]
    fn cost(&self, open: &OpenCharge, outcome: Outcome) -> Credits {
        match outcome {
            Outcome::Served => open.amount,
            Outcome::ServedAt(cost) => cost.min(self.rule_of(open).most_cost.unwrap_or(open.amount)),
            Outcome::Failed => Credits::ZERO,
        }
    }

    /// Returns the final cost of a charge after this outcome. It is zero for an account without limit.
    #[inline]
    fn paid(&self, open: &OpenCharge, outcome: Outcome) -> Credits {
        if open.taken.is_zero() { Credits::ZERO } else { self.cost(open, outcome) }
    }

    /// Ends the open charge, if there is one. Returns `None` if there is nothing to wait for.
    #[inline]
    pub(super) fn close(&mut self, outcome: Outcome) -> Option<StoreFuture<()>> {
        let open = self.spent.open.take()?;
        // What the meter has seen is the cost, unless the outcome has a cost.
        let seen =
            self.spent.meter.take().filter(|_| outcome == Outcome::Served).and_then(|meter| meter.cost());
        let outcome = seen.map_or(outcome, Outcome::ServedAt);
        let mut ending = self.end(&open, outcome);
        self.event.set_amounts(open.taken, self.paid(&open, outcome));
        if ending.answer_mut().is_some() {
            None
        } else {
            Some(surviving(self.or_refund(ending, &open, outcome)))
        }
    }

    #[inline]
    fn end(&self, open: &OpenCharge, outcome: Outcome) -> StoreFuture<()> {
        let (core, account) = (&self.found.core, &self.found.record.account);
        if let Some(metrics) = &core.metrics {
            metrics.open_charges.raise(false);
        }
        let ledger = &core.ledger;
        let ending = guard("a ledger", || match outcome {
            Outcome::Served | Outcome::ServedAt(_) => {
                let cost = self.cost(open, outcome);
                let mut settlement = Settlement::new(account, open.id, cost, &*core.clock);
                settlement.currency = &self.rule_of(open).currency;
                // The plan matters only to a difference.
                if cost != open.amount
                    && let Some(terms) = self.found.terms()
                {
                    settlement.allowance = terms.plan.credits_in(settlement.currency);
                    settlement.overage = terms.plan.overage;
                    settlement.expired_refunds = terms.plan.expired_refunds;
                }
                ledger.settle(&settlement)
            }
            Outcome::Failed => ledger.refund(&self.found.refund(open)),
        });
        ending.unwrap_or_else(|Panicked| StoreFuture::failed(StoreError::panicked()))
    }

    /// Waits for the end of a charge, and then tells the sinks. Refunds the charge if its settlement panics. A refund
    /// after a settlement changes nothing.
    #[cold]
    fn or_refund(&mut self, ending: StoreFuture<()>, open: &OpenCharge, outcome: Outcome) -> StoreFuture<()> {
        let (found, open) = (self.found.clone(), open.clone());
        let core = Arc::clone(&found.core);
        let mut report = self.report();
        let ending = match outcome {
            Outcome::Served | Outcome::ServedAt(_) => core.measured(|metrics| &metrics.settle, ending),
            Outcome::Failed => core.measured(|metrics| &metrics.refund, ending),
        };
        StoreFuture::boxed(async move {
            let ended = ending.await;
            let Err(error) = &ended else { return ended };
            if let Some(report) = &mut report {
                report.mark_unsettled(error.is_panic());
            }
            if !error.is_panic() {
                return ended;
            }
            if outcome != Outcome::Failed
                && let Ok(refund) = guard("a ledger", || core.ledger.refund(&found.refund(&open)))
                && let Err(error) = core.measured(|metrics| &metrics.refund, refund).await
            {
                trace::unsettled(&error);
            }
            ended
        })
    }

    /// Takes the event about the admitted request, if there is a sink.
    fn report(&mut self) -> Option<Report> {
        if self.event.is_empty() {
            return None;
        }
        Some(Report {
            found: self.found.clone(),
            window_status: self.spent.window_status.clone(),
            balance: self.spent.balance,
            event: std::mem::take(&mut self.event),
        })
    }

    #[cold]
    fn abandon(&mut self, open: &OpenCharge) {
        let served = open.served && !std::thread::panicking();
        if let Some(meter) = self.spent.meter.take().filter(|_| served) {
            let (balance, window_status) = (self.spent.balance, self.spent.window_status.take());
            let spent = RequestCharges {
                open: Some(open.clone()),
                balance,
                window_status,
                ..RequestCharges::default()
            };
            let (found, event) = (self.found.clone(), std::mem::take(&mut self.event));
            return meter.keep(Self { found, spent, source: self.source, event });
        }
        let outcome = if served { Outcome::Served } else { Outcome::Failed };
        self.event.set_amounts(open.taken, self.paid(open, outcome));
        let mut ending = self.end(open, outcome);
        if ending.answer_mut().is_none() {
            detach(self.or_refund(ending, open, outcome));
        }
    }
}

impl Drop for AdmittedKey {
    #[inline]
    fn drop(&mut self) {
        if let Some(open) = self.spent.open.take() {
            self.abandon(&open);
        }
        if !self.event.is_empty() {
            self.found.record_admitted(&self.event, self.spent.window_status.as_ref(), self.spent.balance);
        }
    }
}
