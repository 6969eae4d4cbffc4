//! What a key came to, from its look-up on, and the charge that is open for it.

use std::sync::Arc;

use crate::account::Quotas;
use crate::account::Standing;
use crate::account::Terms;
use crate::amount::{ChargeId, Credits};
use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::gate::detach::{detach, surviving};
use crate::gate::terms::Pass;
use crate::gate::{Core, Outcome};
use crate::key::{KeyHash, KeyRecord};
use crate::panics::{Panicked, guard};
use crate::trace;

/// What a key came to. Its open charge ends by settling or by refunding, once, whatever becomes of the request.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) found: Found,
    pub(super) tab: Tab,
    /// Which source the key stood in.
    pub(crate) source: usize,
}

/// The record, and where its terms are.
#[derive(Debug)]
pub(crate) struct Found {
    pub(super) core: Arc<Core>,
    pub(super) record: Arc<KeyRecord>,
    /// The key's terms, where the record does not point to them.
    pub(super) own: Option<Arc<Terms>>,
    pub(super) shown: Shown,
}

/// Which of a key's secrets was shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    /// Whether it is the one that is on its way out.
    #[cfg_attr(not(feature = "keygen"), expect(dead_code, reason = "read by key management alone"))]
    pub(super) retiring: bool,
    /// What it hashes to under the newest scheme, where the key was found under an older one.
    pub(super) renewed: Option<Box<KeyHash>>,
}

/// What was drawn and charged for the request.
#[derive(Debug, Default)]
pub(super) struct Tab {
    pub(super) hold: Option<Hold>,
    pub(super) balance: Option<Credits>,
    pub(super) standing: Option<Standing>,
}

/// An open charge.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) id: ChargeId,
    pub(super) amount: Credits,
    /// Whether a client that leaves now has been served.
    pub(super) served: bool,
}

impl Found {
    /// What the record comes to, where it points to it.
    #[inline]
    pub(super) fn pass(&self) -> Option<&Pass> {
        self.core.plans.kept(&self.record)
    }

    #[inline]
    pub(super) fn terms(&self) -> Option<&Terms> {
        match &self.own {
            Some(own) => Some(own),
            None => self.pass().map(|pass| &*pass.terms),
        }
    }

    pub(super) fn share_terms(&self) -> Option<Arc<Terms>> {
        self.own.clone().or_else(|| self.pass().map(|pass| Arc::clone(&pass.terms)))
    }
}

impl Entry {
    pub(crate) fn core(&self) -> &Core {
        &self.found.core
    }

    pub(crate) fn record(&self) -> &Arc<KeyRecord> {
        &self.found.record
    }

    /// The quotas in force, and how the one with the least left stands.
    pub(crate) fn windows(&self) -> Option<(&Quotas, &Standing)> {
        Some((&self.found.terms()?.quotas, self.tab.standing.as_ref()?))
    }

    /// Whether a charge is open.
    pub(super) fn owes(&self) -> bool {
        self.tab.hold.is_some()
    }

    /// Closes the charge, where one is open; `None` where there is nothing to wait for.
    #[inline]
    pub(super) fn close(&mut self, outcome: Outcome) -> Option<StoreFuture<()>> {
        let hold = self.tab.hold.take()?;
        let mut ending = self.end(&hold, outcome);
        if ending.answer_mut().is_some() {
            None
        } else {
            Some(surviving(self.or_refund(ending, &hold, outcome)))
        }
    }

    #[inline]
    fn end(&self, hold: &Hold, outcome: Outcome) -> StoreFuture<()> {
        let (ledger, account) = (&self.found.core.ledger, &self.found.record.account);
        let ending = guard("a ledger", || match outcome {
            Outcome::Served => ledger.settle(account, hold.id, hold.amount),
            Outcome::ServedAt(cost) => ledger.settle(account, hold.id, cost.min(hold.amount)),
            Outcome::Failed => ledger.refund(account, hold.id),
        });
        ending.unwrap_or_else(|Panicked| StoreFuture::failed(StoreError::panicked()))
    }

    /// Gives the charge back where its settlement panics: a refund that follows a settlement changes nothing.
    #[cold]
    fn or_refund(&self, ending: StoreFuture<()>, hold: &Hold, outcome: Outcome) -> StoreFuture<()> {
        if outcome == Outcome::Failed {
            return ending;
        }
        let (core, record, id) = (Arc::clone(&self.found.core), Arc::clone(&self.found.record), hold.id);
        StoreFuture::boxed(async move {
            let ended = ending.await;
            if ended.as_ref().is_err_and(StoreError::is_panic)
                && let Ok(refund) = guard("a ledger", || core.ledger.refund(&record.account, id))
                && let Err(error) = refund.await
            {
                trace::unsettled(&error);
            }
            ended
        })
    }

    #[cold]
    fn abandon(&self, hold: &Hold) {
        let served = hold.served && !std::thread::panicking();
        let outcome = if served { Outcome::Served } else { Outcome::Failed };
        let mut ending = self.end(hold, outcome);
        if ending.answer_mut().is_none() {
            detach(self.or_refund(ending, hold, outcome));
        }
    }
}

impl Drop for Entry {
    #[inline]
    fn drop(&mut self) {
        if let Some(hold) = self.tab.hold.take() {
            self.abandon(&hold);
        }
    }
}
