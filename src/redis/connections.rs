//! The connections to one server, and their replacement.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, PushInfo, PushKind, RedisError, RedisResult};
use tokio::sync::watch;

use super::RedisServer;

/// The minimum time between two attempts to connect in one place, unless the connection was refused.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);

/// The minimum time between two renewals of all connections.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(2);

/// A set of connections that share the requests. Each is opened when it is first needed.
///
/// A failed attempt fails the requests that wait for it, and is then discarded: the next request starts another
/// attempt. An answer may show that a connection leads to the wrong server, and silence that it leads to none. Then all
/// connections are renewed.
pub(super) struct Connections {
    places: Box<[Mutex<Option<Connection>>]>,
    /// The place that the next request uses.
    turn: AtomicUsize,
    /// The current generation. Connections of an earlier generation are not used.
    generation: AtomicU64,
    renewed: Mutex<Option<Instant>>,
}

/// A connection, or the attempt to open it.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) generation: u64,
    began: Instant,
    state: Arc<State>,
    made: watch::Receiver<Option<RedisResult<MultiplexedConnection>>>,
}

#[derive(Default)]
struct State {
    closed: AtomicBool,
    /// The number of requests that were answered.
    answers: AtomicU64,
}

impl Connections {
    pub(super) fn new(count: usize) -> Self {
        let places = (0..count).map(|_| Mutex::default()).collect();
        Self { places, turn: AtomicUsize::new(0), generation: AtomicU64::new(0), renewed: Mutex::default() }
    }

    /// Returns the connection whose turn it is. Opens a new one if it can no longer be used. Needs a runtime.
    pub(super) fn next(&self, server: &RedisServer) -> Option<Connection> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let place = self.places.get(turn % self.places.len())?;
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation();
        let pause = match &*place {
            Some(connection) if connection.generation == generation && !connection.is_over() => {
                return Some(connection.clone());
            }
            Some(connection) if !connection.was_refused() => {
                BETWEEN_ATTEMPTS.saturating_sub(connection.began.elapsed())
            }
            _ => Duration::ZERO,
        };
        Some(place.insert(Connection::begin(server.clone(), generation, pause)).clone())
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Renews all connections of this generation, unless they were renewed a moment ago.
    pub(super) fn renew(&self, generation: u64) {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = self.generation() == generation;
        if is_current && renewed.is_none_or(|at| at.elapsed() >= BETWEEN_RENEWALS) {
            self.generation.fetch_add(1, Ordering::AcqRel);
            *renewed = Some(Instant::now());
        }
    }
}

impl Connection {
    fn begin(server: RedisServer, generation: u64, pause: Duration) -> Self {
        let (sender, made) = watch::channel(None);
        let state = Arc::<State>::default();
        let closing = Arc::clone(&state);
        // A separate task: a caller may have a shorter time limit than the attempt.
        tokio::spawn(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            sender.send_replace(Some(connect(&server, closing).await));
        });
        Self { generation, began: Instant::now(), state, made }
    }

    /// Waits until the connection is open.
    pub(super) async fn made(&mut self) -> RedisResult<MultiplexedConnection> {
        match self.made.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(made)) => made.clone(),
            _ => Err(RedisError::from((
                ErrorKind::Io,
                "the connection attempt was cancelled because its runtime ended",
            ))),
        }
    }

    /// Returns the number of requests that the connection has answered.
    pub(super) fn answers(&self) -> u64 {
        self.state.answers.load(Ordering::Relaxed)
    }

    pub(super) fn answered(&self) {
        self.state.answers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn close(&self) {
        self.state.closed.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        let failed = match &*self.made.borrow() {
            Some(made) => made.is_err(),
            // The attempt ended without a result: its runtime is gone.
            None => self.made.has_changed().is_err(),
        };
        failed || self.state.closed.load(Ordering::Relaxed)
    }

    fn was_refused(&self) -> bool {
        matches!(&*self.made.borrow(), Some(Err(error)) if error.is_connection_refusal())
    }
}

async fn connect(server: &RedisServer, state: Arc<State>) -> RedisResult<MultiplexedConnection> {
    let watch = move |push: PushInfo| {
        if push.kind == PushKind::Disconnection {
            state.closed.store(true, Ordering::Relaxed);
        }
        Ok::<_, std::convert::Infallible>(())
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(server.options().connect_timeout))
        // The caller applies one time limit to the whole request.
        .set_response_timeout(None)
        .set_pipeline_buffer_size(1024)
        .set_push_sender(watch);
    let mut connection = server.client().get_multiplexed_async_connection_with_config(&config).await?;
    if let Some(authority) = &server.options().authority {
        let (time, name) = (server.options().connect_timeout, server.name("authority"));
        let bound = tokio::time::timeout(time, bind(&mut connection, &name, authority)).await;
        bound.map_err(|_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)))??;
    }
    Ok(connection)
}

/// Binds a prefix to an authority, unless it is bound to another.
async fn bind(connection: &mut MultiplexedConnection, name: &str, authority: &str) -> RedisResult<()> {
    let mut asked = redis::pipe();
    asked.cmd("SET").arg(name).arg(authority).arg("NX").ignore().cmd("GET").arg(name);
    let (bound,): (String,) = asked.query_async(connection).await?;
    if bound == authority {
        return Ok(());
    }
    let problem = "the prefix is bound to another authority; give each service a prefix of its own";
    Err(RedisError::from((ErrorKind::InvalidClientConfig, problem, name.to_owned())))
}
