//! gRPC calls through the gate: a real tonic server, a real tonic client, one of another language, and raw HTTP/2.
#![cfg(all(feature = "tonic", feature = "config", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod charges;
mod deadlines;
mod denials;
mod details;
pub(crate) mod fixture;
mod mixed;
mod other_language;
