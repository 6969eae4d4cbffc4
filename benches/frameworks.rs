//! The time that the gate adds in each framework: the same gate with all checks enabled and the same keys around a minimal
//! service of the framework, compared with that service without a gate.
//!
//! ```text
//! cargo bench --bench frameworks --all-features
//! ```
//!
//! Only ratios within one run are comparable: rounds of all services alternate, and the medians are compared.
#![allow(clippy::expect_used, reason = "what is constant here cannot fail")]

#[cfg(feature = "actix-web")]
#[path = "frameworks/actix.rs"]
mod actix;
#[cfg(feature = "tonic")]
#[path = "frameworks/tonic.rs"]
mod tonic;
#[path = "frameworks/tower.rs"]
mod tower;

mod harness;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use harness::rounds::{self, Stack};

/// A service of a framework, without and with a gate.
type Pair = [Stack; 2];

fn main() {
    if rounds::is_trial() {
        return;
    }
    let pairs: Vec<Pair> = vec![
        tower::pair(),
        #[cfg(feature = "actix-web")]
        actix::pair(),
        #[cfg(feature = "tonic")]
        tonic::pair(),
    ];
    let mut stacks: Vec<Stack> = pairs.into_iter().flatten().collect();
    let medians = rounds::medians(&mut stacks, 41, 10_000);
    println!("{:<12} {:>10} {:>10} {:>10} {:>10}", "ns/request", "bare", "gated", "added", "of tower");
    let tower = medians[1] - medians[0];
    for (stacks, pair) in stacks.chunks_exact(2).zip(medians.chunks_exact(2)) {
        let (bare, gated) = (pair[0], pair[1]);
        let (added, of_tower) = (gated - bare, (gated - bare) / tower);
        println!("{:<12} {bare:10.1} {gated:10.1} {added:10.1} {of_tower:10.2}", stacks[0].name);
    }
}
