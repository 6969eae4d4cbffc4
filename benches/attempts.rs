//! Failed attempts: the memory of a million addresses, and the time of a request with a valid key beside them.
//!
//! ```text
//! cargo bench --bench attempts
//! ```
//!
//! The requests with a valid key come from one network. While a million addresses fail, a round of failing requests is sent
//! before each round of valid ones, so that the valid ones find a cache without their data.
#![allow(missing_docs, reason = "a bench has no users")]
#![allow(clippy::expect_used, reason = "what is constant here cannot fail")]

mod harness;

use std::hint::black_box;
use std::net::Ipv4Addr;

use axum::extract::Request;
use harness::drive::call;
use harness::rounds::{self, Stack};
use harness::world::{self, HOT, KEYS, Traffic};
use harness::{gate, handwritten::Answers};
use tollgate::adapter::Peer;
use tollgate::gate::AttemptLimit;
use tollgate::{GateBuilder, TollgateLayer};
use tower::{Layer, service_fn};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of addresses that fail.
const ADDRESSES: u32 = 1_000_000;

/// The failing requests before each batch of valid ones.
const BETWEEN: u32 = 64;

fn limited() -> GateBuilder {
    let quota = "1 per day".parse().expect("a quota");
    plain().attempts(AttemptLimit::new(quota).expect("a limit"))
}

fn plain() -> GateBuilder {
    gate::with_keys(KEYS).without_principal()
}

fn behind(gate: GateBuilder) -> impl Answers {
    TollgateLayer::new(gate.build().expect("the gate is complete")).layer(service_fn(world::handler))
}

/// Returns a request from this address, with a key that no store has.
fn failing(address: u32) -> Request {
    let mut request = world::request(&world::key(KEYS + address as usize));
    request.extensions_mut().insert(Peer(Ipv4Addr::from_bits(address).into()));
    request
}

/// The resident memory of this process.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux");
    let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1_024
}

/// A stack of valid requests after a million addresses have failed. The network of the valid requests is above its quota.
fn flooded() -> impl Answers {
    let mut service = behind(limited());
    // One network, so that all that a gate allocates once is there, and next to nothing of the table.
    (0..1_000).for_each(|_| drop(black_box(call(&mut service, failing(0)))));
    let before = resident_bytes();
    (0..ADDRESSES).for_each(|address| drop(black_box(call(&mut service, failing(address)))));
    drop(call(&mut service, failing(world::PEER.to_bits())));
    println!("{} KiB for a million addresses", resident_bytes().saturating_sub(before) / 1_024);
    service
}

/// Valid requests beside others, whose time is not counted: they are sent when a batch of valid requests is made.
fn beside(name: &'static str, service: impl Answers, mut other: impl FnMut() -> Request + 'static) -> Stack {
    let service = std::rc::Rc::new(std::cell::RefCell::new(service));
    let (filler, mut traffic, mut count) = (std::rc::Rc::clone(&service), Traffic::uniform(HOT), 0);
    let make = move || {
        if count % BETWEEN == 0 {
            for _ in 0..BETWEEN {
                drop(black_box(call(&mut *filler.borrow_mut(), other())));
            }
        }
        count += 1;
        traffic.request()
    };
    Stack::new(name, make, move |request| drop(black_box(call(&mut *service.borrow_mut(), request))))
}

fn main() {
    if rounds::is_trial() {
        return;
    }
    let traffic = || Traffic::uniform(HOT);
    let mut address = 0;
    let next = move || {
        address = (address + 1) % ADDRESSES;
        failing(address)
    };
    let mut stacks = [
        Stack::of("no limit", behind(plain()), traffic()),
        Stack::of("no address failed", behind(limited()), traffic()),
        Stack::of("a million failed", flooded(), traffic()),
        beside("no limit, failing beside", behind(plain()), next),
        beside("limited, failing beside", flooded(), next),
    ];
    let medians = rounds::medians(&mut stacks, 41, 20_000);
    println!("\n64 hot keys of 10,000        ns/request   of no limit");
    for (place, (stack, pace)) in stacks.iter().zip(&medians).enumerate() {
        // Failing requests take data out of the cache with and without a limit.
        let base = if place < 3 { medians[0] } else { medians[3] };
        println!("  {:<26} {pace:10.1} {:13.3}", stack.name, pace / base);
    }
}
