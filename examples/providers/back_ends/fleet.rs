//! A database and a Redis behind one of several processes, as the README recommends it: each server behind a guard of its
//! own, and before each guard what can do without the server for a while.

use std::num::NonZeroU32;
use std::time::Duration;

use tollgate::credit::{LeaseTerms, LeasedLedger, SqlLedger};
use tollgate::guard::Resilient;
use tollgate::redis::RedisServer;
use tollgate::store::{CachedStore, RedisInvalidationBus, RedisRecords, SqlStore};

use crate::data::Fault;

/// The greatest age of a cached key record, also if messages are lost.
const STALE_FOR_AT_MOST: Duration = Duration::from_secs(10);

/// For how much longer a known key is served while the database fails.
const STALE_IF_ERROR: Duration = Duration::from_mins(5);

/// Keys: from this process, from Redis, from the database. A guard waits for one second, and the cache before it for two.
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

/// Credits that are spent in process.
pub(super) type Leased = LeasedLedger<Resilient<SqlLedger>>;

pub(super) fn leased(guarded: &Resilient<SqlLedger>, nodes: NonZeroU32) -> Leased {
    LeasedLedger::new(guarded.clone(), LeaseTerms::of_nodes(nodes))
}
