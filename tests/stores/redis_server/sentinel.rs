//! A master that sentinels watch, and the promotion of its replica.

use std::time::{Duration, Instant};

use tollgate::redis::{RedisOptions, RedisServer};

use crate::redis_server::faults::{Parts, SOON};
use crate::services::redis::{Redis, RedisSentinels};

/// The number of scripts that clients have called.
fn calls(redis: &Redis) -> Option<u64> {
    let said = redis.say(&["INFO", "commandstats"]);
    let (_, calls) = said.split_once("cmdstat_evalsha:calls=")?;
    calls.split(',').next()?.parse().ok()
}

/// Both servers are there: the operator orders the promotion.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordered_promotion_is_followed() {
    let Some(servers) = RedisSentinels::start() else { return };
    let parts = Parts::at(&servers.url(), RedisOptions::new("acme"));
    parts.in_service(SOON).await.unwrap();
    assert!(calls(&servers.master) > Some(0) && calls(&servers.replica).is_none());
    servers.promote();
    let until = Instant::now() + SOON;
    while calls(&servers.replica) < Some(20) {
        assert!(Instant::now() < until, "the new master is not asked");
        parts.ask_for(Duration::from_millis(50)).await;
    }
    parts.in_service(SOON).await.unwrap();
    let before = calls(&servers.master);
    parts.ask_for(Duration::from_millis(200)).await;
    assert_eq!(calls(&servers.master), before, "the old master is asked no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_master_is_replaced_by_its_replica() {
    let Some(mut servers) = RedisSentinels::start() else { return };
    let parts = Parts::at(&servers.url(), RedisOptions::new("acme"));
    parts.in_service(SOON).await.unwrap();
    servers.master.kill();
    let answer = parts.meter().await.unwrap_err();
    assert!(format!("{answer:?}").contains("503"), "{answer:?}");
    parts.in_service(2 * SOON).await.unwrap();
    assert!(servers.replica.say(&["ROLE"]).contains("master"));
}

#[tokio::test]
async fn unknown_master_is_an_error() {
    let Some(servers) = RedisSentinels::start() else { return };
    let unknown = RedisServer::open(&servers.url().replace("=acme", "=other"), "acme").unwrap();
    let error = unknown.ping().await.unwrap_err();
    assert!(format!("{error:?}").contains("no master of this name"), "{error:?}");
    // A server that is no sentinel.
    let url = format!("redis://127.0.0.1:{}?sentinel=acme", servers.master.port());
    assert!(RedisServer::open(&url, "acme").unwrap().ping().await.is_err());
}
