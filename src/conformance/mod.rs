//! Published checks that a key store, a credit ledger or a rate limiter keeps its trait's contract.
//!
//! Each check is short and states one fact; its name and what it found stand in the [`Report`]. A suite runs against one
//! store, which may be in use by others: every check works on accounts and keys of its own, that nobody else has. Time
//! travels in arguments, so that nothing waits; what a store keeps beyond the time of its calls (such as a server's
//! own time) its owner declares as a [`Capability`] that it lacks, and the checks that need it are named as left out.
//!
//! # Example
//!
//! ```
//! use tollgate::conformance::{self, Capability};
//! use tollgate::{MemoryLedger, MemoryLimiter, MemoryStore};
//!
//! # #[tokio::main]
//! # async fn main() {
//! conformance::keys(MemoryStore::new()).run().await.assert();
//! conformance::credits(MemoryLedger::new()).without(Capability::LateCharges).run().await.assert();
//! conformance::limits(MemoryLimiter::new()).run().await.assert();
//! # }
//! ```
//!
//! The checks need a tokio runtime with its time enabled; calls that race are made from threads of their own, on any
//! flavour of it.

/// The checks of a module as a list, each under its function's name.
macro_rules! checks {
    ($subject:ident: $($name:ident $(needs $capability:ident)? $(without $lack:ident)?),+ $(,)?) => {
        vec![$(
            $crate::conformance::suite::Check::new(stringify!($name), $name(std::sync::Arc::clone($subject)))
                $(.needing($crate::conformance::Capability::$capability))?
                $(.standing_in_for($crate::conformance::Capability::$lack))?
        ),+]
    };
}

mod credits;
mod fresh;
mod keys;
mod limits;
mod report;
mod suite;

use std::sync::Arc;

pub use report::{Failure, Report};
pub use suite::{Capability, Suite};

use crate::credit::{CreditAdmin, CreditLedger};
use crate::key::KeyRecord;
use crate::limit::RateLimiter;
use crate::store::{AccountAdmin, KeyStore};

/// Whether a [`KeyStore`] finds what is in it: for a store whose keys are put in by other means than [`KeyAdmin`].
///
/// `records` are some of its keys, at least one.
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

/// Whether a store of keys and accounts keeps the contracts of [`KeyStore`], [`KeyAdmin`](crate::store::KeyAdmin) and
/// [`AccountAdmin`].
///
/// # Example
///
/// See the [module](self).
pub fn keys(store: impl AccountAdmin) -> Suite {
    keys::suite(&(Arc::new(store) as Arc<dyn AccountAdmin>))
}

/// Whether a ledger keeps the contract of [`CreditLedger`]: all that can be seen without its write side. Balances are
/// opened by grants.
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

/// Whether a ledger keeps the contracts of [`CreditLedger`] and [`CreditAdmin`].
///
/// # Example
///
/// See the [module](self).
pub fn credits(ledger: impl CreditAdmin) -> Suite {
    credits::suite(&(Arc::new(ledger) as Arc<dyn CreditAdmin>))
}

/// Whether a limiter keeps the contract of [`RateLimiter`].
///
/// # Example
///
/// See the [module](self).
pub fn limits(limiter: impl RateLimiter) -> Suite {
    limits::suite(&(Arc::new(limiter) as Arc<dyn RateLimiter>))
}
