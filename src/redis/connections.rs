//! The connections to one server, and their replacement.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, PushInfo, PushKind, RedisError, RedisResult};
use tokio::sync::watch;

use super::node::{Access, Target};

/// The pause after the first failed attempt to connect. Each further failure doubles it, unless the server refused the
/// connection at once, which costs little.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The minimum time between two renewals of all connections.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(2);

/// A set of connections that share the requests. Each is opened when it is first needed.
///
/// A failed attempt fails the requests that wait for it, and those of the pause that follows. The next request starts
/// another attempt. An answer may show that a connection leads to the wrong server, and silence that it leads to none.
/// Then all connections are renewed.
pub(super) struct Connections {
    places: Box<[Mutex<Place>]>,
    /// The place that the next request uses.
    turn: AtomicUsize,
    /// The current generation. Connections of an earlier generation are not used.
    generation: AtomicU64,
    renewed: Mutex<Option<Instant>>,
}

/// The place of one connection.
#[derive(Default)]
struct Place {
    connection: Option<Connection>,
    /// The number of attempts that failed one after the other.
    failures: u32,
    /// The end of the pause after the last failure.
    paused_until: Option<Instant>,
}

/// A connection, or the attempt to open it.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) generation: u64,
    state: Arc<State>,
    made: watch::Receiver<Option<Made>>,
}

/// The result of an attempt, and its end.
struct Made {
    result: RedisResult<MultiplexedConnection>,
    at: Instant,
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
    pub(super) fn next(&self, access: &Arc<Access>, target: &Target) -> Option<Connection> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let place = self.places.get(turn % self.places.len())?;
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation();
        if let Some(connection) = &place.connection
            && connection.generation == generation
        {
            if !connection.is_over() {
                return Some(connection.clone());
            }
            if let Some(failed) = place.pause() {
                return Some(failed);
            }
        }
        let connection = Connection::begin(Arc::clone(access), target.clone(), generation);
        place.paused_until = None;
        Some(place.connection.insert(connection).clone())
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

impl Place {
    /// Returns the connection that failed, if the pause after its failure has not ended.
    fn pause(&mut self) -> Option<Connection> {
        let connection = self.connection.as_ref()?;
        let until = match self.paused_until {
            Some(until) => until,
            // A connection that worked and was lost is opened again at once.
            None if connection.answers() > 0 => {
                self.failures = 0;
                return None;
            }
            None => {
                let made = connection.made.borrow();
                let made = made.as_ref()?;
                let is_refused = made.result.as_ref().is_err_and(RedisError::is_connection_refusal);
                let doubled = if is_refused { 0 } else { self.failures };
                let pause = (FIRST_PAUSE * 2_u32.saturating_pow(doubled)).min(LONGEST_PAUSE);
                self.failures = self.failures.saturating_add(1).min(16);
                // A random part: the nodes of a fleet must not all connect at the same instant.
                let random = u32::try_from(crate::amount::random() % 512).unwrap_or_default();
                *self.paused_until.insert(made.at + pause.mul_f64(f64::from(512 + random) / 1024.0))
            }
        };
        (Instant::now() < until).then(|| connection.clone())
    }
}

impl Connection {
    fn begin(access: Arc<Access>, target: Target, generation: u64) -> Self {
        let (sender, made) = watch::channel(None);
        let state = Arc::<State>::default();
        let closing = Arc::clone(&state);
        // A separate task: a caller may have a shorter time limit than the attempt.
        tokio::spawn(async move {
            let result = connect(&access, &target, closing).await;
            sender.send_replace(Some(Made { result, at: Instant::now() }));
        });
        Self { generation, state, made }
    }

    /// Waits until the connection is open.
    pub(super) async fn made(&mut self) -> RedisResult<MultiplexedConnection> {
        match self.made.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Made { result: Ok(_), .. })) if self.state.closed.load(Ordering::Relaxed) => {
                Err(RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset)))
            }
            Ok(Some(made)) => made.result.clone(),
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
            Some(made) => made.result.is_err(),
            // The attempt ended without a result: its runtime is gone.
            None => self.made.has_changed().is_err(),
        };
        failed || self.state.closed.load(Ordering::Relaxed)
    }
}

async fn connect(
    access: &Arc<Access>,
    target: &Target,
    state: Arc<State>,
) -> RedisResult<MultiplexedConnection> {
    let watch = move |push: PushInfo| {
        if push.kind == PushKind::Disconnection {
            state.closed.store(true, Ordering::Relaxed);
        }
        Ok::<_, std::convert::Infallible>(())
    };
    let config = AsyncConnectionConfig::new()
        // The caller applies one time limit to the whole request.
        .set_response_timeout(None)
        .set_pipeline_buffer_size(1024)
        .set_push_sender(watch);
    let limit = access.options.connect_timeout;
    let opened = tokio::time::timeout(limit, async {
        let (mut connection, _) = access.open(target, config).await?;
        if let Some(authority) = access.authority_of_connection() {
            bind(&mut connection, &access.name("authority"), authority).await?;
        }
        Ok(connection)
    });
    opened.await.unwrap_or_else(|_| Err(timed_out()))
}

pub(super) fn timed_out() -> RedisError {
    RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))
}

/// Binds a prefix to an authority, unless it is bound to another.
async fn bind(connection: &mut MultiplexedConnection, name: &str, authority: &str) -> RedisResult<()> {
    let mut asked = redis::pipe();
    asked.cmd("SET").arg(name).arg(authority).arg("NX").ignore().cmd("GET").arg(name);
    let (bound,): (String,) = asked.query_async(connection).await?;
    check_bound(&bound, name, authority)
}

pub(super) fn check_bound(bound: &str, name: &str, authority: &str) -> RedisResult<()> {
    if bound == authority {
        return Ok(());
    }
    let problem = "the prefix is bound to another authority; give each service a prefix of its own";
    Err(RedisError::from((ErrorKind::InvalidClientConfig, problem, name.to_owned())))
}
