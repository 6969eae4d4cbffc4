//! Reloads: the throughput of a gate whose configuration is replaced every 100 ms, against one that is not. And the time of a
//! request with every check in shadow beside the time of one with every check in force.
//!
//! ```text
//! cargo bench --all-features --bench reload
//! ```
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench that cannot be set up is a bug")]

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::rounds::{self, Stack};
use harness::world::{self, HOT, KEYS, Traffic};
use harness::{drive, gate};
use tollgate::account::ShadowChecks;
use tollgate::{Gate, TollgateLayer};
use tower::{Layer, service_fn};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The time between two reloads.
const INTERVAL: Duration = Duration::from_millis(100);

/// The length of a slice of a comparison, and the number of slices with reloads: a minute in all.
const SLICE: Duration = Duration::from_secs(3);
const SLICES: usize = 20;

fn main() {
    if rounds::is_trial() {
        return;
    }
    print_reloads();
    print_shadow();
}

/// Prints the median throughput with reloads and without, in slices that alternate.
fn print_reloads() {
    for (spread, label) in [(HOT, "64 hot keys of 10,000"), (KEYS, "10,000 keys uniformly")] {
        let gate = gate::with_keys(KEYS).without_principal().build().unwrap();
        let mut ratios: Vec<f64> = (0..SLICES)
            .map(|_| {
                let without = requests_in_a_slice(&gate, spread, false);
                let with = requests_in_a_slice(&gate, spread, true);
                with / without
            })
            .collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let version = gate.configuration().version();
        println!(
            "{label:<24} throughput with a reload every 100 ms: {:.3} of that without",
            ratios[SLICES / 2]
        );
        println!("{:<24} worst slice {:.3}, {version} configurations", "", ratios[0]);
    }
}

/// Returns the number of requests that a thread sends in a slice, all of which are admitted.
fn requests_in_a_slice(gate: &Gate, spread: usize, reloads: bool) -> f64 {
    let ended = Arc::new(AtomicBool::new(false));
    let reloading = reloads.then(|| {
        let (gate, ended) = (gate.clone(), Arc::clone(&ended));
        std::thread::spawn(move || {
            let mut number = 0;
            while !ended.load(Ordering::Relaxed) {
                number += 1;
                // One quota changes with each reload.
                let changed = format!("{} per minute", 1_000_000_000 + number % 3);
                let settings = gate::settings([&changed, "4000000000 per day"]).source(gate::header());
                gate.reload(settings.without_principal()).unwrap();
                std::thread::sleep(INTERVAL);
            }
        })
    });
    let mut service = TollgateLayer::new(gate.clone()).layer(service_fn(world::handler));
    let (begun, mut sent) = (Instant::now(), 0_u32);
    while begun.elapsed() < SLICE {
        for _ in 0..1_000 {
            let key = world::key(sent.wrapping_mul(2_654_435_761) as usize % spread);
            let response = drive::call(&mut service, world::request(&key));
            assert_eq!(response.status(), 200);
            sent += 1;
        }
    }
    ended.store(true, Ordering::Relaxed);
    if let Some(reloading) = reloading {
        reloading.join().unwrap();
    }
    f64::from(sent)
}

/// Prints the median time of an admitted request, with the response.
fn print_shadow() {
    let plain = || gate::with_keys(KEYS).without_principal();
    let behind = |gate: tollgate::GateBuilder| {
        TollgateLayer::new(gate.build().unwrap()).layer(service_fn(world::handler))
    };
    let mut stacks = [
        Stack::of("in force", behind(plain()), Traffic::uniform(HOT)),
        Stack::of("in shadow", behind(plain().shadow(ShadowChecks::ALL)), Traffic::uniform(HOT)),
    ];
    let medians = rounds::medians(&mut stacks, 41, 20_000);
    println!("every check in shadow: {:.2} of the time of every check in force", medians[1] / medians[0]);
}
