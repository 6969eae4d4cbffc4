//! Back ends: SQLite, PostgreSQL, Redis, the cache, and the published suites.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod cached;
#[path = "../support/clock_jumps.rs"]
mod clock_jumps;
#[allow(dead_code, unreachable_pub, reason = "its main is not run here")]
#[path = "../../examples/custom_store.rs"]
mod custom_store;
#[allow(dead_code, unused_imports, reason = "not all of it is used here")]
#[path = "../support/database.rs"]
mod database;
mod gate_meter;
#[path = "../support/log.rs"]
mod log;
mod memory_store;
mod properties_buckets;
mod properties_ledger;
mod properties_limiter;
mod redis_batches;
mod redis_ledger;
mod redis_limiter;
mod redis_server;
mod redis_slots;
mod redis_suites;
#[path = "../services/mod.rs"]
mod services;
mod sql;
mod suites;
mod suites_services;
#[path = "../support/mod.rs"]
mod support;
