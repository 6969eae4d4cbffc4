//! The time that the gate adds to a trivial service, compared with its alternatives in one run: no middleware; tower-http and
//! `tower_governor`, which check far less; a hand-written middleware with the same checks; the gate with all checks enabled,
//! without and with the principal for the handler. Then the time of denials.
//!
//! ```text
//! cargo bench --bench stack
//! ```
//!
//! Only ratios within one run are comparable: rounds of all stacks alternate, and the medians are compared.
#![allow(clippy::expect_used, reason = "what is constant here cannot fail")]

mod harness;

use harness::handwritten::{self, Answers, ONCE, UNLIMITED};
use harness::rounds::{self, Stack};
use harness::world::{self, HOT, KEYS, Traffic};
use harness::{gate, off_the_shelf};
use tollgate::{GateBuilder, TollgateLayer};
use tower::{Layer, service_fn};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 41;

fn behind(gate: GateBuilder) -> impl Answers {
    TollgateLayer::new(gate.build().expect("the gate is complete")).layer(service_fn(world::handler))
}

/// Prints the median time of a request by stack, the time added to the bare service, and its ratio to the time that the
/// hand-written middleware adds.
fn print_stacks() {
    let plain = behind(gate::with_keys(KEYS).without_principal());
    let principal = behind(gate::with_keys(KEYS));
    let middleware = handwritten::service(KEYS, UNLIMITED);
    for (spread, label) in [(HOT, "64 hot keys of 10,000"), (KEYS, "10,000 keys uniformly")] {
        let traffic = || Traffic::uniform(spread);
        let mut stacks = [
            Stack::of("bare", service_fn(world::handler), traffic()),
            Stack::of("hand-written", middleware.clone(), traffic()),
            Stack::of("tower-http, governor", off_the_shelf::service(KEYS), traffic()),
            Stack::of("tollgate", plain.clone(), traffic()),
            Stack::of("tollgate, principal", principal.clone(), traffic()),
        ];
        let medians = rounds::medians(&mut stacks, ROUNDS, 20_000);
        println!("\n{label:<24} ns/request      added   of hand-written");
        for (stack, pace) in stacks.iter().zip(&medians) {
            let (added, handwritten) = (pace - medians[0], medians[1] - medians[0]);
            println!("  {:<22} {pace:10.1} {added:10.1} {:10.3}", stack.name, added / handwritten);
        }
    }
}

/// Prints the median time of denials by kind, including the response, and its ratio to the time of an admitted request, for
/// the gate and for the hand-written middleware.
fn print_refusals() {
    let plain = behind(gate::with_keys(HOT).without_principal());
    let limited = behind(gate::limited(HOT).without_principal());
    let (theirs, theirs_limited) = (handwritten::service(HOT, UNLIMITED), handwritten::service(HOT, ONCE));
    let mut stacks = Vec::new();
    for kind in ["admitted", "missing", "malformed", "unknown", "over the limit"] {
        let traffic = || match kind {
            "missing" => Traffic::missing(),
            "malformed" => Traffic::malformed(),
            "unknown" => Traffic::unknown(HOT),
            _ => Traffic::uniform(HOT),
        };
        let is_limited = kind == "over the limit";
        let (ours, theirs) = if is_limited { (&limited, &theirs_limited) } else { (&plain, &theirs) };
        stacks.push(Stack::of(kind, ours.clone(), traffic()));
        stacks.push(Stack::of(kind, theirs.clone(), traffic()));
    }
    let medians = rounds::medians(&mut stacks, ROUNDS, 10_000);
    println!("\nanswers                    tollgate  of admitted  hand-written  of admitted");
    for (stacks, pair) in stacks.chunks_exact(2).zip(medians.chunks_exact(2)) {
        let (ours, theirs) = (pair[0] / medians[0], pair[1] / medians[1]);
        println!("  {:<22} {:10.1} {ours:12.3} {:13.1} {theirs:12.3}", stacks[0].name, pair[0], pair[1]);
    }
}

fn main() {
    if rounds::is_trial() {
        return;
    }
    print_stacks();
    print_refusals();
}
