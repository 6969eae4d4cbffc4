//! The back ends of a gate: those given to the builder, and defaults for the others.

use std::sync::Arc;

use crate::credit::{CreditAdmin, CreditLedger};
use crate::error::ConfigError;
use crate::gate::GateBuilder;
use crate::limit::RateLimiter;
use crate::store::{KeyAdmin, KeyStore};

impl GateBuilder {
    /// Sets the store in which keys are looked up. This clears the [`authority`](GateBuilder::authority), so set the
    /// authority after it.
    pub fn store(mut self, store: impl KeyStore) -> Self {
        self.store = Some(Arc::new(store));
        self.authority = None;
        self
    }

    /// Sets the store in which keys are looked up and to which they are written.
    pub fn managed_store(self, store: impl KeyAdmin) -> Self {
        let store: Arc<dyn KeyAdmin> = Arc::new(store);
        let reader: Arc<dyn KeyStore> = Arc::clone(&store) as _;
        self.store(reader).authority(store)
    }

    /// Sets the ledger that charges credits.
    pub fn ledger(mut self, ledger: impl CreditLedger) -> Self {
        self.ledger = Some(Arc::new(ledger));
        self
    }

    /// Sets the back end that reads and changes balances by hand. It must be the ledger's write side, never a lease. It
    /// also charges credits if no [`ledger`](GateBuilder::ledger) is set.
    pub fn credit_authority(mut self, credits: impl CreditAdmin) -> Self {
        self.credit_authority = Some(Arc::new(credits));
        self
    }

    /// Sets the rate limiter.
    pub fn limiter(mut self, limiter: impl RateLimiter) -> Self {
        self.limiter = Some(Arc::new(limiter));
        self
    }

    /// Sets a meter, which draws and charges in one call where the credits check directly follows the rate limits. The
    /// [`limiter`](Self::limiter) and the [`ledger`](Self::ledger) must use the same windows and balances, because they
    /// handle separate draws and charges.
    pub fn meter(mut self, meter: impl crate::meter::Meter) -> Self {
        self.meter = Some(Arc::new(meter));
        self
    }
}

type Ledgers = (Arc<dyn CreditLedger>, Option<Arc<dyn CreditAdmin>>);

/// Returns the ledger and the credit authority. If neither is set, both are in memory.
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

/// The error for a back end that was not given to the builder.
pub(super) fn missing(part: &str) -> ConfigError {
    let problem = "the gate has no such back end, and the feature `memory`, which has one, is off";
    ConfigError::new("", problem, "hand one to the builder").in_member(part)
}
