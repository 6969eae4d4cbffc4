//! Keys, accounts and credits in a SQLite file and in a PostgreSQL server of the test's own: the same tests for both.
#![cfg(all(feature = "sqlite", feature = "postgres", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "sql/ledger.rs"]
mod ledger;
#[path = "sql/place.rs"]
mod place;
mod services;
#[path = "sql/start.rs"]
mod start;
#[path = "sql/store.rs"]
mod store;
#[cfg(feature = "conformance")]
#[path = "sql/suites.rs"]
mod suites;
