//! The gate over HTTP and gRPC: axum, actix-web, tonic and hyper, responses, charges, routing and OpenAPI.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod actix;
mod axum;
mod behind_nginx;
mod charges;
mod compile;
mod error_format;
mod events;
#[allow(dead_code, reason = "shared with another test")]
#[path = "../config/config/fixture.rs"]
mod fixture;
mod grpc;
mod in_flight;
mod late_costs;
#[path = "../support/log.rs"]
mod log;
mod odd_paths;
mod openapi;
mod reload;
mod routing;
mod scenarios;
mod security_wire;
#[path = "../services/mod.rs"]
mod services;
#[path = "../support/mod.rs"]
mod support;
mod testing;
mod tower_contract;
mod trace_layer;
