//! The form of refusals: templates, problem details, and the headers that every refusal has.
#![cfg(all(feature = "config", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod every_kind;
mod headers;
#[cfg(feature = "fleet")]
mod limit_headers;
mod problem_types;
mod templates;
