//! Remote back ends that are slow, hang, fail or lose their answers: nobody waits for long, nothing is done twice, and
//! what is owed is brought home.
#![cfg(all(feature = "fleet", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[cfg(feature = "tracing")]
#[path = "support/log.rs"]
mod log;

#[path = "guard/cache.rs"]
mod cache;
#[path = "guard/circuit.rs"]
mod circuit;
#[cfg(feature = "tracing")]
#[path = "guard/events.rs"]
mod events;
#[path = "guard/gate.rs"]
mod gate;
#[path = "guard/ledger.rs"]
mod ledger;
#[path = "guard/limits.rs"]
mod limits;
#[cfg(feature = "conformance")]
#[path = "guard/suites.rs"]
mod suites;
