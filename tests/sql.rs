//! Keys, accounts and credits in a SQLite file and in a PostgreSQL server of the test's own: the same tests for both.
#![cfg(all(feature = "sqlite", feature = "postgres", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/log.rs"]
mod log;
mod services;

#[path = "sql/file.rs"]
mod file;
#[path = "sql/housekeeping.rs"]
mod housekeeping;
#[path = "sql/ledger.rs"]
mod ledger;
#[path = "sql/lists.rs"]
mod lists;
#[path = "sql/model.rs"]
mod model;
#[path = "sql/network.rs"]
mod network;
#[path = "sql/outage.rs"]
mod outage;
#[path = "sql/place.rs"]
mod place;
#[path = "sql/pooler.rs"]
mod pooler;
#[path = "sql/spoilt.rs"]
mod spoilt;
#[path = "sql/start.rs"]
mod start;
#[path = "sql/store.rs"]
mod store;
#[cfg(feature = "conformance")]
#[path = "sql/suites.rs"]
mod suites;
#[path = "sql/touches.rs"]
mod touches;
#[path = "sql/traces.rs"]
mod traces;
