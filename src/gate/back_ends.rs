//! Which back ends a gate has: those that the builder is told, and others where it is not.

use std::sync::Arc;

use crate::credit::{CreditAdmin, CreditLedger};
use crate::error::ConfigError;
use crate::gate::GateBuilder;
use crate::limit::RateLimiter;
use crate::store::{KeyAdmin, KeyStore};

impl GateBuilder {
    /// Where keys are found. What writes to it, if anything does, is its [`authority`](GateBuilder::authority), to be named
    /// after it.
    pub fn store(mut self, store: impl KeyStore) -> Self {
        self.store = Some(Arc::new(store));
        self.authority = None;
        self
    }

    /// Where keys are both found and written.
    pub fn managed_store(self, store: impl KeyAdmin) -> Self {
        let store: Arc<dyn KeyAdmin> = Arc::new(store);
        let reader: Arc<dyn KeyStore> = Arc::clone(&store) as _;
        self.store(reader).authority(store)
    }

    /// Where credits are spent.
    pub fn ledger(mut self, ledger: impl CreditLedger) -> Self {
        self.ledger = Some(Arc::new(ledger));
        self
    }

    /// Where balances are read and changed by hand: the ledger's write side, never a lease. A gate whose
    /// [`ledger`](GateBuilder::ledger) is not set spends credits there too.
    pub fn credit_authority(mut self, credits: impl CreditAdmin) -> Self {
        self.credit_authority = Some(Arc::new(credits));
        self
    }

    /// What limits rates.
    pub fn limiter(mut self, limiter: impl RateLimiter) -> Self {
        self.limiter = Some(Arc::new(limiter));
        self
    }

    /// Draws and charges in one call where the order has the credits directly behind the rate limits. The
    /// [`limiter`](Self::limiter) and the [`ledger`](Self::ledger) are those over the same windows and balances: they are
    /// asked for whatever is one of both alone.
    pub fn meter(mut self, meter: impl crate::meter::Meter) -> Self {
        self.meter = Some(Arc::new(meter));
        self
    }
}

type Ledgers = (Arc<dyn CreditLedger>, Option<Arc<dyn CreditAdmin>>);

/// Where credits are spent, and where they are changed by hand: in memory both, if neither is said.
pub(super) fn ledgers(
    ledger: Option<Arc<dyn CreditLedger>>,
    authority: Option<Arc<dyn CreditAdmin>>,
) -> Result<Ledgers, ConfigError> {
    #[cfg(feature = "memory")]
    let in_memory = || Some(Arc::new(crate::credit::MemoryLedger::new()) as Arc<dyn CreditAdmin>);
    #[cfg(not(feature = "memory"))]
    let in_memory = || None;
    match (ledger, authority) {
        (Some(ledger), authority) => Ok((ledger, authority)),
        (None, authority) => {
            let authority = authority.or_else(in_memory).ok_or_else(|| missing("ledger"))?;
            Ok((Arc::<dyn CreditAdmin>::clone(&authority), Some(authority)))
        }
    }
}

/// A back end that nobody handed over.
pub(super) fn missing(part: &str) -> ConfigError {
    let problem = "the gate has no such back end, and the feature `memory`, which has one, is off";
    ConfigError::new("", problem, "hand one to the builder").in_member(part)
}
