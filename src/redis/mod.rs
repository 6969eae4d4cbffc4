//! A Redis server, for limits, credits, a cache's second tier and announcements.
//!
//! The nodes of a fleet share rate limits and balances in Redis. All back ends of a service use one [`RedisServer`],
//! which holds the connections.
//!
//! # Example
//!
//! A gate with its rate limits and its credits in Redis. The first request opens the connection:
//!
//! ```
//! use std::time::Duration;
//!
//! use tollgate::credit::RedisLedger;
//! use tollgate::key::Length;
//! use tollgate::limit::RedisLimiter;
//! use tollgate::redis::{RedisOptions, RedisServer};
//! use tollgate::{Gate, KeyFormat, KeySource};
//!
//! let mut options = RedisOptions::new("acme");
//! options.response_timeout = Duration::from_millis(100);
//! let server = RedisServer::with_options("redis://gate:secret@127.0.0.1:6379", options)?;
//! let gate = Gate::builder()
//!     .source(KeySource::header("X-API-Key")?)
//!     .format(KeyFormat::new("acme_", Length::exactly(32))?)
//!     .limiter(RedisLimiter::new(server.clone()))
//!     .ledger(RedisLedger::new(server.clone()))
//!     .build()?;
//! assert_eq!(server.to_string(), "127.0.0.1:6379");
//! # drop(gate);
//! # Ok::<(), tollgate::ConfigError>(())
//! ```
//!
//! # Overview
//!
//! - [`RedisServer`]: the address and the connections. [`ping`](RedisServer::ping) checks that the server answers.
//! - [`RedisOptions`]: the prefix of all keys, the time limits and the number of connections.
//! - [`RedisLimiter`](crate::limit::RedisLimiter) and [`RedisLedger`](crate::credit::RedisLedger): rate limits and
//!   credits.
//! - [`RedisRecords`](crate::store::RedisRecords): the second tier of a [`CachedStore`](crate::store::CachedStore).
//! - [`RedisInvalidationBus`](crate::store::RedisInvalidationBus): announcements of changes between the caches of
//!   nodes.

mod connections;
mod fault;
mod options;
mod outbox;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{Client, Cmd, FromRedisValue, IntoConnectionInfo, ProtocolVersion, RedisResult, Script};
use tokio::time::{Instant, timeout_at};

use connections::Connections;
use fault::blames_connection;
pub(crate) use fault::fault;
pub use options::RedisOptions;
use outbox::Outbox;

use crate::error::{ConfigError, StoreError};

/// A Redis server (6.2 or later, or a compatible server), shared by everything that is stored in it. Clones are the
/// same server and share its connections.
///
/// The first request opens a connection. A lost connection is reopened. While the server is down, every request fails
/// at once. If the server does not answer, a request waits for [`RedisOptions::response_timeout`] and is not repeated,
/// since it may have been executed.
///
/// # Fail-over
///
/// A connection may lead to the wrong server although it is open: to a master that has become a replica (`READONLY`),
/// that is loading, or that requires a password. After an error reply of this kind, and after silence for the whole
/// time limit, all connections are replaced, at most once every two seconds. The address is resolved again for each
/// connection. The request that got the error fails; later requests go to the new server. A failed attempt to connect
/// is repeated by the next request, at most ten times a second.
///
/// # Batches
///
/// Requests that many tasks make at the same time are sent together, in batches that are answered as a whole.
///
/// # Keys
///
/// All keys of an account have the hash tag `{a:ACCOUNT}`, all keys of a pool have `{p:POOL}`, and all keys of a client's
/// network have `{n:NETWORK}`, so that a cluster stores them in one slot. A prefix with its own hash tag, such as `{gate}`, puts all keys in one slot.
///
/// # Example
///
/// ```
/// use tollgate::redis::RedisServer;
///
/// let server = RedisServer::open("redis://gate:secret@127.0.0.1:6379", "acme")?;
/// assert_eq!(server.to_string(), "127.0.0.1:6379");
/// assert!(!format!("{server:?}").contains("secret"));
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct RedisServer(Arc<Server>);

struct Server {
    client: Client,
    options: RedisOptions,
    connections: Connections,
    outbox: Outbox,
}

/// The characters that would end a hash tag early, or start another.
const TAG: &AsciiSet = &CONTROLS.add(b'{').add(b'}').add(b'%');

/// The Lua function with which scripts read the server's time.
pub(crate) const CLOCK: &str = include_str!("clock.lua");

/// The time after which a peer that acknowledges nothing counts as gone.
const PEER_GONE: Duration = Duration::from_secs(10);

impl RedisServer {
    /// Creates a client of the server at a URL such as `redis://user:password@host:6379/0` or `unix:///run/redis.sock`.
    /// Everything that this service stores has its own [`prefix`](RedisOptions::prefix).
    ///
    /// # Errors
    ///
    /// Fails if the URL names no Redis server, or if no key can begin with the prefix. The error does not repeat the
    /// URL, which may contain a password.
    pub fn open(url: &str, prefix: &str) -> Result<Self, ConfigError> {
        Self::with_options(url, RedisOptions::new(prefix))
    }

    /// Creates a client of the server at a URL, with options.
    ///
    /// # Errors
    ///
    /// Fails if the URL names no Redis server, or if an option is out of its range.
    pub fn with_options(url: &str, options: RedisOptions) -> Result<Self, ConfigError> {
        options.check()?;
        let client = client(url).map_err(|_| {
            let problem = if url.starts_with("rediss:") {
                "connections to Redis over TLS are not supported"
            } else {
                "invalid address of a Redis server"
            };
            ConfigError::new("", problem, "write one as in `redis://user:password@host:6379/0`")
        })?;
        let (connections, outbox) = (Connections::new(options.connections), Outbox::default());
        Ok(Self(Arc::new(Server { client, options, connections, outbox })))
    }

    /// Checks that the server answers, for example before a service starts.
    ///
    /// # Errors
    ///
    /// Fails if the server cannot be reached, rejects the password, or does not answer in time.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.ask(&redis::cmd("PING")).await
    }

    /// Sends one command.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let ask = |mut connection| async move { command.query_async(&mut connection).await };
        self.within(ask, |answer| answer.as_ref().is_err_and(blames_connection)).await
    }

    /// Runs a script by its hash. If the server does not know the script, it is loaded and called once more.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[String],
    ) -> Result<T, StoreError> {
        check_runtime()?;
        let generation = self.0.connections.generation();
        let call = tokio::time::timeout(self.0.options.response_timeout, self.call(script, keys, arguments));
        let answer = call.await.unwrap_or_else(|_| Err(StoreError::timed_out()))?;
        answer.and_then(|value| Ok(T::from_redis_value(value)?)).map_err(|error| {
            if blames_connection(&error) {
                self.0.connections.renew(generation);
            }
            fault(&error)
        })
    }

    /// Returns true if this is a clone of that server.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns true if a cluster stores all keys of this prefix in one slot.
    pub(crate) fn has_one_slot(&self) -> bool {
        let tag = self.0.options.prefix.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        tag.is_some_and(|(tag, _)| !tag.is_empty())
    }

    /// Returns the name of something that belongs to the whole service.
    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}:{rest}", self.0.options.prefix)
    }

    /// Returns the start of the names of everything that belongs to an account.
    pub(crate) fn of_account(&self, account: &str) -> String {
        format!("{}:{{a:{}}}", self.0.options.prefix, utf8_percent_encode(account, TAG))
    }

    /// Returns the start of the names of everything that belongs to a pool.
    pub(crate) fn of_pool(&self, pool: &str) -> String {
        format!("{}:{{p:{}}}", self.0.options.prefix, utf8_percent_encode(pool, TAG))
    }

    /// Returns the start of the names of everything that belongs to a network of clients.
    pub(crate) fn of_network(&self, network: IpNet) -> String {
        format!("{}:{{n:{network}}}", self.0.options.prefix)
    }

    /// Returns the client, for callers that need their own connection.
    pub(crate) fn client(&self) -> &Client {
        &self.0.client
    }

    /// Returns the options.
    pub(crate) fn options(&self) -> &RedisOptions {
        &self.0.options
    }

    /// Sends a request once over the connection whose turn it is. A request that is not answered in time may have been
    /// executed, so it is not repeated. All connections are renewed after silence, and after an answer for which
    /// `blames_connection` returns true.
    async fn within<T, F>(
        &self,
        ask: impl FnOnce(MultiplexedConnection) -> F,
        blames_connection: impl FnOnce(&RedisResult<T>) -> bool,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        check_runtime()?;
        let (connections, time) = (&self.0.connections, self.0.options.response_timeout);
        let until = Instant::now() + time;
        let connection = connections.next(self);
        let mut connection = connection.ok_or_else(|| StoreError::unavailable("not connected"))?;
        let made = timeout_at(until, connection.made()).await.map_err(|_| StoreError::timed_out())?;
        let made = made.map_err(|error| fault(&error))?;

        let (asked, answers) = (Instant::now(), connection.answers());
        let Ok(answer) = timeout_at(until, ask(made)).await else {
            // The connection answered no request meanwhile, and this request had at least half of the time limit.
            if connection.answers() == answers && asked.elapsed() >= time / 2 {
                connections.renew(connection.generation);
            }
            return Err(StoreError::timed_out());
        };
        match &answer {
            Err(error) if error.is_unrecoverable_error() => connection.close(),
            answer => {
                connection.answered();
                if blames_connection(answer) {
                    connections.renew(connection.generation);
                }
            }
        }
        answer.map_err(|error| fault(&error))
    }
}

/// Fails outside a tokio runtime, which timers and connections need.
fn check_runtime() -> Result<(), StoreError> {
    let runtime = tokio::runtime::Handle::try_current();
    runtime.map(drop).map_err(|_| StoreError::unavailable("the Redis client requires a tokio runtime"))
}

fn client(url: &str) -> RedisResult<Client> {
    let info = url.into_connection_info()?;
    // RESP3 reports a lost connection at once, not only when the next command fails.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let keepalive = TcpKeepalive::new().with_time(PEER_GONE);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(PEER_GONE);
    Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

impl fmt::Display for RedisServer {
    /// Writes the address, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.client.get_connection_info().addr().fmt(f)
    }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = format_args!("{self}");
        f.debug_struct("RedisServer").field("address", &address).field("options", &self.0.options).finish()
    }
}
