//! Credits that nodes spend without a round trip: never more than there are, whatever dies, and none that stay away.
#![cfg(all(feature = "fleet", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[cfg(any(feature = "redis", feature = "sqlite", feature = "postgres"))]
mod services;

#[path = "leases/authorities.rs"]
mod authorities;
#[path = "leases/cost.rs"]
mod cost;
#[path = "leases/deaths.rs"]
mod deaths;
#[path = "leases/fleet.rs"]
mod fleet;
#[path = "leases/grants.rs"]
mod grants;
#[cfg(feature = "postgres")]
#[path = "leases/processes.rs"]
mod processes;
#[path = "leases/properties.rs"]
mod properties;
#[path = "leases/returns.rs"]
mod returns;
#[path = "leases/shares.rs"]
mod shares;
#[cfg(feature = "conformance")]
#[path = "leases/suites.rs"]
mod suites;
