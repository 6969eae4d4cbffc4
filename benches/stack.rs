//! The cost of the gate compared with its alternatives, all around the same trivial service, in one run:
//! nothing; tower-http and `tower_governor` (which check far less); a middleware as a competent user writes it today; the
//! gate with all checks on, without and with the principal handed over. Requests bear one of 64 hot keys of 10,000, or
//! any of 10,000.
//!
//! ```text
//! cargo bench --bench stack                            criterion, then the table of ratios
//! cargo bench --bench stack -- --ratios                the tables alone
//! cargo bench --bench stack -- --requests gate 20000   that many requests, to be counted from outside: admitted, or
//!                                                      `missing`, `malformed`, `unknown`, as a fourth word says
//! benches/instructions                                 counts the instructions of each stack with `perf stat`
//! ```
//!
//! Only ratios within one run mean anything: rounds of all stacks alternate, and the medians are compared.
#![allow(missing_docs, reason = "criterion's macro makes a public function")]
#![allow(clippy::expect_used, reason = "what is constant here cannot fail")]

mod harness;

use std::hint::black_box;
use std::time::{Duration, Instant};

use axum::extract::Request;
use criterion::{BenchmarkId, Criterion};
use harness::drive::call;
use harness::world::{self, HOT, KEYS, Traffic};
use harness::{gate, handwritten, off_the_shelf};
use tollgate::TollgateLayer;
use tower::{Layer, service_fn};

/// Requests that are made before the clock is started: few enough to stay in the cache, as requests just read are.
const BATCH: u32 = 64;

/// A stack: what answers a request is dropped within it.
struct Stack {
    name: &'static str,
    answer: Box<dyn FnMut(Request)>,
}

impl Stack {
    fn new(name: &'static str, answer: impl FnMut(Request) + 'static) -> Self {
        Self { name, answer: Box::new(answer) }
    }

    fn all() -> [Self; 5] {
        let mut nothing = service_fn(world::handler);
        let mut shelf = off_the_shelf::service();
        let mut handwritten = handwritten::service();
        let behind = |gate| TollgateLayer::new(gate).layer(service_fn(world::handler));
        let mut gate =
            behind(gate::with_keys(KEYS).without_principal().build().expect("the gate is complete"));
        let mut principal = behind(gate::with_keys(KEYS).build().expect("the gate is complete"));
        [
            Self::new("nothing", move |request| drop(black_box(call(&mut nothing, request)))),
            Self::new("shelf", move |request| drop(black_box(call(&mut shelf, request)))),
            Self::new("handwritten", move |request| drop(black_box(call(&mut handwritten, request)))),
            Self::new("gate", move |request| drop(black_box(call(&mut gate, request)))),
            Self::new("gate+principal", move |request| drop(black_box(call(&mut principal, request)))),
        ]
    }

    /// The time that at least so many requests take, and how many they were.
    fn time(&mut self, traffic: &mut Traffic, requests: u32) -> (Duration, u32) {
        let batches = requests.div_ceil(BATCH);
        let mut batch: Vec<Request> = Vec::with_capacity(BATCH as usize);
        let mut taken = Duration::ZERO;
        for _ in 0..batches {
            batch.extend((0..BATCH).map(|_| traffic.request()));
            let start = Instant::now();
            batch.drain(..).for_each(&mut self.answer);
            taken += start.elapsed();
        }
        (taken, batches * BATCH)
    }

    /// Nanoseconds a request.
    fn pace(&mut self, traffic: &mut Traffic, requests: u32) -> f64 {
        let (taken, requests) = self.time(traffic, requests);
        taken.as_secs_f64() * 1e9 / f64::from(requests)
    }
}

fn with_criterion(stacks: &mut [Stack]) {
    let mut criterion = Criterion::default().configure_from_args();
    for (spread, label) in SPREADS {
        let mut group = criterion.benchmark_group(label);
        for stack in &mut *stacks {
            let mut traffic = Traffic::over(spread);
            group.bench_function(BenchmarkId::from_parameter(stack.name), |bencher| {
                bencher.iter_custom(|requests| {
                    let requests = u32::try_from(requests).unwrap_or(u32::MAX);
                    let (taken, made) = stack.time(&mut traffic, requests);
                    taken.mul_f64(f64::from(requests) / f64::from(made))
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();
}

const SPREADS: [(usize, &str); 2] = [(HOT, "64 hot keys of 10,000"), (KEYS, "10,000 keys uniformly")];

/// Alternating rounds of all stacks: per stack the median time of a request, what it adds to nothing, and how that
/// compares with what the handwritten middleware adds.
fn print_ratios(stacks: &mut [Stack]) {
    const ROUNDS: usize = 41;
    const REQUESTS: u32 = 20_000;
    for (spread, label) in SPREADS {
        let mut paces = vec![Vec::with_capacity(ROUNDS); stacks.len()];
        let mut traffic = Traffic::over(spread);
        for stack in &mut *stacks {
            stack.pace(&mut traffic, 2 * REQUESTS);
        }
        for _ in 0..ROUNDS {
            for (stack, paces) in stacks.iter_mut().zip(&mut paces) {
                paces.push(stack.pace(&mut traffic, REQUESTS));
            }
        }
        let medians: Vec<f64> = paces.into_iter().map(median).collect();
        println!("\n{label:<24} ns/request      added   of handwritten");
        for (stack, &pace) in stacks.iter().zip(&medians) {
            let (added, handwritten) = (pace - medians[0], medians[2] - medians[0]);
            println!("  {:<22} {pace:10.1} {added:10.1} {:10.3}", stack.name, added / handwritten);
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The refused requests, beside the admitted ones, by the same gate; the last by a gate whose quota is used up.
const REFUSALS: [&str; 4] = ["admitted", "missing", "malformed", "unknown"];

/// Alternating rounds of what is admitted and what is refused: per kind the median time of a request, with the making of
/// its answer, and how that compares with an admitted one.
fn print_refusals() {
    const ROUNDS: usize = 41;
    const REQUESTS: u32 = 10_000;
    let mut open = Stack::new("open", answered_by(gate::with_keys(HOT)));
    let mut limited = Stack::new("limited", answered_by(gate::limited(HOT)));
    let mut kinds: Vec<(&str, Traffic)> = REFUSALS.iter().map(|kind| (*kind, Traffic::of(kind))).collect();
    kinds.push(("over the limit", Traffic::over(HOT)));
    let mut paces = vec![Vec::with_capacity(ROUNDS); kinds.len()];
    for _ in 0..=ROUNDS {
        for (place, (_, traffic)) in kinds.iter_mut().enumerate() {
            let stack = if place < REFUSALS.len() { &mut open } else { &mut limited };
            paces[place].push(stack.pace(traffic, REQUESTS));
        }
    }
    // The first round warms up.
    let medians: Vec<f64> = paces.into_iter().map(|paces| median(paces[1..].to_vec())).collect();
    println!("\nthe gate's answers        ns/request  of admitted");
    for ((kind, _), pace) in kinds.iter().zip(&medians) {
        println!("  {kind:<22} {pace:10.1} {:12.3}", pace / medians[0]);
    }
}

fn answered_by(gate: tollgate::GateBuilder) -> impl FnMut(Request) + 'static {
    let gate = gate.without_principal().build().expect("the gate is complete");
    let mut service = TollgateLayer::new(gate).layer(service_fn(world::handler));
    move |request| drop(black_box(call(&mut service, request)))
}

/// Sends so many requests through one stack, and nothing else that depends on their number but making them.
fn send(stacks: &mut [Stack], name: &str, requests: u32, kind: &str) {
    let stack = stacks.iter_mut().find(|stack| stack.name == name).expect("there is such a stack");
    stack.time(&mut Traffic::of(kind), requests);
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mut stacks = Stack::all();
    if let Some(place) = args.iter().position(|arg| arg == "--requests") {
        let requests = args[place + 2].parse().expect("a number of requests");
        let kind = args.get(place + 3).map_or("admitted", String::as_str);
        return send(&mut stacks, &args[place + 1], requests, kind);
    }
    if !args.iter().any(|arg| arg == "--ratios") {
        with_criterion(&mut stacks);
    }
    if !args.iter().any(|arg| arg == "--test" || arg == "--list") {
        print_ratios(&mut stacks);
        print_refusals();
    }
}
