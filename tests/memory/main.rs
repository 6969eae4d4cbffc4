//! Memory: the heap allocations of a decision, and the bounds on what is kept.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what is constant here cannot fail")]

mod allocations;
mod bounds;
#[path = "../../benches/harness/mod.rs"]
mod harness;
#[cfg(feature = "metrics")]
#[path = "../support/recorder.rs"]
mod recorder;
