//! Remote back ends that are slow, hang, fail or lose their answers: nobody waits for long, nothing is done twice, and
//! what is owed is brought home.
#![cfg(all(feature = "fleet", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cache;
mod circuit;
#[cfg(feature = "tracing")]
mod events;
mod gate;
mod ledger;
mod limits;
mod policies;
#[cfg(feature = "conformance")]
mod suites;
