//! Decision events: the sinks of the crate, and metrics.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod cloud_events;
#[cfg(feature = "tracing")]
#[path = "../support/log.rs"]
mod log;
#[cfg(all(feature = "metrics", feature = "fleet"))]
mod metrics;
#[cfg(all(feature = "metrics", feature = "axum", feature = "config"))]
mod prometheus;
#[cfg(feature = "metrics")]
#[path = "../support/recorder.rs"]
mod recorder;
#[path = "../services/mod.rs"]
mod services;
mod sinks;
#[path = "../support/mod.rs"]
mod support;
