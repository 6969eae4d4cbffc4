//! Keys and credits in a database.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tollgate::credit::{Abandoned, SqlLedger};
#[cfg(feature = "fleet")]
use tollgate::guard::Resilient;
use tollgate::sql::Database;
use tollgate::store::SqlStore;

#[cfg(feature = "redis")]
use super::fleet;
use super::{BackEnds, redis};
use crate::data::Fault;

/// The time after which an open charge is refunded. It is longer than any request takes.
const ABANDONED_AFTER: Duration = Duration::from_mins(5);

/// The time for which the ids of closed charges are stored.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);

/// The parts that need maintenance and must be closed.
#[derive(Clone)]
pub(super) struct Kept {
    database: Database,
    credits: SqlLedger,
    /// The ledger for requests. A settlement that fails, for example on a full disk, is retried until it succeeds.
    #[cfg(feature = "fleet")]
    guarded: Resilient<SqlLedger>,
    #[cfg(feature = "redis")]
    leased: Option<fleet::Leased>,
}

/// Returns the back ends in the database at this URL. With Redis, this process is one of several nodes.
pub(super) async fn open(
    url: &str,
    redis: Option<&redis::Server>,
    nodes: NonZeroU32,
) -> Result<BackEnds, Fault> {
    let database = Database::connect(url).await.map_err(|error| format!("--store: {error}"))?;
    let (store, credits) = (SqlStore::new(&database), SqlLedger::new(&database));
    let kept = Kept {
        database,
        credits: credits.clone(),
        #[cfg(feature = "fleet")]
        guarded: Resilient::new(credits.clone()),
        #[cfg(feature = "redis")]
        leased: None,
    };
    match redis {
        Some(server) => before(server, nodes, store, kept),
        None => Ok(BackEnds {
            keys: Arc::new(store),
            credits: Arc::new(credits),
            #[cfg(feature = "fleet")]
            ledger: Some(Arc::new(kept.guarded.clone())),
            #[cfg(not(feature = "fleet"))]
            ledger: None,
            limiter: None,
            kept: Some(kept),
        }),
    }
}

#[cfg(feature = "redis")]
fn before(server: &redis::Server, nodes: NonZeroU32, store: SqlStore, kept: Kept) -> Result<BackEnds, Fault> {
    let leased = fleet::leased(&kept.guarded, nodes);
    Ok(BackEnds {
        keys: Arc::new(fleet::cached(store, server)?),
        credits: Arc::new(kept.credits.clone()),
        ledger: Some(Arc::new(leased.clone())),
        limiter: None,
        kept: Some(Kept { leased: Some(leased), ..kept }),
    })
}

#[cfg(not(feature = "redis"))]
#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is that with the feature")]
fn before(server: &redis::Server, _: NonZeroU32, _: SqlStore, _: Kept) -> Result<BackEnds, Fault> {
    match *server {}
}

impl Kept {
    /// Refunds the charges of stopped processes, and deletes charges that were closed long ago.
    pub(super) async fn maintain(&self) -> Result<(), Fault> {
        self.credits.close_abandoned(ABANDONED_AFTER, Abandoned::Refund).await?;
        self.credits.forget_closed(FORGOTTEN_AFTER).await?;
        Ok(())
    }

    /// Returns leased credits, and closes the charges that are still open after their requests.
    pub(super) async fn close(&self) -> Result<(), Fault> {
        #[cfg(feature = "redis")]
        let returned = match &self.leased {
            Some(leased) => leased.close().await,
            None => Ok(()),
        };
        #[cfg(feature = "fleet")]
        let flushed = self.guarded.flush().await;
        self.database.close().await;
        #[cfg(feature = "redis")]
        returned?;
        #[cfg(feature = "fleet")]
        flushed?;
        Ok(())
    }
}
