//! A Redis server, a cluster, or a master behind sentinels, for limits, credits, a cache's second tier and announcements.
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

mod address;
mod cluster;
mod connections;
mod fault;
mod node;
mod options;
mod outbox;
mod sentinel;
mod stream;

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, RedisResult, Script};
use tokio::time::timeout;

use address::{Address, Endpoint, Layout};
use cluster::Cluster;
use connections::timed_out;
pub(crate) use fault::fault;
use node::{Access, Node, ScriptCall, Target};
pub use options::RedisOptions;

use crate::error::{ConfigError, StoreError};

/// A Redis server, a master behind sentinels, or a cluster (6.2 or later, or a compatible server), shared by everything that is stored in it. Clones are the
/// same server and share its connections.
///
/// The first request opens a connection. A lost connection is reopened. While the server is down, every request fails
/// at once. If the server does not answer, a request waits for [`RedisOptions::response_timeout`] and is not repeated,
/// since it may have been executed.
///
/// # URL
///
/// | URL | servers |
/// |---|---|
/// | `redis://user:password@host:6379/0` | one server, with an ACL user and the index of a database |
/// | `unix:///run/redis.sock` | one server on this machine |
/// | `redis://host,host:7001,host:7002?cluster=true` | a cluster: some of its nodes, which name all others |
/// | `redis://user:password@host,host,host?sentinel=mymaster` | the master of this name: its sentinels, with the default port 26379 |
///
/// | parameter | meaning |
/// |---|---|
/// | `cluster` | `true`: the hosts are nodes of a cluster. |
/// | `sentinel` | The name of the master, if the hosts are sentinels. |
/// | `sentinel_user`, `sentinel_password` | The login at the sentinels. |
/// | `sslrootcert` | A PEM file with the only authorities that are trusted. Defaults to those of the system. |
/// | `sslcert`, `sslkey` | PEM files with the certificate of this client and its private key. |
/// | `insecure` | `true`: connections may leave this machine in clear text. |
///
/// The scheme `rediss` is TLS (feature `redis-tls`). Certificates and host names are always verified, also those of the
/// servers that sentinels and nodes name. The files are read when the server is opened. A connection to another machine in
/// clear text is refused, unless the URL says `insecure=true`. An ACL user needs the commands of scripts, strings, hashes,
/// sorted sets and publishing, and `ROLE` if there are sentinels, or `CLUSTER SLOTS` if there is a cluster.
///
/// # Start
///
/// [`open`](Self::open) sends nothing, so that a service starts before its server. Until the server answers, requests are
/// denied with 503. Call [`ping`](Self::ping) at start for an error instead.
///
/// # Sentinels
///
/// Each connection is opened to the master that the sentinels name. All are asked, and the newest answer is used. When the
/// master is lost, or a replica answers instead, they are asked again. While there are requests, they are also asked every
/// two seconds, since a master that was replaced may live.
///
/// # Clusters
///
/// The slots are read when they are needed, and again after a redirection, an error or silence. A request that was
/// redirected (`MOVED`, `ASK`) was not executed, and is sent to the node that was named. While a slot moves, a request whose
/// keys are on both nodes (`TRYAGAIN`) waits within its time limit. All records of a
/// [second tier](crate::store::RedisRecords) are in one slot, and all announcements in another.
///
/// A fail-over loses what the lost master had not sent to its replica, usually less than a second of requests: see
/// [`RedisLimiter`](crate::limit::RedisLimiter#in-a-cluster).
///
/// # Fail-over
///
/// A connection may lead to the wrong server although it is open: to a master that has become a replica (`READONLY`),
/// that is loading, or that requires a password. After an error reply of this kind, and after silence for the whole
/// time limit, all connections are replaced, at most once every two seconds. The address is resolved again for each
/// connection. The request that got the error fails; later requests go to the new server. A failed attempt to connect
/// is repeated by a later request: after 10 ms, after twice the pause of each further failure, and at last after half a
/// second. Each pause is partly random. Until then, requests fail at once. A server that refuses connections is tried
/// again every 10 ms.
///
/// # Batches
///
/// Requests that many tasks make at the same time are sent together, in batches that are answered as a whole.
///
/// # Keys
///
/// All keys of an account have the hash tag `{a:ACCOUNT}`, all keys of a pool have `{p:POOL}`, and all keys of a client's
/// network have `{n:NETWORK}`, so that a cluster stores them in one slot. A prefix with its own hash tag, such as `{gate}`,
/// puts all keys in one slot.
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
    access: Arc<Access>,
    nodes: Nodes,
}

enum Nodes {
    /// One server, or the master that the sentinels name.
    One(Arc<Node>),
    Cluster(Arc<Cluster>),
}

/// A server that has a part of the keys: the only one, or a master of a cluster.
pub(crate) struct Master {
    node: Arc<Node>,
    cluster: Option<Arc<Cluster>>,
}

/// The place of the server that has a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPlace(Endpoint);

/// The characters that would end a hash tag early, or start another.
const TAG: &AsciiSet = &CONTROLS.add(b'{').add(b'}').add(b'%');

/// The Lua function with which scripts read the server's time.
pub(crate) const CLOCK: &str = include_str!("clock.lua");

impl RedisServer {
    /// Creates a client of the server at a URL such as `redis://user:password@host:6379/0` or `unix:///run/redis.sock`.
    /// Everything that this service stores has its own [`prefix`](RedisOptions::prefix). Nothing is sent before the first
    /// request.
    ///
    /// # Errors
    ///
    /// Fails if the URL names no Redis server, if it has an unknown parameter, if a file of it cannot be read, if it leads
    /// to another machine in clear text, or if no key can begin with the prefix. The error does not repeat the URL, which
    /// may contain a password.
    pub fn open(url: &str, prefix: &str) -> Result<Self, ConfigError> {
        Self::with_options(url, RedisOptions::new(prefix))
    }

    /// Creates a client of the server at a URL, with options.
    ///
    /// # Errors
    ///
    /// Fails like [`open`](Self::open), or if an option is out of its range.
    pub fn with_options(url: &str, options: RedisOptions) -> Result<Self, ConfigError> {
        options.check()?;
        let access = Arc::new(Access { address: Address::parse(url)?, options });
        let one = |target| Nodes::One(Node::new(Arc::clone(&access), target));
        let nodes = match (&access.address.layout, access.address.endpoints.as_slice()) {
            (Layout::One, [endpoint, ..]) => one(Target::Fixed(endpoint.clone())),
            (Layout::Cluster, _) => Nodes::Cluster(Cluster::new(Arc::clone(&access))),
            _ => one(Target::Master(Arc::default())),
        };
        Ok(Self(Arc::new(Server { access, nodes })))
    }

    /// Checks that the server answers, for example before a service starts. In a cluster, every master must answer.
    ///
    /// # Errors
    ///
    /// Fails if the server cannot be reached, rejects the password, or does not answer in time.
    pub async fn ping(&self) -> Result<(), StoreError> {
        for master in self.masters().await? {
            let () = master.ask(&redis::cmd("PING")).await?;
        }
        Ok(())
    }

    /// Sends one command to the server that has the key in its first argument. A command without arguments may go to any
    /// master.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.answer(async {
            match &self.0.nodes {
                Nodes::One(node) => node.ask(command).await,
                Nodes::Cluster(cluster) => cluster.ask(command).await,
            }
        })
        .await
    }

    /// Runs a script by its hash, on the server that has its first key. If the server does not know the script, it is
    /// loaded and called once more.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[String],
    ) -> Result<T, StoreError> {
        let call = ScriptCall { script, keys, arguments };
        self.answer(async {
            match &self.0.nodes {
                Nodes::One(node) => node.run(call, false).await,
                Nodes::Cluster(cluster) => cluster.run(call).await,
            }
        })
        .await
    }

    /// Returns the servers that have all keys together.
    pub(crate) async fn masters(&self) -> Result<Vec<Master>, StoreError> {
        match &self.0.nodes {
            Nodes::One(node) => Ok(vec![Master { node: Arc::clone(node), cluster: None }]),
            Nodes::Cluster(cluster) => {
                let masters = self.answer(cluster.masters()).await?.into_iter();
                Ok(masters.map(|node| Master { node, cluster: Some(Arc::clone(cluster)) }).collect())
            }
        }
    }

    /// Opens a connection to the server that has a key, for a caller that needs its own.
    pub(crate) async fn connect(
        &self,
        key: &str,
        config: AsyncConnectionConfig,
    ) -> Result<(MultiplexedConnection, KeyPlace), StoreError> {
        check_runtime()?;
        let opened = timeout(self.options().connect_timeout, async {
            let node = match &self.0.nodes {
                Nodes::One(node) => Arc::clone(node),
                Nodes::Cluster(cluster) => cluster.master_of(key).await?,
            };
            let opened = self.0.access.open(&node.target, config).await;
            match &self.0.nodes {
                Nodes::One(_) => opened,
                Nodes::Cluster(cluster) => cluster.watched(opened),
            }
        });
        let opened = opened.await.unwrap_or_else(|_| Err(timed_out()));
        opened.map(|(connection, endpoint)| (connection, KeyPlace(endpoint))).map_err(|error| fault(&error))
    }

    /// Returns the place of the server to which requests for a key are sent, if it is known.
    pub(crate) fn place_of(&self, key: &str) -> Option<KeyPlace> {
        let endpoint = match &self.0.nodes {
            Nodes::One(node) => node.target.endpoint(),
            Nodes::Cluster(cluster) => cluster.known_endpoint(key),
        };
        endpoint.map(KeyPlace)
    }

    /// Waits for an answer within the time limit.
    async fn answer<T>(&self, answer: impl Future<Output = RedisResult<T>>) -> Result<T, StoreError> {
        check_runtime()?;
        if let Nodes::One(node) = &self.0.nodes {
            node.follow();
        }
        let answer = timeout(self.options().response_timeout, answer).await;
        answer.unwrap_or_else(|_| Err(timed_out())).map_err(|error| fault(&error))
    }

    /// Returns true if this is a clone of that server.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns true if a cluster stores all keys of this prefix in one slot.
    pub(crate) fn has_one_slot(&self) -> bool {
        let tag = self.options().prefix.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        tag.is_some_and(|(tag, _)| !tag.is_empty())
    }

    /// Returns true if the server is a cluster, which refuses scripts over several slots.
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.0.nodes, Nodes::Cluster(_))
    }

    /// Returns the name of something that belongs to the whole service.
    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}:{rest}", self.options().prefix)
    }

    /// Returns the start of the names of everything that belongs to an account.
    pub(crate) fn of_account(&self, account: &str) -> String {
        format!("{}:{{a:{}}}", self.options().prefix, utf8_percent_encode(account, TAG))
    }

    /// Returns the start of the names of everything that belongs to a pool.
    pub(crate) fn of_pool(&self, pool: &str) -> String {
        format!("{}:{{p:{}}}", self.options().prefix, utf8_percent_encode(pool, TAG))
    }

    /// Returns the start of the names of everything that belongs to a network of clients.
    pub(crate) fn of_network(&self, network: IpNet) -> String {
        format!("{}:{{n:{network}}}", self.options().prefix)
    }

    /// Returns the options.
    pub(crate) fn options(&self) -> &RedisOptions {
        &self.0.access.options
    }
}

impl Master {
    /// Sends one command to this server, whatever its arguments are.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        check_runtime()?;
        let answer = self.node.ask(command).await;
        let answer = match &self.cluster {
            Some(cluster) => cluster.watched(answer),
            None => answer,
        };
        answer.map_err(|error| fault(&error))
    }
}

/// Fails outside a tokio runtime, which timers and connections need.
fn check_runtime() -> Result<(), StoreError> {
    let runtime = tokio::runtime::Handle::try_current();
    runtime.map(drop).map_err(|_| StoreError::unavailable("the Redis client requires a tokio runtime"))
}

impl fmt::Display for RedisServer {
    /// Writes the hosts of the address, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.access.address.fmt(f)
    }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = format_args!("{self}");
        f.debug_struct("RedisServer").field("address", &address).field("options", self.options()).finish()
    }
}
