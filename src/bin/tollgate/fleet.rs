//! Notification of the other nodes that use the same database, through Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tollgate::StoreFuture;
use tollgate::redis::RedisServer;
use tollgate::store::{
    AccountAdmin, CachedStore, Change, InvalidationBus, InvalidationSink, RedisInvalidationBus, RedisRecords,
};

use crate::Fault;

/// The number of changes of which the other nodes should have been notified but were not.
#[derive(Debug, Clone, Default)]
pub(crate) struct FailedAnnouncements(Arc<AtomicUsize>);

impl FailedAnnouncements {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn take_back(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn is_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// The Redis server through which the nodes are notified of changes. Its URL may contain a password.
pub(crate) struct Channel {
    pub(crate) url: String,
    /// The prefix that the nodes are configured with.
    pub(crate) prefix: String,
}

/// The time for which a change invalidates records in the nodes' second tier. It is longer than any node keeps a
/// record.
const LONGER_THAN_ANY_KEEPS: Duration = Duration::from_hours(1);

/// Returns the same store, with changes announced to the other nodes. Returns an error if the server cannot be reached.
/// A revocation that cannot be announced is better rejected, so that the operator can repeat it without the server.
pub(crate) async fn telling(
    keys: Arc<dyn AccountAdmin>,
    channel: &Channel,
    failed: &FailedAnnouncements,
) -> Result<Arc<dyn AccountAdmin>, Fault> {
    let server =
        RedisServer::open(&channel.url, &channel.prefix).map_err(|error| format!("--redis: {error}"))?;
    server.ping().await.map_err(|error| {
        format!("--redis: failed to connect to {server} since {error}; nothing was changed; the command also works without `--redis`")
    })?;
    let telling = CountingBus { channel: RedisInvalidationBus::new(server.clone()), failed: failed.clone() };
    // Nothing is read through this cache: managers read from the authority.
    let store = CachedStore::builder(keys)
        .stale_for_at_most(LONGER_THAN_ANY_KEEPS)
        .second_tier(RedisRecords::new(server))
        .invalidation_bus(telling);
    Ok(Arc::new(store.build()?))
}

/// An announcement channel that counts failed announcements.
#[derive(Debug)]
struct CountingBus {
    channel: RedisInvalidationBus,
    failed: FailedAnnouncements,
}

impl InvalidationBus for CountingBus {
    fn announce(&self, change: &Change) -> StoreFuture<()> {
        let (announced, failed) = (self.channel.announce(change), self.failed.clone());
        // Count the change first: the caller may stop waiting before the announcement is made.
        failed.add();
        StoreFuture::boxed(async move { announced.await.inspect(|()| failed.take_back()) })
    }

    /// Never ends: a command has no cache that another node could invalidate.
    fn listen(&self, _: InvalidationSink) -> StoreFuture<()> {
        StoreFuture::boxed(std::future::pending())
    }
}
