//! One Redis server, and whoever asks it: limits, credits, a cache's second tier, announcements.

mod fault;
mod options;
mod outbox;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{Client, Cmd, FromRedisValue, IntoConnectionInfo, ProtocolVersion, RedisResult, Script};

pub(crate) use fault::fault;
pub use options::RedisOptions;
use outbox::Outbox;

use crate::{ConfigError, StoreError};

/// A Redis server (6.2 or later, or one that speaks its language), shared by all that is kept there. Clones are the same
/// server, over the same connections.
///
/// It connects when it is first asked, and again whenever a connection is lost. While the server is down every question is
/// answered by an error at once; one that does not answer is waited for as long as
/// [`RedisOptions::response_timeout`] says, and asked only once: what it was asked may have happened.
///
/// What many tasks ask at the same time is sent together, in batches that are answered as a whole.
///
/// # Keys
///
/// Whatever belongs to an account is under the hash tag `{a:ACCOUNT}`, whatever belongs to a pool under `{p:POOL}`, so
/// that a cluster keeps it in one place. A prefix with a hash tag of its own, such as `{gate}`, keeps everything in one.
///
/// # Example
///
/// ```
/// use tollgate::RedisServer;
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
    managers: OnceLock<Box<[ConnectionManager]>>,
    /// Which connection is asked next.
    turn: AtomicUsize,
    outbox: Outbox,
}

/// What would end a hash tag early, or begin another.
const TAG: &AsciiSet = &CONTROLS.add(b'{').add(b'}').add(b'%');

/// What a script has of the server's time.
pub(crate) const CLOCK: &str = include_str!("clock.lua");

/// How long a peer that acknowledges nothing is believed to be there.
const PEER_GONE: Duration = Duration::from_secs(10);

impl RedisServer {
    /// The server at a URL such as `redis://user:password@host:6379/0`, or `unix:///run/redis.sock`, where everything that
    /// this service keeps has a [`prefix`](RedisOptions::prefix) of its own.
    ///
    /// # Errors
    ///
    /// A URL that names no Redis server, and a prefix that no key can begin with. The URL is not repeated: it may hold a
    /// password.
    pub fn open(url: &str, prefix: &str) -> Result<Self, ConfigError> {
        Self::with_options(url, RedisOptions::new(prefix))
    }

    /// The server at a URL, with options.
    ///
    /// # Errors
    ///
    /// A URL that names no Redis server, and an option that is out of its range.
    pub fn with_options(url: &str, options: RedisOptions) -> Result<Self, ConfigError> {
        options.check()?;
        let client = client(url).map_err(|_| {
            let problem = "this is no address of a Redis server";
            ConfigError::new("", problem, "write one as in `redis://user:password@host:6379/0`")
        })?;
        let (managers, turn, outbox) = (OnceLock::new(), AtomicUsize::new(0), Outbox::default());
        Ok(Self(Arc::new(Server { client, options, managers, turn, outbox })))
    }

    /// Asks the server whether it is there, as a service may before it starts.
    ///
    /// # Errors
    ///
    /// It cannot be reached, refuses the password, or does not answer in time.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.ask(&redis::cmd("PING")).await
    }

    /// Sends one command.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.within(|mut connection| async move { command.query_async(&mut connection).await }).await
    }

    /// Runs a script by its hash; a server that does not know it is taught it, and asked once more.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[String],
    ) -> Result<T, StoreError> {
        let answer = self.in_time(self.call(script, keys, arguments)).await?;
        answer.and_then(|value| Ok(T::from_redis_value(value)?)).map_err(|error| fault(&error))
    }

    /// Under which name a thing of the whole gate is kept.
    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}:{rest}", self.0.options.prefix)
    }

    /// Under which name begins what belongs to an account.
    pub(crate) fn of_account(&self, account: &str) -> String {
        format!("{}:{{a:{}}}", self.0.options.prefix, utf8_percent_encode(account, TAG))
    }

    /// Under which name begins what belongs to a pool.
    pub(crate) fn of_pool(&self, pool: &str) -> String {
        format!("{}:{{p:{}}}", self.0.options.prefix, utf8_percent_encode(pool, TAG))
    }

    /// How to connect, for those who need a connection of their own.
    pub(crate) fn client(&self) -> &Client {
        &self.0.client
    }

    /// How long to wait, and the like.
    pub(crate) fn options(&self) -> &RedisOptions {
        &self.0.options
    }

    /// How a connection is kept: one attempt at a time, each begun by whoever asks, so that nobody waits for attempts that
    /// are spaced out while the server is down.
    pub(crate) fn manager_config(&self) -> ConnectionManagerConfig {
        ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(self.0.options.connect_timeout))
            // The whole answer is waited for in one place, below.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(1024)
    }

    async fn within<T, F>(&self, ask: impl Fn(ConnectionManager) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let asked = async {
            let connection = self.connection()?;
            let answer = match ask(connection.clone()).await {
                // Nothing was sent, and this may be what an attempt came to when the server was still down.
                Err(error) if error.is_connection_refusal() => ask(connection.clone()).await,
                answer => answer,
            };
            answer.map_err(|error| fault(&error))
        };
        self.in_time(asked).await
    }

    async fn in_time<T>(&self, asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(StoreError::unavailable("Redis is asked from outside a tokio runtime"));
        }
        let answer = tokio::time::timeout(self.0.options.response_timeout, asked).await;
        answer.unwrap_or_else(|_| Err(StoreError::timed_out()))
    }

    fn connection(&self) -> Result<&ConnectionManager, StoreError> {
        let managers = match self.0.managers.get() {
            Some(managers) => managers,
            None => self.connect()?,
        };
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        managers.get(turn % managers.len()).ok_or_else(|| StoreError::unavailable("there is no connection"))
    }

    /// Makes the managers, which connect when they are first asked.
    fn connect(&self) -> Result<&[ConnectionManager], StoreError> {
        let manager =
            |_| ConnectionManager::new_lazy_with_config(self.0.client.clone(), self.manager_config());
        let managers = (0..self.0.options.connections).map(manager).collect::<RedisResult<_>>();
        let managers = managers.map_err(|error| fault(&error))?;
        Ok(self.0.managers.get_or_init(|| managers))
    }
}

fn client(url: &str) -> RedisResult<Client> {
    let info = url.into_connection_info()?;
    // RESP3 tells of a lost connection when it is lost, and not by failing the next command.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let keepalive = TcpKeepalive::new().with_time(PEER_GONE);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(PEER_GONE);
    Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

impl fmt::Display for RedisServer {
    /// Where it is, without who asks.
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
