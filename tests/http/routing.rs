//! Generated paths against the supported routers: whatever handler is reached, the gate judged the request under that
//! handler's own rule, or refused it.
//!
//! Every route costs a sum that no other costs, and its handler says which it is. `TOLLGATE_ROUTING_PATHS` is the number of
//! paths, 100,000 by default; `TOLLGATE_ROUTING_SEED` begins another run.
#![cfg(all(feature = "actix-web", feature = "axum", feature = "tonic", feature = "testing"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "routing/actix.rs"]
mod on_actix;
#[path = "routing/axum.rs"]
mod on_axum;
#[path = "routing/plain.rs"]
mod on_plain;
mod paths;
mod site;

use site::Tally;

/// The paths that one router is asked for: a share of all.
fn share(of: usize) -> usize {
    let all = std::env::var("TOLLGATE_ROUTING_PATHS").map_or(100_000, |number| number.parse().unwrap());
    all / of
}

#[test]
fn axum_handlers_match_their_own_rules() {
    let shapes = on_axum::Shape::ALL;
    for shape in shapes {
        let mut tally = Tally::of(&format!("axum, {shape:?}"));
        tally.run(share(12), |seed, paths| on_axum::site(*shape, seed, paths));
        tally.check();
    }
}

#[test]
fn actix_handlers_match_their_own_rules() {
    for place in on_actix::Place::ALL {
        let mut tally = Tally::of(&format!("actix-web, {place:?}"));
        tally.run(share(12), |seed, paths| on_actix::site(*place, seed, paths));
        tally.check();
    }
}

#[test]
fn tonic_methods_match_their_own_rules() {
    let mut tally = Tally::of("tonic");
    tally.run(share(12), on_plain::tonic);
    tally.check();
}

#[test]
fn hyper_handlers_match_their_own_rules() {
    let mut tally = Tally::of("hyper");
    tally.run(share(12), on_plain::hyper);
    tally.check();
}
