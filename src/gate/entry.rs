//! The record and terms of a key that was found, and its open charge.

use std::sync::Arc;

use crate::account::AppliedQuotas;
use crate::account::ExceededQuotas;
use crate::account::QuotaChoice;
use crate::account::Quotas;
use crate::account::ResolvedTerms;
use crate::account::WindowStatus;
use crate::account::{Terms, TermsPlace};
use crate::amount::{ChargeId, Credits};
use crate::credit::{Refund, Settlement};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::gate::detach::{detach, surviving};
use crate::gate::event::{OpenEvent, Report};
use crate::gate::{Core, Outcome, WeightReport};
use crate::key::{KeyHash, KeyRecord};
use crate::panics::{Panicked, guard};
use crate::respond::{ReportedLimits, RequestCredits};
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
#[derive(Debug)]
pub(super) struct OpenCharge {
    pub(super) id: ChargeId,
    pub(super) amount: Credits,
    /// The credits that the ledger took: the amount, or nothing from an account without limit.
    pub(super) taken: Credits,
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

    /// Returns true if a charge is open.
    pub(super) fn owes(&self) -> bool {
        self.spent.open.is_some()
    }

    /// Returns the cost of the request after this outcome of its open charge, and the balance, if the gate has headers for
    /// them.
    pub(super) fn credits_after(&self, outcome: Outcome) -> Option<RequestCredits> {
        self.core().credit_headers.as_ref()?;
        let open = self.spent.open.as_ref()?;
        let cost = outcome.cost(open.taken);
        let back = open.taken.checked_sub(cost).unwrap_or_default();
        Some(RequestCredits {
            cost,
            balance: self.spent.balance.map(|balance| balance.checked_add(back).unwrap_or(balance)),
        })
    }

    /// Ends the open charge, if there is one. Returns `None` if there is nothing to wait for.
    #[inline]
    pub(super) fn close(&mut self, outcome: Outcome) -> Option<StoreFuture<()>> {
        let open = self.spent.open.take()?;
        let mut ending = self.end(&open, outcome);
        self.event.set_amounts(open.taken, outcome.cost(open.taken));
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
                let cost = outcome.cost(open.amount);
                ledger.settle(&Settlement::new(account, open.id, cost, &*core.clock))
            }
            Outcome::Failed => ledger.refund(&Refund::new(account, open.id, &*core.clock)),
        });
        ending.unwrap_or_else(|Panicked| StoreFuture::failed(StoreError::panicked()))
    }

    /// Waits for the end of a charge, and then tells the sinks. Refunds the charge if its settlement panics. A refund
    /// after a settlement changes nothing.
    #[cold]
    fn or_refund(&mut self, ending: StoreFuture<()>, open: &OpenCharge, outcome: Outcome) -> StoreFuture<()> {
        let (core, record, id) = (Arc::clone(&self.found.core), Arc::clone(&self.found.record), open.id);
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
                && let Ok(refund) =
                    guard("a ledger", || core.ledger.refund(&Refund::new(&record.account, id, &*core.clock)))
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
        let outcome = if served { Outcome::Served } else { Outcome::Failed };
        self.event.set_amounts(open.taken, outcome.cost(open.taken));
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
