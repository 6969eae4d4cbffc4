//! The processes of nodes: each is this test program again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::time::sleep;
use tollgate::account::{InFlightLimit, QuotaScope};
use tollgate::key::KeyHasher;
use tollgate::limit::RedisLimiter;
use tollgate::redis::{RedisOptions, RedisServer};
use tollgate::{Account, Gate, KeyId, KeyRecord, KeySource, MemoryStore, Plan, RateLimiter, TollgateLayer};

use super::monitor::Monitor;
use crate::services::redis::Redis;

pub(super) const KEY: &str = "demo";

/// The lifetime of a slot.
pub(super) const LIFETIME: Duration = Duration::from_secs(1);

/// The variable that holds the Redis URL, the path of the monitor and the limit, for a process that is a node.
const NODE: &str = "TOLLGATE_TEST_SLOT_NODE";

/// A gate with one key, whose account may have so many requests in flight.
pub(super) fn gate(limiter: impl RateLimiter, most: u32) -> Gate {
    let store = MemoryStore::new();
    let account = Arc::new(Account::new("acme", "limited"));
    store.put_account(Account::clone(&account));
    store.put_key(KeyRecord::new(
        KeyId::from_bytes([7; 16]),
        KeyHasher::sha256().hash(KEY.as_bytes()),
        account,
    ));
    let mut plan = Plan::new("limited");
    plan.in_flight = Some(InFlightLimit::new(most).unwrap().counting(QuotaScope::Account));
    let builder = Gate::builder().source(KeySource::header("X-API-Key").unwrap()).literal(KEY);
    builder.plan(plan).store(store).limiter(limiter).build().unwrap()
}

/// A request that a node works on, until it is dropped. The monitor counts it.
struct Working(#[expect(dead_code, reason = "it is open as long as the request is worked on")] UnixStream);

impl Working {
    async fn on(monitor: &PathBuf) -> Self {
        let mut connection = UnixStream::connect(monitor).await.unwrap();
        let _counted = connection.read_u8().await.unwrap();
        Self(connection)
    }

    /// A body that never ends.
    fn endless(self) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
        stream::unfold(self, async |working| {
            sleep(Duration::from_millis(20)).await;
            Some((Ok(Bytes::from_static(b"data")), working))
        })
    }

    /// A body of a few chunks.
    fn short(self) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
        stream::unfold((0, self), async |(count, working)| {
            sleep(Duration::from_millis(2)).await;
            // At the end, this drops the work before the body's end is told.
            (count < 3).then_some((Ok(Bytes::from_static(b"data")), (count + 1, working)))
        })
    }
}

fn panic_quietly() -> &'static str {
    std::panic::resume_unwind(Box::new("it panics, as asked for"))
}

/// One node: not a test, but what the tests start as processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run() {
    let Ok(settings) = std::env::var(NODE) else { return };
    let settings: Vec<_> = settings.split(' ').collect();
    let mut options = RedisOptions::new("acme");
    options.response_timeout = Duration::from_secs(5);
    let limiter = RedisLimiter::new(RedisServer::with_options(settings[0], options).unwrap());
    let gate = gate(limiter.with_slot_lifetime(LIFETIME).unwrap(), settings[2].parse().unwrap());
    let monitor = PathBuf::from(settings[1]);
    let (busy, panics, short, endless, hangs) =
        (monitor.clone(), monitor.clone(), monitor.clone(), monitor.clone(), monitor);
    let app = Router::new()
        .route(
            "/busy",
            get(async move || {
                let _working = Working::on(&busy).await;
                sleep(Duration::from_millis(5)).await;
            }),
        )
        .route(
            "/panics",
            get(async move || {
                let _working = Working::on(&panics).await;
                sleep(Duration::from_millis(5)).await;
                panic_quietly()
            }),
        )
        .route("/short", get(async move || Body::from_stream(Working::on(&short).await.short())))
        .route("/endless", get(async move || Body::from_stream(Working::on(&endless).await.endless())))
        .route(
            "/hangs",
            get(async move || {
                let _working = Working::on(&hangs).await;
                std::future::pending::<()>().await;
            }),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("\nlistening {}", listener.local_addr().unwrap());
    let app = TollgateLayer::new(gate).around(app);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await.unwrap();
}

/// A running node. It is killed when the value is dropped.
pub(super) struct Node {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Node {
    pub(super) async fn start(redis: &Redis, monitor: &Monitor, most: u32) -> Self {
        let settings = format!("{} {} {most}", redis.url(), monitor.path().display());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["in_flight::node::run", "--exact", "--nocapture"]).env(NODE, settings);
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        loop {
            let line = lines.next_line().await.unwrap().expect("the node ended at its start");
            if let Some(address) = line.strip_prefix("listening ") {
                return Self { child, address: address.parse().unwrap() };
            }
        }
    }

    /// Kills the node.
    pub(super) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends a signal, such as `STOP`.
    pub(super) async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([format!("-{name}"), id]).status().await.unwrap().success());
    }
}

/// Sends a request over a connection of its own, and reads the status if there is a response.
pub(super) async fn send(address: SocketAddr, path: &str) -> (Option<TcpStream>, Option<u16>) {
    let Ok(mut connection) = TcpStream::connect(address).await else { return (None, None) };
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n\r\n");
    let mut start = [0; 12];
    if connection.write_all(head.as_bytes()).await.is_err()
        || connection.read_exact(&mut start).await.is_err()
    {
        return (None, None);
    }
    let status = String::from_utf8_lossy(&start[9..]).parse().unwrap();
    (Some(connection), Some(status))
}

/// Reads the response until the node closes the connection.
pub(super) async fn read_to_end(mut connection: TcpStream) {
    let mut rest = [0; 4096];
    connection.shutdown().await.ok();
    while connection.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}
