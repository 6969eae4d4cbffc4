//! The cost that the gate adds on each framework: the same gate with all checks on, the same keys, around a service
//! that does as little as the framework lets it, and the same service without a gate.
//!
//! ```text
//! cargo bench --bench frameworks --all-features
//! ```
//!
//! Only ratios within one run mean anything: rounds of all services alternate, and the medians are compared. What counts is
//! what is added: the frameworks themselves cost what they cost.
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

use std::time::{Duration, Instant};

/// Requests that are made before the clock is started: few enough to stay in the cache, as requests just read are.
const BATCH: u32 = 64;

/// A service, bare or behind a gate: the time that so many batches of requests take.
type Service = Box<dyn FnMut(u32) -> Duration>;

/// One framework.
struct Framework {
    name: &'static str,
    bare: Service,
    gated: Service,
}

/// A service from what makes its requests and what answers them.
fn service<R>(mut make: impl FnMut() -> R + 'static, mut answer: impl FnMut(R) + 'static) -> Service {
    Box::new(move |batches| {
        let (mut batch, mut taken) = (Vec::with_capacity(BATCH as usize), Duration::ZERO);
        for _ in 0..batches {
            batch.extend((0..BATCH).map(|_| make()));
            let start = Instant::now();
            batch.drain(..).for_each(&mut answer);
            taken += start.elapsed();
        }
        taken
    })
}

/// Nanoseconds a request.
fn pace(service: &mut Service, batches: u32) -> f64 {
    service(batches).as_secs_f64() * 1e9 / f64::from(batches * BATCH)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    const ROUNDS: usize = 41;
    const BATCHES: u32 = 150;
    let mut frameworks = [
        tower::framework(),
        #[cfg(feature = "actix-web")]
        actix::framework(),
        #[cfg(feature = "tonic")]
        tonic::framework(),
    ];
    if std::env::args().any(|arg| arg == "--test" || arg == "--list") {
        return;
    }
    let mut paces = vec![(Vec::new(), Vec::new()); frameworks.len()];
    for round in 0..=ROUNDS {
        for (framework, (bare, gated)) in frameworks.iter_mut().zip(&mut paces) {
            let measured = (pace(&mut framework.bare, BATCHES), pace(&mut framework.gated, BATCHES));
            // The first round warms up.
            if round > 0 {
                bare.push(measured.0);
                gated.push(measured.1);
            }
        }
    }
    println!("{:<12} {:>10} {:>10} {:>10} {:>10}", "ns/request", "bare", "gated", "added", "of tower");
    let mut tower = None;
    for (framework, (bare, gated)) in frameworks.iter().zip(paces) {
        let (bare, gated) = (median(bare), median(gated));
        let added = gated - bare;
        let of_tower = added / *tower.get_or_insert(added);
        println!("{:<12} {bare:10.1} {gated:10.1} {added:10.1} {of_tower:10.2}", framework.name);
    }
}
