//! The trait of a store of audit entries.

use std::fmt::Debug;
use std::sync::Arc;

use crate::audit::{AuditEntry, AuditPage, AuditQuery};
use crate::clock::Timestamp;
use crate::future::StoreFuture;

/// A store of audit entries that can be asked.
///
/// # Contract
///
/// - **Append only.** [`append`](AuditStore::append) adds entries. No call changes an entry. Only
///   [`forget`](AuditStore::forget) removes entries.
/// - **Idempotent.** An entry whose id is stored already is not stored again, and the first one stays. A caller that
///   does not know if a call took effect repeats it.
/// - **All or none.** A call of `append` that fails has stored all of its entries or none.
/// - **Order.** [`query`](AuditStore::query) lists entries by descending id. Ids sort by the time of their events,
///   whatever the order in which they are appended.
/// - **Visible at once.** A query that begins after an `append` returned sees its entries.
/// - **No secret.** An entry has no part of a secret, and the store adds none. It has names of actors and addresses,
///   which are personal data: protect the store accordingly.
/// - **May be lossy:** only a store that documents a bound, as [`MemoryAuditStore`](crate::audit::MemoryAuditStore)
///   does. It removes its oldest entries first and counts them.
pub trait AuditStore: Debug + Send + Sync + 'static {
    /// Stores these entries.
    fn append(&self, entries: &[AuditEntry]) -> StoreFuture<()>;

    /// Returns the page of entries that a query selects. [`AuditPage::new`] makes it. A limit of zero returns an empty
    /// page.
    fn query(&self, query: &AuditQuery) -> StoreFuture<AuditPage>;

    /// Removes the entries of events before this time. Returns their number. Call it periodically: a store without a
    /// bound grows until then.
    fn forget(&self, before: Timestamp) -> StoreFuture<u64>;
}

impl<T: AuditStore + ?Sized> AuditStore for Arc<T> {
    fn append(&self, entries: &[AuditEntry]) -> StoreFuture<()> {
        (**self).append(entries)
    }

    fn query(&self, query: &AuditQuery) -> StoreFuture<AuditPage> {
        (**self).query(query)
    }

    fn forget(&self, before: Timestamp) -> StoreFuture<u64> {
        (**self).forget(before)
    }
}
