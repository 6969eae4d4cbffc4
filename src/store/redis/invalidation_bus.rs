//! Announcements over Redis's publish and subscribe.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, PushInfo, PushKind, Script};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout_at};

use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::redis::{KeyPlace, RedisServer, fault};
use crate::store::{Change, InvalidationBus, InvalidationSink};

/// A channel for announcements over a Redis server, for a [`CachedStore`](crate::store::CachedStore).
///
/// Publish and subscribe silently loses messages that are sent while a connection is down. So each change is counted in
/// the same step as it is sent: a gap in the numbers means that the listener missed a change. Four times a second the
/// listener compares the last number it received with the count. The comparison also detects a server that is gone,
/// hangs or takes no writes, such as a former master that became a replica. Messages contain the ids of keys and
/// accounts.
///
/// # Example
///
/// ```no_run
/// use tollgate::redis::RedisServer;
/// use tollgate::store::{CachedStore, RedisInvalidationBus};
/// use tollgate::MemoryStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tollgate::ConfigError> {
/// let redis = RedisServer::open("redis://127.0.0.1:6379", "acme")?;
/// let store = CachedStore::builder(MemoryStore::new()).invalidation_bus(RedisInvalidationBus::new(redis)).build()?;
/// # Ok(())
/// # }
/// ```
pub struct RedisInvalidationBus {
    server: RedisServer,
    scripts: Arc<Scripts>,
}

struct Scripts {
    announce: Script,
    count: Script,
}

/// The interval between comparisons with the count.
const BEAT: Duration = Duration::from_millis(250);

impl RedisInvalidationBus {
    /// Creates a channel on this server.
    pub fn new(server: RedisServer) -> Self {
        let announce = Script::new(include_str!("announce.lua"));
        let count = Script::new(include_str!("count.lua"));
        Self { server, scripts: Arc::new(Scripts { announce, count }) }
    }
}

fn channel(server: &RedisServer) -> String {
    server.name("{changes}")
}

fn count(server: &RedisServer) -> String {
    server.name("{changes}:count")
}

impl InvalidationBus for RedisInvalidationBus {
    fn announce(&self, change: &Change) -> StoreFuture<()> {
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let terms = [channel(&server), change.to_string()];
        StoreFuture::boxed(async move { server.run(&scripts.announce, &[count(&server)], &terms).await })
    }

    fn listen(&self, sink: InvalidationSink) -> StoreFuture<()> {
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        StoreFuture::boxed(async move {
            let mut listening = Listening::begin(server, scripts).await?;
            sink.open();
            loop {
                listening.listen(&sink).await?;
                listening.compare().await?;
            }
        })
    }
}

/// A subscribed connection.
struct Listening {
    server: RedisServer,
    scripts: Arc<Scripts>,
    /// The connection stays subscribed until it is dropped.
    _connection: MultiplexedConnection,
    /// The server that the connection leads to.
    place: KeyPlace,
    messages: UnboundedReceiver<PushInfo>,
    channel: String,
    /// The number of the last change that was received.
    received: u64,
    /// The count at the last comparison. All changes up to it must have been received by the next one.
    counted: u64,
}

impl Listening {
    async fn begin(server: RedisServer, scripts: Arc<Scripts>) -> Result<Self, StoreError> {
        let (push, messages) = unbounded_channel();
        let options = server.options();
        let config = AsyncConnectionConfig::new()
            .set_push_sender(push)
            .set_response_timeout(Some(options.response_timeout));
        let (mut connection, place) = server.connect(&count(&server), config).await?;
        let channel = channel(&server);
        connection.subscribe(&channel).await.map_err(|error| fault(&error))?;
        // Read the count after subscribing, so that every later change is received.
        let counted = counted(&server, &scripts).await?;
        Ok(Self {
            server,
            scripts,
            _connection: connection,
            place,
            messages,
            channel,
            received: counted,
            counted,
        })
    }

    /// Receives changes until the next comparison.
    async fn listen(&mut self, sink: &InvalidationSink) -> Result<(), StoreError> {
        let beat = Instant::now() + BEAT;
        while let Ok(message) = timeout_at(beat, self.messages.recv()).await {
            let message = message.ok_or_else(|| StoreError::unavailable("the connection was closed"))?;
            match message.kind {
                PushKind::Message => self.receive(&message, sink)?,
                PushKind::Disconnection => {
                    return Err(StoreError::unavailable("the connection to Redis was lost"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn receive(&mut self, message: &PushInfo, sink: &InvalidationSink) -> Result<(), StoreError> {
        let [from, text] = message.data.as_slice() else { return Ok(()) };
        if String::from_redis_value_ref(from).map_err(StoreError::corrupt)? != self.channel {
            return Ok(());
        }
        let text = String::from_redis_value_ref(text).map_err(StoreError::corrupt)?;
        let (number, change) = text.split_once(' ').unwrap_or_default();
        let number: u64 = number.parse().map_err(StoreError::corrupt)?;
        if number > self.received + 1 {
            return Err(StoreError::unavailable("an invalidation was missed"));
        }
        self.received = self.received.max(number);
        // A change that cannot be read may concern any record.
        sink.invalidate(&change.parse().unwrap_or(Change::Everything));
        Ok(())
    }

    /// Checks that all changes up to the last count were received, and reads the count again.
    async fn compare(&mut self) -> Result<(), StoreError> {
        let before = std::mem::replace(&mut self.counted, counted(&self.server, &self.scripts).await?);
        // After a fail-over, a message of the other server may be lost.
        if self.server.place_of(&count(&self.server)).is_some_and(|place| place != self.place) {
            return Err(StoreError::unavailable("the announcements are on another server now"));
        }
        if self.received < before || self.counted < self.received {
            return Err(StoreError::unavailable("an invalidation was missed, or the counter was lost"));
        }
        Ok(())
    }
}

async fn counted(server: &RedisServer, scripts: &Scripts) -> Result<u64, StoreError> {
    let names = [count(server), server.name("{changes}:none")];
    let count: Option<u64> = server.run(&scripts.count, &names, &[]).await?;
    Ok(count.unwrap_or(0))
}

impl fmt::Debug for RedisInvalidationBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisInvalidationBus").field("server", &self.server).finish_non_exhaustive()
    }
}
