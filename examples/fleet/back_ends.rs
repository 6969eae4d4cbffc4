//! The back ends of a node's gate. Each remote server is behind a `Resilient`. In front of it is a part that can work for a
//! time without the server.

use std::sync::Arc;
use std::time::Duration;

use tollgate::credit::{LeaseTerms, LeasedLedger, SqlLedger};
use tollgate::guard::{GuardLimits, Resilient};
use tollgate::limit::{LocalFallback, LocalShare, RedisLimiter};
use tollgate::redis::RedisServer;
use tollgate::sql::Database;
use tollgate::store::{CachedStore, RedisInvalidationBus, RedisRecords, SqlStore};
use tollgate::{Config, CreditLedger, Gate};

use crate::Fault;
use crate::gate::{GATE, STALE_FOR_AT_MOST, STALE_IF_ERROR};
use crate::options::Options;

/// The back ends of one node.
pub(crate) struct BackEnds {
    /// The key store: a cache in this process, then Redis, then the database. Cached keys are accepted for a time while the
    /// database fails.
    pub(crate) store: CachedStore<Resilient<SqlStore>>,
    /// The ledger in the database, for maintenance and for changes by an operator.
    pub(crate) credits: SqlLedger,
    guarded: Resilient<SqlLedger>,
    /// The ledger that spends leased credits; `None` if every charge goes to the database.
    leased: Option<LeasedLedger<Resilient<SqlLedger>>>,
    /// The shared rate limiter. While Redis fails, the node admits its share of every quota.
    limiter: Arc<LocalFallback<Resilient<RedisLimiter>>>,
    database: Database,
}

impl BackEnds {
    pub(crate) async fn open(options: &Options) -> Result<Self, Fault> {
        let (database, redis) =
            (Database::connect(&options.postgres).await?, RedisServer::open(&options.redis, "acme")?);
        let patience = options.patience;
        // `Resilient` has a shorter time limit than the cache in front of it, so that it counts all failures.
        let store = CachedStore::builder(guarded(SqlStore::new(&database), patience))
            .wait_at_most(patience * 2)
            .stale_for_at_most(STALE_FOR_AT_MOST)
            .stale_if_error(STALE_IF_ERROR)
            .second_tier(RedisRecords::new(redis.clone()))
            .invalidation_bus(RedisInvalidationBus::new(redis.clone()))
            .build()?;
        let credits = SqlLedger::new(&database);
        let guarded_credits = guarded(credits.clone(), patience);
        let lease = || LeasedLedger::new(guarded_credits.clone(), LeaseTerms::of_nodes(options.nodes));
        let leased = options.leases.then(lease);
        let limiter =
            LocalFallback::new(guarded(RedisLimiter::new(redis), patience), LocalShare::new(options.nodes));
        Ok(Self { store, credits, guarded: guarded_credits, leased, limiter: Arc::new(limiter), database })
    }

    /// Builds the gate over these back ends.
    pub(crate) fn gate(&self) -> Result<Gate, Fault> {
        let ledger: Arc<dyn CreditLedger> = match &self.leased {
            Some(leased) => Arc::new(leased.clone()),
            None => Arc::new(self.guarded.clone()),
        };
        let builder = Config::from_toml(GATE, "fleet.toml")?.builder()?.store(self.store.clone());
        Ok(builder.limiter(Arc::clone(&self.limiter)).ledger(ledger).build()?)
    }

    /// Returns the leased credits, and closes the charges that are still open after their requests.
    pub(crate) async fn close(&self) -> Result<(), Fault> {
        let returned = match &self.leased {
            Some(leased) => leased.close().await,
            None => Ok(()),
        };
        let flushed = self.guarded.flush().await;
        self.database.close().await;
        Ok(returned.and(flushed)?)
    }
}

fn guarded<T>(back_end: T, patience: Duration) -> Resilient<T> {
    let mut limits = GuardLimits::default();
    limits.time = patience;
    Resilient::with_limits(back_end, limits)
}
