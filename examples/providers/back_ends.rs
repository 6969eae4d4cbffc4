//! Where keys, credits and limits are kept: in this process, or where the command line says.

use std::sync::Arc;

use tollgate::{AccountAdmin, CreditAdmin, MemoryLedger, MemoryStore, RateLimiter};

#[cfg(not(any(feature = "sqlite", feature = "postgres")))]
use std::convert::Infallible as Database;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
use tollgate::Database;

use crate::data::Fault;
use crate::options::Options;

/// What stands behind one provider's gate.
pub(crate) struct BackEnds {
    pub(crate) keys: Arc<dyn AccountAdmin>,
    pub(crate) credits: Arc<dyn CreditAdmin>,
    /// What limits rates, if not the gate's own.
    pub(crate) limiter: Option<Arc<dyn RateLimiter>>,
    database: Option<Database>,
}

impl BackEnds {
    /// Opens what the options name, for the provider of this name.
    pub(crate) async fn open(options: &Options, provider: &str) -> Result<Self, Fault> {
        let redis = match &options.redis {
            Some(url) => Some(redis::open(url, provider).await?),
            None => None,
        };
        let limiter = redis.as_ref().map(redis::limiter);
        let Some(url) = &options.store else {
            let (keys, credits) = (Arc::new(MemoryStore::new()), Arc::new(MemoryLedger::new()));
            return Ok(Self { keys, credits, limiter, database: None });
        };
        let database = sql::open(url).await?;
        let (keys, credits) = sql::back_ends(&database);
        let keys = match &redis {
            Some(server) => redis::cached(keys, server)?,
            None => keys,
        };
        Ok(Self { keys, credits, limiter, database: Some(database) })
    }

    /// Lets what was begun end.
    pub(crate) async fn close(&self) {
        if let Some(database) = &self.database {
            sql::close(database).await;
        }
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql {
    use std::sync::Arc;

    use tollgate::{AccountAdmin, CreditAdmin, Database, SqlLedger, SqlStore};

    use crate::data::Fault;

    pub(super) async fn open(url: &str) -> Result<Database, Fault> {
        Database::connect(url).await.map_err(|error| format!("--store: {error}").into())
    }

    pub(super) fn back_ends(database: &Database) -> (Arc<dyn AccountAdmin>, Arc<dyn CreditAdmin>) {
        (Arc::new(SqlStore::new(database)), Arc::new(SqlLedger::new(database)))
    }

    pub(super) async fn close(database: &Database) {
        database.close().await;
    }
}

#[cfg(not(any(feature = "sqlite", feature = "postgres")))]
#[allow(clippy::trivially_copy_pass_by_ref, reason = "the same calls as with the feature")]
mod sql {
    use std::convert::Infallible;
    use std::future::{Ready, ready};
    use std::sync::Arc;

    use tollgate::{AccountAdmin, CreditAdmin};

    use crate::data::Fault;

    pub(super) fn open(_: &str) -> Ready<Result<Infallible, Fault>> {
        ready(Err("--store: build with --features sqlite, or with --features postgres".into()))
    }

    pub(super) fn back_ends(database: &Infallible) -> (Arc<dyn AccountAdmin>, Arc<dyn CreditAdmin>) {
        match *database {}
    }

    pub(super) fn close(database: &Infallible) -> Ready<()> {
        match *database {}
    }
}

#[cfg(feature = "redis")]
mod redis {
    use std::sync::Arc;

    use tollgate::{
        AccountAdmin, CachedStore, Guarded, RateLimiter, RedisAnnouncements, RedisLimiter, RedisOptions,
        RedisRecords, RedisServer,
    };

    use crate::data::Fault;

    /// The server, which must be there; each provider has names of its own on it.
    pub(super) async fn open(url: &str, provider: &str) -> Result<RedisServer, Fault> {
        let mut options = RedisOptions::default();
        options.prefix = format!("providers:{provider}");
        let server = RedisServer::with_options(url, options).map_err(|error| format!("--redis: {error}"))?;
        server.ping().await.map_err(|error| format!("--redis: failed to reach {server} since {error}"))?;
        Ok(server)
    }

    pub(super) fn limiter(server: &RedisServer) -> Arc<dyn RateLimiter> {
        Arc::new(Guarded::new(RedisLimiter::new(server.clone())))
    }

    /// A cache before a store; what changes in one process is announced to all.
    pub(super) fn cached(
        keys: Arc<dyn AccountAdmin>,
        server: &RedisServer,
    ) -> Result<Arc<dyn AccountAdmin>, Fault> {
        let cached = CachedStore::builder(keys)
            .second_tier(RedisRecords::new(server.clone()))
            .announcements(RedisAnnouncements::new(server.clone()));
        Ok(Arc::new(cached.build()?))
    }
}

#[cfg(not(feature = "redis"))]
#[allow(clippy::trivially_copy_pass_by_ref, reason = "the same calls as with the feature")]
mod redis {
    use std::convert::Infallible;
    use std::future::{Ready, ready};
    use std::sync::Arc;

    use tollgate::{AccountAdmin, RateLimiter};

    use crate::data::Fault;

    pub(super) fn open(_: &str, _: &str) -> Ready<Result<Infallible, Fault>> {
        ready(Err("--redis: build with --features redis".into()))
    }

    pub(super) fn limiter(server: &Infallible) -> Arc<dyn RateLimiter> {
        match *server {}
    }

    pub(super) fn cached(
        _: Arc<dyn AccountAdmin>,
        server: &Infallible,
    ) -> Result<Arc<dyn AccountAdmin>, Fault> {
        match *server {}
    }
}
