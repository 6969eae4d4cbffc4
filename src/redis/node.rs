//! One server: its connections, and the requests to it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, Script, ServerErrorKind,
    Value,
};
use tokio::time::{Instant, timeout, timeout_at};

use super::RedisOptions;
use super::address::{Address, Endpoint, Layout};
use super::connections::{Connections, timed_out};
use super::fault::blames_connection;
use super::outbox::Outbox;

/// The way to connect to the servers, which all nodes share.
pub(super) struct Access {
    pub(super) address: Address,
    pub(super) options: RedisOptions,
}

/// The server that a node connects to.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// The server at an endpoint.
    Fixed(Endpoint),
    /// The master that the sentinels name.
    Master(Arc<Mutex<Option<Endpoint>>>),
}

/// One server.
pub(super) struct Node {
    pub(super) access: Arc<Access>,
    pub(super) target: Target,
    connections: Connections,
    pub(super) outbox: Outbox,
    /// The time at which the sentinels were last asked if the master is another one.
    followed: Mutex<Option<Instant>>,
}

/// The time between two questions to the sentinels while there are requests. A master that lives may have been replaced.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(2);

/// A call of a script by its hash.
#[derive(Clone, Copy)]
pub(super) struct ScriptCall<'a> {
    pub(super) script: &'a Script,
    pub(super) keys: &'a [String],
    pub(super) arguments: &'a [String],
}

impl Access {
    /// Returns the name of something that belongs to the whole service.
    pub(super) fn name(&self, rest: &str) -> String {
        format!("{}:{rest}", self.options.prefix)
    }

    /// Returns the authority to which each connection binds the prefix. In a cluster, the name is in one slot, and is
    /// bound when the slots are read.
    pub(super) fn authority_of_connection(&self) -> Option<&str> {
        match self.address.layout {
            Layout::Cluster => None,
            Layout::One | Layout::Sentinel { .. } => self.options.authority.as_deref(),
        }
    }

    /// Opens a connection, without a time limit. Returns it with the endpoint that it leads to.
    pub(super) async fn open(
        self: &Arc<Self>,
        target: &Target,
        config: AsyncConnectionConfig,
    ) -> RedisResult<(MultiplexedConnection, Endpoint)> {
        let login = &self.address.login;
        match target {
            Target::Fixed(endpoint) => {
                Ok((self.address.open(endpoint, login, config).await?, endpoint.clone()))
            }
            Target::Master(known) => {
                let endpoint = self.master().await?;
                let mut connection = self.address.open(&endpoint, login, config).await?;
                super::sentinel::check_master(&mut connection).await?;
                *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(endpoint.clone());
                Ok((connection, endpoint))
            }
        }
    }
}

impl Target {
    /// Returns the endpoint to which the last connection was opened.
    pub(super) fn endpoint(&self) -> Option<Endpoint> {
        match self {
            Self::Fixed(endpoint) => Some(endpoint.clone()),
            Self::Master(known) => known.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Node {
    pub(super) fn new(access: Arc<Access>, target: Target) -> Arc<Self> {
        let connections = Connections::new(access.options.connections);
        Arc::new(Self { access, target, connections, outbox: Outbox::default(), followed: Mutex::default() })
    }

    /// Asks the sentinels for the master, if they were not asked for some time. If it is another one, all connections are
    /// renewed. Needs a runtime.
    pub(super) fn follow(self: &Arc<Self>) {
        let Target::Master(_) = self.target else { return };
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if followed.is_some_and(|at| at.elapsed() < BETWEEN_QUESTIONS) {
            return;
        }
        *followed = Some(Instant::now());
        let node = Arc::clone(self);
        tokio::spawn(async move {
            let generation = node.connections.generation();
            let master = timeout(node.access.options.connect_timeout, node.access.master()).await;
            if let (Ok(Ok(master)), Some(known)) = (master, node.target.endpoint())
                && master != known
            {
                node.connections.renew(generation);
            }
        });
    }

    fn response_timeout(&self) -> Duration {
        self.access.options.response_timeout
    }

    /// Returns true for an error that another connection may not return. A node of a cluster that does not serve a slot is
    /// the right server for others.
    fn blames_connection(&self, error: &RedisError) -> bool {
        let is_redirection = matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::TryAgain)
        );
        blames_connection(error) && !(is_redirection && matches!(self.access.address.layout, Layout::Cluster))
    }

    /// Returns true for such an error in the answer of a batch. An unknown script is no such error: the script is loaded
    /// and called again.
    fn value_blames_connection(&self, value: &Value) -> bool {
        let Value::ServerError(error) = value else { return false };
        error.kind() != Some(ServerErrorKind::NoScript) && self.blames_connection(&error.clone().into())
    }

    /// Sends one command.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let ask = |mut connection| async move { command.query_async(&mut connection).await };
        self.within(ask, |answer| answer.as_ref().is_err_and(|error| self.blames_connection(error))).await
    }

    /// Sends one command whose slot is about to move to this node of a cluster.
    pub(super) async fn ask_for_moving(&self, command: &Cmd) -> RedisResult<Value> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").ignore().add_command(command.clone());
        let pipeline = &pipeline;
        let ask = |mut connection: MultiplexedConnection| async move {
            connection.send_packed_commands(pipeline, 1, 1).await
        };
        let mut values = self.within(ask, Result::is_err).await?;
        values.pop().unwrap_or(Value::Nil).extract_error()
    }

    /// Runs a script. All connections are renewed after an answer of the wrong type, which may belong to another request.
    pub(super) async fn run<T: FromRedisValue>(
        self: &Arc<Self>,
        call: ScriptCall<'_>,
        is_moving: bool,
    ) -> RedisResult<T> {
        let generation = self.connections.generation();
        let value = self.call(call, is_moving).await?;
        let answer = T::from_redis_value(value).map_err(RedisError::from);
        answer.inspect_err(|_| self.connections.renew(generation))
    }

    /// Calls a script by its hash. If the server does not know the script, it is loaded and called once more.
    async fn call(self: &Arc<Self>, call: ScriptCall<'_>, is_moving: bool) -> RedisResult<Value> {
        let send = || async {
            let command = call.command();
            if is_moving {
                self.ask_for_moving(&command).await
            } else {
                self.sent(command).await?.extract_error()
            }
        };
        match send().await {
            Err(error) if error.kind() == ServerErrorKind::NoScript.into() => {}
            answer => return answer,
        }
        let load = |mut connection| async move { call.script.load_async(&mut connection).await };
        self.within(load, |answer| answer.as_ref().is_err_and(|error| self.blames_connection(error))).await?;
        send().await
    }

    /// Sends commands in one write. An error reply is an answer.
    pub(super) async fn send_all(&self, pipeline: &redis::Pipeline, count: usize) -> RedisResult<Vec<Value>> {
        let ask = |mut connection: MultiplexedConnection| async move {
            connection.send_packed_commands(pipeline, 0, count).await
        };
        let blames = |answer: &RedisResult<Vec<Value>>| match answer {
            Ok(values) => values.iter().any(|value| self.value_blames_connection(value)),
            Err(error) => self.blames_connection(error),
        };
        self.within(ask, blames).await
    }

    /// Sends a request once over the connection whose turn it is. A request that is not answered in time may have been
    /// executed, so it is not repeated. All connections are renewed after silence, and after an answer for which
    /// `blames_connection` returns true.
    async fn within<T, F>(
        &self,
        ask: impl FnOnce(MultiplexedConnection) -> F,
        blames_connection: impl FnOnce(&RedisResult<T>) -> bool,
    ) -> RedisResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (connections, time) = (&self.connections, self.response_timeout());
        let until = Instant::now() + time;
        let mut connection = connections.next(&self.access, &self.target).ok_or_else(timed_out)?;
        let made = timeout_at(until, connection.made()).await.map_err(|_| timed_out())??;

        let (asked, answers) = (Instant::now(), connection.answers());
        let Ok(answer) = timeout_at(until, ask(made)).await else {
            // The connection answered no request meanwhile, and this request had at least half of the time limit.
            if connection.answers() == answers && asked.elapsed() >= time / 2 {
                connections.renew(connection.generation);
            }
            return Err(timed_out());
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
        answer
    }
}

impl ScriptCall<'_> {
    fn command(&self) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.script.get_hash()).arg(self.keys.len()).arg(self.keys).arg(self.arguments);
        command
    }
}
