//! Time and memory by the number of keys: the bare service, the hand-written middleware and the gate with all checks enabled,
//! over 64, 10,000 and 1,000,000 keys. The keys of requests are distributed uniformly or by Zipf's law.
//!
//! ```text
//! cargo bench --bench scale
//! cargo bench --bench scale -- --keys 10000000        only this number of keys
//! ```
//!
//! Each key has its own account, with a balance in the ledger and two windows in the limiter. The hand-written
//! middleware stores the same: each key in a map in place of a database, and in its cache.
//!
//! Bytes per key are the increase of the resident memory of a process, with mimalloc as the allocator, between the start of
//! the load and one request with each key. They include records, accounts, balances, windows, history, the free space of
//! tables, and the overhead of the allocator. The time to load is the time of the calls that store keys, accounts and
//! balances. For the hand-written middleware it includes the creation of records and hashes.
#![allow(clippy::expect_used, reason = "what is constant here cannot fail")]
#![allow(clippy::cast_precision_loss, reason = "figures are shown to three places")]

mod harness;

use std::env;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::drive::call;
use harness::gate;
use harness::handwritten::{self, Answers, UNLIMITED};
use harness::rounds::{self, Stack};
use harness::world::{self, Traffic};
use tollgate::{MemoryLedger, MemoryStore, TollgateLayer};
use tower::{Layer, service_fn};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 21;
const REQUESTS: u32 = 50_000;

fn gated(store: MemoryStore, ledger: MemoryLedger) -> impl Answers {
    let gate = gate::builder(store, ledger).source(gate::header()).without_principal();
    TollgateLayer::new(gate.build().expect("the gate is complete")).layer(service_fn(world::handler))
}

/// Back ends with this number of keys, and the time to load them.
fn load(keys: usize) -> (MemoryStore, MemoryLedger, Duration) {
    let (store, ledger, mut taken) = (MemoryStore::new(), MemoryLedger::new(), Duration::ZERO);
    for first in (0..keys).step_by(1_000) {
        let numbers = first..keys.min(first + 1_000);
        let records: Vec<_> = numbers.map(|number| gate::record(number, gate::account(number))).collect();
        let start = Instant::now();
        for record in records {
            gate::add(&store, &ledger, record);
        }
        taken += start.elapsed();
    }
    (store, ledger, taken)
}

/// Sends one request with each key.
fn touch(service: &mut impl Answers, keys: usize) {
    let mut traffic = Traffic::each(keys);
    for _ in 0..keys {
        drop(call(service, traffic.request()));
    }
}

/// Prints the times of a request, and returns the ratio of what the gate adds to what the hand-written middleware adds,
/// for uniform traffic.
fn measure(keys: usize) -> f64 {
    let (store, ledger, _) = load(keys);
    let (mut gated, mut by_hand) = (gated(store, ledger), handwritten::service(keys, UNLIMITED));
    touch(&mut gated, keys);
    touch(&mut by_hand, keys);
    let bare = || service_fn(world::handler);
    let mut stacks = Vec::new();
    for traffic in [Traffic::uniform, Traffic::zipf] {
        stacks.push(Stack::of("bare", bare(), traffic(keys)));
        stacks.push(Stack::of("hand-written", by_hand.clone(), traffic(keys)));
        stacks.push(Stack::of("tollgate", gated.clone(), traffic(keys)));
    }
    let medians = rounds::medians(&mut stacks, ROUNDS, REQUESTS);
    let mut ratios = Vec::new();
    for (traffic, paces) in ["uniform", "Zipf"].iter().zip(medians.chunks_exact(3)) {
        let [bare, by_hand, gated] = [paces[0], paces[1], paces[2]];
        let ratio = (gated - bare) / (by_hand - bare);
        println!("{keys:>10} {traffic:<8} {bare:8.1} {by_hand:13.1} {gated:9.1} {ratio:16.3}");
        ratios.push(ratio);
    }
    ratios[0]
}

/// Prints the bytes per key and the seconds to load, in a process of its own.
fn print_memory(stack: &str, keys: usize) {
    if stack == "tollgate" {
        let before = resident_bytes();
        let (store, ledger, taken) = load(keys);
        report_memory(keys, before, gated(store, ledger), taken);
    } else {
        let (before, start) = (resident_bytes(), Instant::now());
        let service = handwritten::service(keys, UNLIMITED);
        report_memory(keys, before, service, start.elapsed());
    }
}

fn report_memory(keys: usize, before: usize, mut service: impl Answers, taken: Duration) {
    touch(&mut service, keys);
    println!("{} {:.2}", (resident_bytes() - before) / keys, taken.as_secs_f64());
    drop(service);
}

/// The resident memory of this process.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux");
    let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1_024
}

/// Measures a stack's memory in a process of its own: the bytes per key, and the seconds to load.
fn memory(stack: &str, keys: usize) -> (String, String) {
    let this = env::current_exe().expect("the path of the binary");
    let output = Command::new(this).args(["--load", stack, &keys.to_string()]).output().expect("it starts");
    assert!(output.status.success(), "the stack was loaded");
    let text = String::from_utf8(output.stdout).expect("text");
    let (bytes, seconds) = text.trim().split_once(' ').expect("two figures");
    (bytes.to_owned(), seconds.to_owned())
}

fn main() {
    let args: Vec<String> = env::args().collect();
    if rounds::is_trial() {
        return;
    }
    let option = |name: &str| args.iter().position(|arg| arg == name);
    let number = |place: usize| args[place].parse::<usize>().expect("a number of keys");
    if let Some(place) = option("--load") {
        return print_memory(&args[place + 1], number(place + 2));
    }
    let sizes = option("--keys").map_or(vec![64, 10_000, 1_000_000], |place| vec![number(place + 1)]);
    println!("      keys traffic      bare  hand-written  tollgate  of hand-written");
    let ratios: Vec<f64> = sizes.iter().map(|&keys| measure(keys)).collect();
    let most = *sizes.iter().max().expect("a size");
    println!("\n{:>10}                bytes/key    seconds to load", "keys");
    let mut bytes_per_key = String::new();
    for stack in ["hand-written", "tollgate"] {
        let (bytes, seconds) = memory(stack, most);
        println!("{most:>10} {stack:<12} {bytes:>12} {seconds:>18}");
        bytes_per_key = bytes;
    }
    println!("\nbytes_per_key={bytes_per_key}");
    for (keys, ratio) in sizes.iter().zip(ratios) {
        println!("of_handwritten_{keys}={ratio:.3}");
    }
}
