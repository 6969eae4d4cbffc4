//! The configuration file and the examples that are made from it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod config;
mod config_errors;
mod providers_example;
mod providers_store;
mod readme;
#[path = "../services/mod.rs"]
mod services;
#[cfg(feature = "watch")]
mod watch;
