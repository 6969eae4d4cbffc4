//! Limits and credits in Redis keep the published suites.
#![cfg(all(feature = "redis", feature = "conformance"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::services;

use std::sync::Arc;
use std::time::Duration;

use services::redis::Redis;
use tollgate::RateLimiter;
use tollgate::conformance::{self, Capability, Suite};
use tollgate::credit::{CreditAdmin, RedisLedger};
use tollgate::limit::RedisLimiter;
use tollgate::redis::{RedisOptions, RedisServer};

fn server(redis: &Redis, prefix: &str) -> RedisServer {
    let mut options = RedisOptions::new(prefix);
    options.response_timeout = Duration::from_secs(5);
    RedisServer::with_options(&redis.url(), options).unwrap()
}

/// Its time is the server's own.
fn limits(limiter: impl RateLimiter) -> Suite {
    conformance::limits(limiter).without(Capability::InjectedTime)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limiter_keeps_the_contract() {
    let Some(redis) = Redis::start() else { return };
    let limiter = RedisLimiter::new(server(&redis, "tollgate"));
    limits(limiter.clone()).run().await.assert();
    limits(Arc::new(limiter) as Arc<dyn RateLimiter>).run().await.assert();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_keeps_the_contract() {
    let Some(redis) = Redis::start() else { return };
    let ledger = RedisLedger::new(server(&redis, "tollgate"));
    conformance::credits(ledger.clone()).run().await.assert();
    conformance::credits(Arc::new(ledger) as Arc<dyn CreditAdmin>).run().await.assert();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_slot_of_a_cluster_keeps_the_contract() {
    let Some(redis) = Redis::start_cluster() else { return };
    let server = server(&redis, "{gate}");
    limits(RedisLimiter::new(server.clone())).run().await.assert();
    conformance::credits(RedisLedger::new(server)).run().await.assert();
}
