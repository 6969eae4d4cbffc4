//! The stores of keys, credits and limits: in memory, or in the servers that the options name.

#[cfg(all(feature = "redis", any(feature = "sqlite", feature = "postgres")))]
#[path = "back_ends/fleet.rs"]
mod fleet;
#[cfg(not(feature = "redis"))]
#[path = "back_ends/no_redis.rs"]
mod redis;
#[cfg(feature = "redis")]
#[path = "back_ends/redis.rs"]
mod redis;
#[cfg(not(any(feature = "sqlite", feature = "postgres")))]
#[path = "back_ends/no_sql.rs"]
mod sql;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[path = "back_ends/sql.rs"]
mod sql;

use std::sync::Arc;

use tollgate::credit::CreditAdmin;
use tollgate::store::AccountAdmin;
use tollgate::{CreditLedger, MemoryLedger, MemoryStore, RateLimiter};

use crate::data::Fault;
use crate::options::Options;

/// The back ends of one provider's gate.
#[derive(Clone)]
pub(crate) struct BackEnds {
    pub(crate) keys: Arc<dyn AccountAdmin>,
    pub(crate) credits: Arc<dyn CreditAdmin>,
    /// The ledger that requests spend from, if it is not the administered one.
    pub(crate) ledger: Option<Arc<dyn CreditLedger>>,
    /// The rate limiter, if it is not the gate's default.
    pub(crate) limiter: Option<Arc<dyn RateLimiter>>,
    kept: Option<sql::Kept>,
}

impl BackEnds {
    /// Opens the back ends that the options name, for the provider of this name.
    pub(crate) async fn open(options: &Options, provider: &str) -> Result<Self, Fault> {
        let redis = match &options.redis {
            Some(url) => Some(redis::open(url, provider).await?),
            None => None,
        };
        let limiter = redis.as_ref().map(|server| redis::limiter(server, options.nodes));
        match &options.store {
            Some(url) => Ok(Self { limiter, ..sql::open(url, redis.as_ref(), options.nodes).await? }),
            None => Ok(Self {
                keys: Arc::new(MemoryStore::new()),
                credits: Arc::new(MemoryLedger::new()),
                ledger: None,
                limiter,
                kept: None,
            }),
        }
    }

    /// Does the periodic maintenance.
    pub(crate) async fn maintain(&self) -> Result<(), Fault> {
        match &self.kept {
            Some(kept) => kept.maintain().await,
            None => Ok(()),
        }
    }

    /// Completes the pending work and closes the back ends.
    pub(crate) async fn close(&self) -> Result<(), Fault> {
        match &self.kept {
            Some(kept) => kept.close().await,
            None => Ok(()),
        }
    }
}
