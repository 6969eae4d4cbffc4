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

#[path = "../examples/fleet/client.rs"]
mod client;
#[path = "fleet/credits.rs"]
mod credits;
#[path = "../examples/fleet/gate.rs"]
mod gate;
#[path = "fleet/limits.rs"]
mod limits;
#[path = "../examples/fleet/nodes.rs"]
mod nodes;
#[path = "fleet/outages.rs"]
mod outages;
#[path = "fleet/revocations.rs"]
mod revocations;
mod services;
#[path = "fleet/stage.rs"]
mod stage;
#[path = "fleet/starts.rs"]
mod starts;

/// Anything that may go wrong.
type Fault = Box<dyn std::error::Error + Send + Sync>;
