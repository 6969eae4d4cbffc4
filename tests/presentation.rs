//! How refusals look: templates, problem details, and the headers that every refusal bears.
#![cfg(all(feature = "config", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "presentation/every_kind.rs"]
mod every_kind;
#[path = "presentation/headers.rs"]
mod headers;
#[allow(dead_code, reason = "shared with another test")]
#[path = "config/stage.rs"]
mod stage;
#[path = "presentation/templates.rs"]
mod templates;
