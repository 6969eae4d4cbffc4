//! The published suites over what lasts and what a fleet shares: databases, caches in front of them, and guards.
#![cfg(all(
    feature = "conformance",
    feature = "memory",
    feature = "sqlite",
    feature = "postgres",
    feature = "redis"
))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, unused_imports, reason = "not all of it is used here")]
use crate::database;
use crate::services;

use std::num::NonZeroU32;
use std::sync::Arc;

use database::{Place, both};
use tollgate::MemoryLedger;
use tollgate::conformance::{self, Capability, Suite};
use tollgate::credit::{CreditLeasing, LeaseTerms, LeasedLedger, RedisLedger, SqlLedger};
use tollgate::guard::Resilient;
use tollgate::limit::RedisLimiter;
use tollgate::redis::RedisServer;
use tollgate::store::{CachedStore, SqlStore};

both![
    cached_guarded_database_keeps_contract,
    guarded_database_ledger_keeps_contract,
    leased_sql_credits_keep_the_contract,
];

async fn cached_guarded_database_keeps_contract(place: Place) {
    let store = Resilient::new(SqlStore::new(&place.open().await));
    conformance::keys(CachedStore::builder(store).build().unwrap()).run().await.assert();
}

async fn guarded_database_ledger_keeps_contract(place: Place) {
    let ledger = Resilient::new(SqlLedger::new(&place.open().await));
    conformance::credits(ledger).run().await.assert();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guarded_redis_limiter_keeps_the_contract() {
    let Some(redis) = services::redis::Redis::start() else { return };
    let limiter = Resilient::new(RedisLimiter::new(RedisServer::open(&redis.url(), "acme").unwrap()));
    let suite = conformance::limits(limiter).without(Capability::InjectedTime);
    suite.run().await.assert();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guarded_redis_ledger_keeps_the_contract() {
    let Some(redis) = services::redis::Redis::start() else { return };
    let ledger = Resilient::new(RedisLedger::new(RedisServer::open(&redis.url(), "acme").unwrap()));
    conformance::credits(ledger).run().await.assert();
}

/// Blocks are what the authority lists, so its write side is checked without them; charges are checked through them.
fn leased_charges(authority: impl CreditLeasing) -> Suite {
    let terms = LeaseTerms::of_nodes(NonZeroU32::MIN);
    let suite = conformance::charges(LeasedLedger::new(authority, terms));
    // What is charged of a block is decided here, as in memory, whatever lends it.
    suite.without(Capability::LateCharges).without(Capability::WholeBalances)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leased_memory_credits_keep_the_contract() {
    leased_charges(MemoryLedger::new()).run().await.assert();
}

async fn leased_sql_credits_keep_the_contract(place: Place) {
    let ledger = SqlLedger::new(&place.open().await);
    leased_charges(Resilient::new(ledger.clone())).run().await.assert();
    leased_charges(Arc::new(ledger) as Arc<dyn CreditLeasing>).run().await.assert();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leased_redis_credits_keep_the_contract() {
    let Some(redis) = services::redis::Redis::start() else { return };
    let ledger = RedisLedger::new(RedisServer::open(&redis.url(), "acme").unwrap());
    leased_charges(Resilient::new(ledger.clone())).run().await.assert();
}
