//! gRPC calls through the gate: a real tonic server, a real tonic client, one of another language, and raw HTTP/2.
#![cfg(all(feature = "tonic", feature = "config", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "grpc/charges.rs"]
mod charges;
#[path = "grpc/deadlines.rs"]
mod deadlines;
#[path = "grpc/denials.rs"]
mod denials;
#[path = "grpc/details.rs"]
mod details;
#[path = "grpc/mixed.rs"]
mod mixed;
#[path = "grpc/other_language.rs"]
mod other_language;
mod services;
#[path = "grpc/stage.rs"]
mod stage;
mod support;
