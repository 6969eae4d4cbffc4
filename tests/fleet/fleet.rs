//! Several processes over one PostgreSQL and one Redis, under full load, also while they are killed.
//!
//! The processes are the nodes of the example `fleet`, which `cargo test` builds.
#![cfg(all(
    feature = "axum",
    feature = "config",
    feature = "memory",
    feature = "postgres",
    feature = "redis"
))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod credits;
mod fixture;
mod limits;
mod outages;
mod revocations;
mod starts;

/// Anything that may go wrong.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;
