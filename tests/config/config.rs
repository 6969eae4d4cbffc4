//! Tests that the file's settings reach the gate's behaviour, and that the builder offers the same.
#![cfg(all(feature = "config", feature = "memory", feature = "tracing"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod credits;
#[allow(dead_code, reason = "shared with another test")]
mod fixture;
mod limits;
mod refused;
mod rules;
mod seller;
mod switches;
mod unknown_references;

use tollgate::key::Length;
use tollgate::{ConfigError, GateBuilder, KeyFormat, KeySource, Plan};

/// The builder's way to say what every file here begins with.
fn head(builder: GateBuilder) -> Result<GateBuilder, ConfigError> {
    Ok(builder
        .source(KeySource::header("X-API-Key")?)
        .format(KeyFormat::new("acme_", Length::exactly(8))?.accepted_only()))
}

/// A plan of this name, changed.
fn plan(name: &str, change: impl FnOnce(&mut Plan)) -> Plan {
    let mut plan = Plan::new(name);
    change(&mut plan);
    plan
}
