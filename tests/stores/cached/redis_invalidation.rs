//! Changes told over a real Redis, which may lose messages, hang and die.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tollgate::key::KeyStatus;
use tollgate::redis::RedisServer;
use tollgate::store::{CachedStore, ChannelState, KeyAdmin, RedisInvalidationBus, RedisRecords, Replaced};
use tollgate::{KeyRecord, KeyStore};

use crate::cached::remote::{Remote, hash};
use crate::cached::{set_status, status_of, until};
use crate::services::redis::Redis;

const BOUND: Duration = Duration::from_secs(3);
const UNANNOUNCED: Duration = Duration::from_millis(500);

/// By how much two machines may count differently.
const ROUNDING: Duration = Duration::from_millis(20);

type Node = CachedStore<Arc<Remote>>;

async fn node(remote: &Arc<Remote>, redis: &Redis) -> Node {
    let server = RedisServer::open(&redis.url(), "acme").unwrap();
    let builder = CachedStore::builder(Arc::clone(remote)).stale_for_at_most(BOUND).jitter(0);
    let builder = builder.unannounced_for_at_most(UNANNOUNCED).second_tier(RedisRecords::new(server.clone()));
    let node = builder.invalidation_bus(RedisInvalidationBus::new(server)).build().unwrap();
    until(|| node.health().channel_state == ChannelState::Open).await;
    node
}

/// After what time a node was last asked in vain whether a key is revoked. However slow the machine, that is no later than
/// the node's own bound.
async fn revoked(node: &Node, hash: &tollgate::key::KeyHash) -> Duration {
    let (since, mut in_vain) = (Instant::now(), Duration::ZERO);
    loop {
        let asked = since.elapsed();
        if status_of(node, hash).await == Some(KeyStatus::Revoked) {
            return in_vain;
        }
        in_vain = asked;
        assert!(in_vain < 2 * BOUND, "never seen");
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_reaches_nodes_in_milliseconds() {
    let Some(redis) = Redis::start() else { return };
    let remote = Remote::new();
    let (one, other) = (node(&remote, &redis).await, node(&remote, &redis).await);
    let mut times = Vec::new();
    for round in 0..300_u32 {
        let (id, hash) = remote.key(u8::try_from(round % 250).unwrap());
        set_status(&one, id, KeyStatus::Active).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(status_of(&other, &hash).await, Some(KeyStatus::Active));
        let asked = Instant::now();
        set_status(&one, id, KeyStatus::Revoked).await;
        let call = asked.elapsed();
        times.push((revoked(&other, &hash).await, call));
        remote.store.erase(id).await.unwrap();
    }
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].0;
    let call = times.iter().map(|(_, call)| *call).sum::<Duration>() / 300;
    println!(
        "a revocation is seen elsewhere, after the call returned: p50 {:?}, p90 {:?}, p99 {:?}, most {:?}; the call: {call:?}",
        at(50),
        at(90),
        at(99),
        at(100)
    );
    assert!(at(50) < Duration::from_millis(50) && at(99) < UNANNOUNCED, "busy as the machine may be");
}

#[tokio::test]
async fn lost_message_is_detected() {
    let Some(redis) = Redis::start() else { return };
    let remote = Remote::new();
    let other = node(&remote, &redis).await;
    let (id, hash) = remote.key(1);
    status_of(&other, &hash).await;
    // Counted, and not told.
    remote.store.set_status(id, KeyStatus::Revoked);
    redis.say(&["DEL", "acme:{records}:x"]);
    redis.say(&[
        "EVAL",
        "for _, k in ipairs(redis.call('KEYS', 'acme:{records}:*')) do redis.call('DEL', k) end",
        "0",
    ]);
    assert_eq!(redis.say(&["INCR", "acme:{changes}:count"]), ":1");
    let seen = revoked(&other, &hash).await;
    assert!(seen < Duration::from_millis(1500), "{seen:?}");
    assert!(other.health().restarts == 1);
    until(|| other.health().channel_state == ChannelState::Open).await;

    // Neither counted nor told, as by a node that was killed after its change.
    let (id, hash) = remote.key(2);
    status_of(&other, &hash).await;
    remote.store.set_status(id, KeyStatus::Revoked);
    let seen = revoked(&other, &hash).await;
    assert!(seen <= BOUND + ROUNDING, "{seen:?}");
    println!("never told: seen after {seen:?}, the bound is {BOUND:?}");
}

#[tokio::test]
async fn nodes_reconnect_to_redis() {
    let Some(mut redis) = Redis::start() else { return };
    let remote = Remote::new();
    let (one, other) = (node(&remote, &redis).await, node(&remote, &redis).await);
    let (id, hash) = remote.key(1);
    status_of(&other, &hash).await;
    redis.kill();
    until(|| {
        other.health().channel_state == ChannelState::Lost && one.health().channel_state == ChannelState::Lost
    })
    .await;
    let mut record = KeyRecord::clone(&one.get(id).await.unwrap().unwrap());
    record.status = KeyStatus::Revoked;
    let asked = Instant::now();
    assert_eq!(one.replace(&record).await.unwrap(), Replaced::Unannounced);
    assert!(asked.elapsed() < Duration::from_millis(1500), "{:?}", asked.elapsed());
    assert_eq!(status_of(&one, &hash).await, Some(KeyStatus::Revoked));
    let seen = revoked(&other, &hash).await;
    assert!(seen <= UNANNOUNCED + ROUNDING, "{seen:?}");
    redis.restart();
    until(|| {
        other.health().channel_state == ChannelState::Open && one.health().channel_state == ChannelState::Open
    })
    .await;
    let (id, hash) = remote.key(2);
    status_of(&other, &hash).await;
    set_status(&one, id, KeyStatus::Revoked).await;
    assert!(revoked(&other, &hash).await < UNANNOUNCED);
}

#[tokio::test]
async fn hung_server_and_cut_connection_are_found() {
    let Some(redis) = Redis::start() else { return };
    let remote = Remote::new();
    let node = node(&remote, &redis).await;
    let (_, kept) = remote.key(1);
    node.find(&kept).await.unwrap();
    redis.pause();
    let since = Instant::now();
    until(|| node.health().channel_state == ChannelState::Lost).await;
    assert!(since.elapsed() < Duration::from_millis(2500), "{:?}", since.elapsed());
    assert!(node.health().is_degraded());
    // Nothing that the authority knows is refused for it.
    for number in 100..120 {
        assert!(node.find(&hash(number)).await.unwrap().is_none());
    }
    assert!(node.find(&kept).await.unwrap().is_some());
    redis.resume();
    until(|| node.health().channel_state == ChannelState::Open).await;

    let restarts = node.health().restarts;
    redis.say(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    until(|| node.health().restarts > restarts).await;
    until(|| node.health().channel_state == ChannelState::Open).await;
}

#[tokio::test]
async fn known_keys_serve_without_redis_and_sql() {
    let Some(mut redis) = Redis::start() else { return };
    let remote = Remote::new();
    let server = RedisServer::open(&redis.url(), "acme").unwrap();
    let past = Duration::from_secs(1);
    let builder =
        CachedStore::builder(Arc::clone(&remote)).stale_for_at_most(past).stale_if_error(past).jitter(0);
    let node = builder.invalidation_bus(RedisInvalidationBus::new(server)).build().unwrap();
    until(|| node.health().channel_state == ChannelState::Open).await;
    let (_, known) = remote.key(1);
    let since = Instant::now();
    node.find(&known).await.unwrap();
    let read = Instant::now();
    redis.kill();
    remote.down.store(true, Ordering::SeqCst);
    // However slow the machine: it is not an error before the time is over, and is one after it.
    loop {
        let asked = read.elapsed();
        if node.find(&known).await.is_err() {
            break;
        }
        assert!(asked <= 2 * past + ROUNDING, "{asked:?}");
        node.find(&hash(77)).await.unwrap_err();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(since.elapsed() >= 2 * past, "{:?}", since.elapsed());
    remote.down.store(false, Ordering::SeqCst);
    assert!(node.find(&known).await.unwrap().is_some());
}

/// A second tier is there for other nodes: without a channel they are not told.
#[tokio::test]
async fn second_tier_without_channel_is_warned_of() {
    let Some(redis) = Redis::start() else { return };
    let remote = Remote::new();
    let (id, _) = remote.key(1);
    let server = RedisServer::open(&redis.url(), "acme").unwrap();
    let store = CachedStore::builder(remote).second_tier(RedisRecords::new(server)).build().unwrap();
    let mut revoked = KeyRecord::clone(&store.get(id).await.unwrap().unwrap());
    revoked.status = KeyStatus::Revoked;
    assert_eq!(store.replace(&revoked).await.unwrap(), Replaced::Unannounced);
}
