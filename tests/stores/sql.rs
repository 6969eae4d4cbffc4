//! Keys, accounts and credits in a SQLite file and in a PostgreSQL server of the test's own: the same tests for both.
#![cfg(all(feature = "sqlite", feature = "postgres", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod corrupt_rows;
mod erasure;
mod file;
mod housekeeping;
mod last_used;
mod ledger;
mod lists;
mod migration;
mod model;
mod network;
mod outage;
mod pooler;
mod start;
mod store;
#[cfg(feature = "conformance")]
mod suites;
#[cfg(feature = "postgres-tls")]
mod tls;
mod usage;
mod usage_edges;
