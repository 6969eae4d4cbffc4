//! Decision events: the sinks of the crate.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod cloud_events;
#[cfg(feature = "tracing")]
#[path = "../support/log.rs"]
mod log;
#[path = "../services/mod.rs"]
mod services;
mod sinks;
#[path = "../support/mod.rs"]
mod support;
