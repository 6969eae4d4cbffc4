//! The other nodes over the same database: they are told of changes through Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tollgate::StoreFuture;
use tollgate::redis::RedisServer;
use tollgate::store::{
    AccountAdmin, Announcements, CachedStore, Change, Ear, RedisAnnouncements, RedisRecords,
};

use crate::Fault;

/// How many changes the other nodes have not been told of, although they should have been.
#[derive(Debug, Clone, Default)]
pub(crate) struct Untold(Arc<AtomicUsize>);

impl Untold {
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

/// The Redis server that the nodes hear of changes from. Its address may hold a password.
pub(crate) struct Channel {
    pub(crate) url: String,
    /// The prefix that the nodes were given.
    pub(crate) prefix: String,
}

/// For how long a change makes void what lies in the nodes' second tier: more than any of them keeps it.
const LONGER_THAN_ANY_KEEPS: Duration = Duration::from_hours(1);

/// The same store, whose changes are told to the other nodes. The server must be there: a revocation of which nobody can
/// be told is better refused, and made again without it.
pub(crate) async fn telling(
    keys: Arc<dyn AccountAdmin>,
    channel: &Channel,
    untold: &Untold,
) -> Result<Arc<dyn AccountAdmin>, Fault> {
    let server =
        RedisServer::open(&channel.url, &channel.prefix).map_err(|error| format!("--redis: {error}"))?;
    server.ping().await.map_err(|error| {
        format!("--redis: failed to reach {server} since {error}; nothing was done, and can be without it")
    })?;
    let telling = Telling { channel: RedisAnnouncements::new(server.clone()), untold: untold.clone() };
    // Nothing is read through it: managers ask the authority.
    let store = CachedStore::builder(keys)
        .stale_for_at_most(LONGER_THAN_ANY_KEEPS)
        .second_tier(RedisRecords::new(server))
        .announcements(telling);
    Ok(Arc::new(store.build()?))
}

/// Announcements of which it is noted whether they were made.
#[derive(Debug)]
struct Telling {
    channel: RedisAnnouncements,
    untold: Untold,
}

impl Announcements for Telling {
    fn announce(&self, change: &Change) -> StoreFuture<()> {
        let (told, untold) = (self.channel.announce(change), self.untold.clone());
        // Noted beforehand: who waits may give up before it is made.
        untold.add();
        StoreFuture::boxed(async move { told.await.inspect(|()| untold.take_back()) })
    }

    /// A command keeps nothing that somebody else could make void.
    fn listen(&self, _: Ear) -> StoreFuture<()> {
        StoreFuture::boxed(std::future::pending())
    }
}
