//! Alerts: thresholds, once per crossing and period, their stores, their delivery, and webhooks.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![cfg(all(feature = "config", feature = "memory"))]

mod back_ends;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
#[allow(dead_code, unused_imports, reason = "not all of it is used here")]
#[path = "../support/database.rs"]
mod database;
mod delivery;
mod managers;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
mod nodes;
#[path = "../services/mod.rs"]
mod services;
mod shared_store;
mod stage;
mod thresholds;
#[cfg(all(feature = "webhooks", feature = "sqlite", feature = "postgres"))]
mod webhooks;
