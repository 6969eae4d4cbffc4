//! A database and a Redis behind one of several processes, as the README recommends it: each server behind a guard of its
//! own, and before each guard what can do without the server for a while.

use std::num::NonZeroU32;
use std::time::Duration;

use tollgate::{
    CachedStore, Guarded, LeaseTerms, LeasedLedger, RedisAnnouncements, RedisRecords, RedisServer, SqlLedger,
    SqlStore, StoreError,
};

use crate::data::Fault;

/// How old what is known of a key may be, also where messages are lost.
const STALE_FOR_AT_MOST: Duration = Duration::from_secs(10);

/// For how much longer a known key is served while the database fails.
const STALE_IF_ERROR: Duration = Duration::from_mins(5);

/// Keys: from this process, from Redis, from the database. A guard waits for one second, and the cache before it for two.
pub(super) fn cached(store: SqlStore, server: &RedisServer) -> Result<CachedStore<Guarded<SqlStore>>, Fault> {
    let cached = CachedStore::builder(Guarded::new(store))
        .stale_for_at_most(STALE_FOR_AT_MOST)
        .stale_if_error(STALE_IF_ERROR)
        .second_tier(RedisRecords::new(server.clone()))
        .announcements(RedisAnnouncements::new(server.clone()));
    Ok(cached.build()?)
}

/// Credits that are spent in process.
#[derive(Clone)]
pub(super) struct Leased {
    pub(super) ledger: LeasedLedger<Guarded<SqlLedger>>,
    guarded: Guarded<SqlLedger>,
}

pub(super) fn leased(credits: &SqlLedger, nodes: NonZeroU32) -> Leased {
    let guarded = Guarded::new(credits.clone());
    Leased { ledger: LeasedLedger::new(guarded.clone(), LeaseTerms::of_nodes(nodes)), guarded }
}

impl Leased {
    /// Gives back what is leased, and closes the charges that could not be closed when their requests ended.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let returned = self.ledger.close().await;
        returned.and(self.guarded.flush().await)
    }
}
