//! Management of keys, accounts and credits: the managers, their HTTP service and the command `tollgate`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod accounts;
mod audit_log;
mod audit_store;
#[cfg(feature = "cli")]
mod command;
#[path = "../management/concurrent_writer.rs"]
mod concurrent_writer;
mod credit_admin;
mod credit_buckets;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
#[allow(dead_code, unused_imports, reason = "not all of it is used here")]
#[path = "../support/database.rs"]
mod database;
#[path = "../support/log.rs"]
mod log;
#[path = "../management/mod.rs"]
mod management;
mod management_http;
mod manager;
mod manager_cancellation;
mod manager_import;
mod manager_issuer;
mod manager_leaks;
mod manager_properties;
mod manager_races;
mod manager_rotation;
mod manager_undo;
mod manager_uses;
#[path = "../management/model.rs"]
mod model;
mod schemes;
#[path = "../services/mod.rs"]
mod services;
#[path = "../support/mod.rs"]
mod support;
#[path = "../management/yielding.rs"]
mod yielding;
