//! A database and Redis for several processes, as the README recommends. Each server is behind a `Resilient`. In front of it
//! is a part that can work for a time without the server.

use std::num::NonZeroU32;
use std::time::Duration;

use tollgate::credit::{LeaseTerms, LeasedLedger, SqlLedger};
use tollgate::guard::Resilient;
use tollgate::redis::RedisServer;
use tollgate::store::{CachedStore, RedisInvalidationBus, RedisRecords, SqlStore};

use crate::data::Fault;

/// The maximum age of a cached key record, even if messages are lost.
const STALE_FOR_AT_MOST: Duration = Duration::from_secs(10);

/// The additional time for which a cached key is accepted while the database fails.
const STALE_IF_ERROR: Duration = Duration::from_mins(5);

/// Returns the key store: a cache in this process, then Redis, then the database. `Resilient` waits for one second, and the
/// cache in front of it for two.
pub(super) fn cached(
    store: SqlStore,
    server: &RedisServer,
) -> Result<CachedStore<Resilient<SqlStore>>, Fault> {
    let cached = CachedStore::builder(Resilient::new(store))
        .stale_for_at_most(STALE_FOR_AT_MOST)
        .stale_if_error(STALE_IF_ERROR)
        .second_tier(RedisRecords::new(server.clone()))
        .invalidation_bus(RedisInvalidationBus::new(server.clone()));
    Ok(cached.build()?)
}

/// Returns a ledger that spends leased credits in this process.
pub(super) type Leased = LeasedLedger<Resilient<SqlLedger>>;

pub(super) fn leased(guarded: &Resilient<SqlLedger>, nodes: NonZeroU32) -> Leased {
    LeasedLedger::new(guarded.clone(), LeaseTerms::of_nodes(nodes))
}
