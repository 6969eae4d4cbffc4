//! Published checks that a key store, a credit ledger, a rate limiter, or a store of audit entries, usage or alerts keeps
//! its trait's contract.
//!
//! # Example
//!
//! ```
//! use tollgate::conformance::{self, Capability};
//! use tollgate::usage::MemoryUsage;
//! use tollgate::{MemoryLedger, MemoryLimiter, MemoryStore};
//!
//! # #[tokio::main]
//! # async fn main() {
//! conformance::keys(MemoryStore::new()).run().await.assert();
//! conformance::credits(MemoryLedger::new()).without(Capability::LateCharges).run().await.assert();
//! conformance::limits(MemoryLimiter::new()).run().await.assert();
//! conformance::usage(MemoryUsage::new()).run().await.assert();
//! # }
//! ```
//!
//! # Overview
//!
//! Each check is short and tests one fact. The [`Report`] has the name and the result of each check. A suite runs
//! against one store, which may be in use by others: every check uses new accounts and keys of its own. The time is an
//! argument of each call, so no check waits. A store may lack a [`Capability`], for example because it uses its
//! server's own time. The store's owner declares the capability as lacking, and the report lists the checks that need
//! it as left out.
//!
//! The checks need a tokio runtime with its time enabled. Any flavour of runtime will do, since concurrent calls are
//! made from threads of their own.

/// Builds the list of a module's checks. Each check has the name of its function.
macro_rules! checks {
    ($subject:ident: $($name:ident $(needs $capability:ident)? $(without $lack:ident)?),+ $(,)?) => {
        vec![$(
            $crate::conformance::suite::Check::new(stringify!($name), $name(std::sync::Arc::clone($subject)))
                $(.needing($crate::conformance::Capability::$capability))?
                $(.standing_in_for($crate::conformance::Capability::$lack))?
        ),+]
    };
}

mod alerts;
mod audit;
mod credits;
mod fresh;
mod keys;
mod limits;
mod report;
mod suite;
mod usage;

use std::sync::Arc;

pub use report::{Failure, Report};
pub use suite::{Capability, Suite};

use crate::alert::AlertStore;
use crate::audit::AuditStore;
use crate::credit::{CreditAdmin, CreditLedger};
use crate::key::KeyRecord;
use crate::limit::RateLimiter;
use crate::store::{AccountAdmin, KeyStore};
use crate::usage::UsageStore;

/// Returns a suite that checks that a [`KeyStore`] finds the keys in it. It is for a store whose keys are written by
/// other means than [`KeyAdmin`].
///
/// `records` are some of the store's keys, at least one.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use tollgate::key::KeyHasher;
/// use tollgate::{Account, KeyId, KeyRecord, MemoryStore, conformance};
///
/// # #[tokio::main]
/// # async fn main() {
/// let hash = KeyHasher::sha256().hash(b"acme_secret");
/// let record = KeyRecord::new(KeyId::generate(), hash, Arc::new(Account::new("acme", "pro")));
/// let store = MemoryStore::new();
/// store.put_key(record.clone());
/// conformance::look_ups(store, [record]).run().await.assert();
/// # }
/// ```
///
/// [`KeyAdmin`]: crate::store::KeyAdmin
pub fn look_ups(store: impl KeyStore, records: impl IntoIterator<Item = KeyRecord>) -> Suite {
    keys::look_ups(Arc::new(store), records.into_iter().collect())
}

/// Returns a suite that checks that a store of keys and accounts keeps the contracts of [`KeyStore`],
/// [`KeyAdmin`](crate::store::KeyAdmin) and [`AccountAdmin`].
///
/// # Example
///
/// See the [module](self).
pub fn keys(store: impl AccountAdmin) -> Suite {
    keys::suite(&(Arc::new(store) as Arc<dyn AccountAdmin>))
}

/// Returns a suite that checks that a ledger keeps the contract of [`CreditLedger`]. It covers all that can be observed
/// without [`CreditAdmin`]. Its balances come from grants.
///
/// # Example
///
/// ```
/// use tollgate::MemoryLedger;
/// use tollgate::conformance::{self, Capability};
///
/// # #[tokio::main]
/// # async fn main() {
/// conformance::charges(MemoryLedger::new()).without(Capability::LateCharges).run().await.assert();
/// # }
/// ```
pub fn charges(ledger: impl CreditLedger) -> Suite {
    credits::charges(&(Arc::new(ledger) as Arc<dyn CreditLedger>))
}

/// Returns a suite that checks that a ledger keeps the contracts of [`CreditLedger`] and [`CreditAdmin`].
///
/// # Example
///
/// See the [module](self).
pub fn credits(ledger: impl CreditAdmin) -> Suite {
    credits::suite(&(Arc::new(ledger) as Arc<dyn CreditAdmin>))
}

/// Returns a suite that checks that a limiter keeps the contract of [`RateLimiter`].
///
/// # Example
///
/// See the [module](self).
pub fn limits(limiter: impl RateLimiter) -> Suite {
    limits::suite(&(Arc::new(limiter) as Arc<dyn RateLimiter>))
}

/// Returns a suite that checks that a store of audit entries keeps the contract of [`AuditStore`].
///
/// # Example
///
/// ```
/// use tollgate::audit::MemoryAuditStore;
/// use tollgate::conformance;
///
/// # #[tokio::main]
/// # async fn main() {
/// conformance::audit(MemoryAuditStore::new()).run().await.assert();
/// # }
/// ```
pub fn audit(store: impl AuditStore) -> Suite {
    audit::suite(&(Arc::new(store) as Arc<dyn AuditStore>))
}

/// Returns a suite that checks that a store of usage keeps the contract of [`UsageStore`].
///
/// # Example
///
/// See the [module](self).
pub fn usage(store: impl UsageStore) -> Suite {
    usage::suite(&(Arc::new(store) as Arc<dyn UsageStore>))
}

/// Returns a suite that checks that a store of alerts keeps the contract of [`AlertStore`].
///
/// # Example
///
/// ```
/// use tollgate::alert::MemoryAlertStore;
/// use tollgate::conformance;
///
/// # #[tokio::main]
/// # async fn main() {
/// conformance::alerts(MemoryAlertStore::new()).run().await.assert();
/// # }
/// ```
pub fn alerts(store: impl AlertStore) -> Suite {
    alerts::suite(&(Arc::new(store) as Arc<dyn AlertStore>))
}
