//! Credits that nodes spend without a round trip: never more than there are, whatever dies, and none that stay away.
#![cfg(all(feature = "fleet", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod authorities;
mod cost;
mod fleet;
mod grants;
mod late_costs;
mod node_crash;
#[cfg(feature = "postgres")]
mod processes;
mod properties;
mod returns;
mod shares;
#[cfg(feature = "conformance")]
mod suites;
