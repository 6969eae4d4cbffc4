//! Several nodes: leases, guards, faults of servers, and processes that are killed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../../examples/fleet/client.rs"]
mod client;
mod faults;
mod fleet;
#[path = "../../examples/fleet/gate.rs"]
mod gate;
mod guard;
mod history;
mod in_flight;
mod leases;
#[cfg(feature = "tracing")]
#[path = "../support/log.rs"]
mod log;
#[path = "../../examples/fleet/nodes.rs"]
mod nodes;
#[path = "../services/mod.rs"]
mod services;
#[path = "../support/mod.rs"]
mod support;

use fleet::Fault;
