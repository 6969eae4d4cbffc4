//! Which back ends a gate has, where the builder was not told.

use std::sync::Arc;

use crate::{ConfigError, CreditAdmin, CreditLedger};

type Ledgers = (Arc<dyn CreditLedger>, Option<Arc<dyn CreditAdmin>>);

/// Where credits are spent, and where they are changed by hand: in memory both, if neither is said.
pub(super) fn ledgers(
    ledger: Option<Arc<dyn CreditLedger>>,
    authority: Option<Arc<dyn CreditAdmin>>,
) -> Result<Ledgers, ConfigError> {
    #[cfg(feature = "memory")]
    let in_memory = || Some(Arc::new(crate::MemoryLedger::new()) as Arc<dyn CreditAdmin>);
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
