//! Code that compiles with the gate, and code that must not. More of the latter: doctests in `src/adapter/tower/refused.rs`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "actix-web")]
mod actix;
mod trait_bounds;

/// A build without some features leaves a gate that is whole or none: each feature alone, and none, compiles without a warning
/// before a change lands.
#[test]
fn each_feature_is_built_alone() {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/run");
    // The published crate has no scripts.
    let Ok(script) = std::fs::read_to_string(script) else { return };
    assert!(script.contains("cargo hack clippy --locked --each-feature -- -D warnings"));
    assert!(script.contains("cargo test --locked --all-features"));
}
