//! What compiles with the gate, and what must not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[cfg(feature = "actix-web")]
#[path = "compile/actix.rs"]
mod actix;
#[path = "compile/shapes.rs"]
mod shapes;
