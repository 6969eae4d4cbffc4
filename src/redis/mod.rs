//! One Redis server, and whoever asks it: limits, credits, a cache's second tier, announcements.

mod connections;
mod fault;
mod options;
mod outbox;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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

/// A Redis server (6.2 or later, or one that speaks its language), shared by all that is kept there. Clones are the same
/// server, over the same connections.
///
/// It connects when it is first asked, and again whenever a connection is lost. While the server is down every question is
/// answered by an error at once; one that does not answer is waited for as long as
/// [`RedisOptions::response_timeout`] says, and asked only once: what it was asked may have happened.
///
/// # Fail-over
///
/// A connection may lead to the wrong server although it is open: to a master that has become a replica (`READONLY`), that
/// is loading, or that asks for a password. After an error reply of that kind, and after silence for the whole time-out,
/// all connections are replaced, at most once every two seconds. The address is resolved anew for each. The question that
/// was answered by the error fails; later ones go to the new server. An attempt to connect that fails is repeated by the next
/// question, at most ten times a second.
///
/// # Batches
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
        let (connections, outbox) = (Connections::new(options.connections), Outbox::default());
        Ok(Self(Arc::new(Server { client, options, connections, outbox })))
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
        let ask = |mut connection| async move { command.query_async(&mut connection).await };
        self.within(ask, |answer| answer.as_ref().is_err_and(blames_connection)).await
    }

    /// Runs a script by its hash; a server that does not know it is taught it, and asked once more.
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

    /// Asks over the connection whose turn it is, once: what is not answered in time may have happened. An answer that
    /// blames its connection, and silence, renew the connections.
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
        let mut connection = connection.ok_or_else(|| StoreError::unavailable("there is no connection"))?;
        let made = timeout_at(until, connection.made()).await.map_err(|_| StoreError::timed_out())?;
        let made = made.map_err(|error| fault(&error))?;

        let (asked, answers) = (Instant::now(), connection.answers());
        let Ok(answer) = timeout_at(until, ask(made)).await else {
            // Nothing came while this was waited for, and not for want of time.
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

/// The timer and the connections need a runtime.
fn check_runtime() -> Result<(), StoreError> {
    let runtime = tokio::runtime::Handle::try_current();
    runtime.map(drop).map_err(|_| StoreError::unavailable("Redis is asked from outside a tokio runtime"))
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
