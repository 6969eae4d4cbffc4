//! Limits on requests in flight over one Redis: several processes, some of which are killed or stopped.
#![cfg(all(feature = "axum", feature = "memory", feature = "redis"))]

mod monitor;
mod node;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tollgate::gate::Admission;
use tollgate::guard::Resilient;
use tollgate::limit::{LocalFallback, LocalShare, RedisLimiter};
use tollgate::redis::RedisServer;
use tollgate::{Gate, RateLimiter, RequestView};

use crate::services::redis::Redis;
use monitor::Monitor;
use node::{KEY, LIFETIME, Node, gate, send};

/// The time that a busy machine may take for a call or two.
const SLACK: Duration = Duration::from_secs(1);

/// Returns the number of slots that the server counts.
fn slots(redis: &Redis) -> usize {
    redis.say(&["ZCARD", "acme:{a:acme}:limit:slots"]).trim_start_matches(':').parse().unwrap()
}

/// Waits until a condition holds, and returns the time that passed.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        sleep(Duration::from_millis(10)).await;
    }
    start.elapsed()
}

/// Sends requests that never end until one is refused, and returns those that are served.
async fn fill(node: &Node) -> Vec<TcpStream> {
    let mut served = Vec::new();
    loop {
        match send(node.address, "/endless").await {
            (Some(connection), Some(200)) => served.push(connection),
            (_, Some(429)) => return served,
            (_, status) => panic!("{status:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_node_frees_its_slots() {
    let Some(redis) = Redis::start() else { return };
    let monitor = Monitor::start();
    let (mut doomed, other) =
        (Node::start(&redis, &monitor, 8).await, Node::start(&redis, &monitor, 8).await);
    let clients = fill(&doomed).await;
    assert_eq!((clients.len(), fill(&other).await.len(), slots(&redis)), (8, 0, 8));
    // The slots have been renewed when the node is killed.
    sleep(LIFETIME).await;
    assert_eq!((fill(&other).await.len(), monitor.now()), (0, 8));
    doomed.kill().await;
    let (killed, mut served) = (Instant::now(), Vec::new());
    while served.len() < 8 {
        served.extend(fill(&other).await);
        assert!(slots(&redis) <= 8);
        let passed = killed.elapsed();
        assert!(passed < LIFETIME + SLACK, "{} of 8 slots are free after {passed:?}", served.len());
        sleep(Duration::from_millis(10)).await;
    }
    eprintln!("the slots of the killed node were free after {:.1?}", killed.elapsed());
    assert_eq!((fill(&other).await.len(), monitor.now(), monitor.most()), (0, 8, 8));
    drop((clients, served));
    until("all slots are free", async || slots(&redis) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_request_renews_its_slot() {
    let Some(redis) = Redis::start() else { return };
    let monitor = Monitor::start();
    let (node, other) = (Node::start(&redis, &monitor, 1).await, Node::start(&redis, &monitor, 1).await);
    let clients = fill(&node).await;
    let start = Instant::now();
    while start.elapsed() < LIFETIME * 3 {
        assert_eq!(fill(&other).await.len(), 0, "after {:?}", start.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
    drop(clients);
    let mut served = Vec::new();
    let freed = until("the slot is free", async || {
        served.extend(fill(&other).await);
        served.len() == 1
    })
    .await;
    assert!(freed < LIFETIME, "the release frees the slot, and not its lifetime: {freed:?}");
    assert_eq!(monitor.most(), 1);
}

/// A node that is stopped loses its slots. When it goes on, its requests count again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_node_counts_its_requests_again() {
    let Some(redis) = Redis::start() else { return };
    let monitor = Monitor::start();
    let (node, other) = (Node::start(&redis, &monitor, 2).await, Node::start(&redis, &monitor, 2).await);
    let clients = fill(&node).await;
    node.signal("STOP").await;
    let mut served = Vec::new();
    until("the slots of the stopped node are free", async || {
        served.extend(fill(&other).await);
        served.len() == 2
    })
    .await;
    node.signal("CONT").await;
    let back = until("all requests are counted", async || slots(&redis) == 4).await;
    assert!(back < LIFETIME + SLACK, "{back:?}");
    // Above the limit, nobody is served.
    served.clear();
    until("two requests have ended", async || slots(&redis) == 2).await;
    assert_eq!(fill(&other).await.len(), 0);
    drop(clients);
    until("all requests have ended", async || slots(&redis) == 0).await;
    assert_eq!(fill(&other).await.len(), 2);
}

const PATHS: [&str; 5] = ["/busy", "/panics", "/short", "/endless", "/hangs"];

/// Sends requests to the nodes in turn for a while, and returns the statuses. Some clients leave.
async fn client(nodes: Arc<[tokio::sync::RwLock<Node>]>, number: usize) -> Vec<u16> {
    let (start, mut statuses) = (Instant::now(), Vec::new());
    for turn in 0.. {
        if start.elapsed() > Duration::from_secs(3) {
            break;
        }
        let path = PATHS[(number + turn) % PATHS.len()];
        let address = nodes[(number / 5 + turn) % nodes.len()].read().await.address;
        if path == "/hangs" || (number + turn).is_multiple_of(7) {
            let _ = tokio::time::timeout(Duration::from_millis(50), send(address, path)).await;
            continue;
        }
        // A node that was killed closes the connection.
        let (connection, status) = send(address, path).await;
        statuses.extend(status);
        if status != Some(200) {
            sleep(Duration::from_millis(100)).await;
        }
        if let Some(connection) = connection.filter(|_| path != "/endless") {
            node::read_to_end(connection).await;
        }
    }
    statuses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_nodes_exceed_and_leak_nothing() {
    let Some(redis) = Redis::start() else { return };
    let monitor = Monitor::start();
    let mut nodes = Vec::new();
    for _ in 0..4 {
        nodes.push(tokio::sync::RwLock::new(Node::start(&redis, &monitor, 8).await));
    }
    let nodes: Arc<[_]> = nodes.into();
    let (done, mut clients) = (AtomicBool::new(false), JoinSet::new());
    for number in 0..200 {
        clients.spawn(client(Arc::clone(&nodes), number));
    }
    let answered = async {
        let mut statuses = Vec::new();
        while let Some(client) = clients.join_next().await {
            statuses.extend(client.unwrap());
        }
        done.store(true, Ordering::SeqCst);
        statuses
    };
    let killing = async {
        let mut killed = 0;
        while !done.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(300)).await;
            let next = Node::start(&redis, &monitor, 8).await;
            let mut node = std::mem::replace(&mut *nodes[killed % 4].write().await, next);
            node.kill().await;
            killed += 1;
        }
        killed
    };
    let (statuses, killed) = tokio::join!(answered, killing);
    let count = |status| statuses.iter().filter(|one| **one == status).count();
    eprintln!(
        "{} served, {} refused, {killed} nodes killed, at most {} at once",
        count(200),
        count(429),
        monitor.most()
    );
    assert!(count(200) > 20 && count(429) > 20 && killed > 0);
    assert_eq!(count(200) + count(429), statuses.len(), "{statuses:?}");
    assert!(monitor.most() <= 8, "{} at once", monitor.most());
    let freed = until("all slots are free", async || slots(&redis) == 0).await;
    assert!(freed < LIFETIME + SLACK, "{freed:?}");
    assert_eq!(monitor.now(), 0, "no request is left");
    // A node that remembers a slot of a request that has ended would bring it back.
    sleep(LIFETIME).await;
    assert_eq!(slots(&redis), 0);
    assert_eq!(fill(&*nodes[0].read().await).await.len(), 8);
}

type Limiter = LocalFallback<Resilient<RedisLimiter>>;

async fn admit(gate: &Gate) -> Option<Admission> {
    let request = Request::get("/").header("X-API-Key", KEY).body(()).unwrap();
    gate.admit(&RequestView::of(&request)).await.ok()
}

/// Admits requests until one is denied.
async fn admit_all(gate: &Gate) -> Vec<Admission> {
    let mut admitted = Vec::new();
    while let Some(admission) = admit(gate).await {
        admitted.push(admission);
    }
    admitted
}

/// Four nodes share eight slots. While Redis is dead, each has two. A slot is released to the limiter that gave it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fallback_uses_the_share() {
    let Some(mut redis) = Redis::start() else { return };
    let node = || {
        let limiter = RedisLimiter::new(RedisServer::open(&redis.url(), "acme").unwrap());
        let shared = Resilient::new(limiter.with_slot_lifetime(LIFETIME).unwrap());
        let limiter: Arc<Limiter> =
            Arc::new(LocalFallback::new(shared, LocalShare::new(NonZeroU32::new(4).unwrap())));
        (gate(Arc::clone(&limiter), 8), limiter)
    };
    let nodes: [(Gate, Arc<Limiter>); 4] = std::array::from_fn(|_| node());
    let mut shared = Vec::new();
    for (gate, _) in &nodes[..3] {
        shared.extend(admit(gate).await);
    }
    assert_eq!((shared.len(), slots(&redis)), (3, 3));
    tokio::task::block_in_place(|| redis.kill());
    let mut local = Vec::new();
    for (gate, _) in &nodes {
        let mut admitted = admit_all(gate).await;
        assert_eq!(admitted.len(), 2);
        admitted.pop();
        admitted.extend(admit_all(gate).await);
        assert_eq!(admitted.len(), 2, "the slot was released to the share");
        local.extend(admitted);
    }
    // The release of one of the server's slots fails, and does not free one of the share.
    shared.pop();
    sleep(Duration::from_millis(50)).await;
    assert!(admit(&nodes[2].0).await.is_none());
    tokio::task::block_in_place(|| redis.restart());
    until("the two slots are back", async || slots(&redis) == 2).await;
    for (gate, limiter) in &nodes {
        until("the node asks the server again", async || {
            drop(admit(gate).await);
            !limiter.is_failing()
        })
        .await;
    }
    until("the slots of the trials are free", async || slots(&redis) == 2).await;
    for (gate, _) in &nodes {
        shared.extend(admit_all(gate).await);
    }
    assert_eq!((shared.len(), slots(&redis)), (8, 8), "the slots of the shares are not among them");
    drop(local);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(slots(&redis), 8);
    drop(shared);
    until("all slots are free", async || slots(&redis) == 0).await;
}
