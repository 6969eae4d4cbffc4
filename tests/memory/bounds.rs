//! Memory stays bounded: nothing is kept of a key that does not exist, failed attempts have a maximum number of networks,
//! and usage has a maximum number of rows.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::harness::drive::{call, poll_now};
use crate::harness::{gate, world};
use allocation_counter::measure;
use axum::extract::Request;
use http::HeaderValue;
use tollgate::adapter::Peer;
use tollgate::clock::Timestamp;
use tollgate::gate::AttemptLimit;
use tollgate::name::AccountId;
use tollgate::usage::{
    TopKey, TopQuery, UsageBatch, UsageOptions, UsagePart, UsageQuery, UsageRetention, UsageStore, Written,
};
use tollgate::{DenialKind, Gate, ManualClock, RequestView, StoreError, StoreFuture, TollgateLayer};
use tower::{Layer, service_fn};

/// The greatest growth of allocated memory during the flood.
const BOUND: i64 = 32 << 20;

#[test]
fn million_unknown_keys_do_not_grow_memory() {
    const KNOWN: usize = 64;
    let builder = gate::with_keys(KNOWN).usage_options(UsageOptions::default());
    let gate = builder.build().expect("the gate is complete");
    let mut service = TollgateLayer::new(gate.clone()).layer(service_fn(world::handler));
    let mut request = world::request(&world::key(0));
    let flood = measure(|| {
        for number in KNOWN..1_000_000 + KNOWN {
            let key = HeaderValue::try_from(world::key(number)).expect("keys are ASCII");
            request.headers_mut().insert("x-api-key", key);
            let refused = poll_now(gate.admit(&RequestView::of(&request))).expect_err("the key is unknown");
            assert_eq!(refused.kind(), DenialKind::Unknown);
            // One in a hundred is answered too: answers are a page of text each, and none is kept.
            if number % 100 == 0 {
                drop(call(&mut service, world::request(&world::key(number))));
            }
        }
    });
    println!("{} bytes more after a million unknown keys", flood.bytes_current);
    assert!(flood.bytes_current < BOUND, "{} bytes are kept", flood.bytes_current);
}

#[test]
fn million_addresses_fit_in_32_mib() {
    let address = |number: u32| Peer(Ipv4Addr::from_bits(number).into());
    let limit = AttemptLimit::new("20 per minute".parse().unwrap()).unwrap();
    let clock = ManualClock::starting_at("2026-04-30T12:00:00Z".parse().unwrap());
    let gate = gate::with_keys(64).clock(clock).attempts(limit).build().expect("the gate is complete");
    let mut keyless = world::keyless(world::ROUTE);
    let mut unknown = world::request(&world::key(1_000_000));
    let kind = |request: &mut Request, from: u32| {
        request.extensions_mut().insert(address(from));
        poll_now(gate.admit(&RequestView::of(&*request))).expect_err("there is no such key").kind()
    };
    // The addresses that send most of the requests: they are above the quota.
    let loud = 1 << 24..(1 << 24) + 1_000;
    let flood = measure(|| {
        for address in loud.clone() {
            for _ in 0..20 {
                assert_eq!(kind(&mut keyless, address), DenialKind::Missing);
            }
        }
        for address in 0..1_000_000 {
            assert_eq!(kind(&mut unknown, address), DenialKind::Unknown);
        }
    });
    println!("{} bytes more after a million addresses", flood.bytes_current);
    assert!((8 << 20..BOUND).contains(&flood.bytes_current), "{} bytes are kept", flood.bytes_current);
    // Of a million quiet addresses half were forgotten, and of the loud ones none.
    for address in loud {
        assert_eq!(kind(&mut keyless, address), DenialKind::TooManyAttempts);
    }
    let request = world::request(&world::key(0));
    assert!(poll_now(gate.admit(&RequestView::of(&request))).is_ok());
}

/// The number of rows of the usage, and the bytes of a row that the documentation of `UsageOptions` states.
const ROWS: usize = 10_000;
const COUNTED: i64 = 300;
const WAITING: i64 = 112;

/// A store that cannot be reached.
#[derive(Debug)]
struct Unreachable;

impl UsageStore for Unreachable {
    fn write(&self, _: &UsageBatch) -> StoreFuture<Written> {
        StoreFuture::failed(StoreError::unavailable("no connection"))
    }

    fn read(&self, _: &UsageQuery) -> StoreFuture<Vec<UsagePart>> {
        StoreFuture::ready(Vec::new())
    }

    fn top(&self, _: &TopQuery) -> StoreFuture<Vec<TopKey>> {
        StoreFuture::ready(Vec::new())
    }

    fn prune(&self, _: &UsageRetention, _: Timestamp) -> StoreFuture<u64> {
        StoreFuture::ready(0)
    }

    fn erase_account(&self, _: &AccountId) -> StoreFuture<bool> {
        StoreFuture::ready(false)
    }
}

#[test]
fn usage_stays_within_its_bound() {
    const KNOWN: usize = 15_000;
    let clock = ManualClock::starting_at("2026-04-30T12:00:00Z".parse().unwrap());
    let mut options = UsageOptions::default();
    (options.flush, options.max_rows) = (None, ROWS);
    let plain = gate::with_keys(KNOWN).clock(clock.clone()).build().expect("the gate is complete");
    let builder = gate::with_keys(KNOWN).clock(clock.clone()).usage_store(Unreachable).usage_options(options);
    let gate = builder.build().expect("the gate is complete");
    let admit_all = |gate: &Gate| {
        for number in 0..KNOWN {
            let request = world::request(&world::key(number));
            drop(poll_now(gate.admit(&RequestView::of(&request))));
        }
        clock.advance(Duration::from_mins(1));
    };
    let bytes = |work: &dyn Fn()| measure(work).bytes_current / i64::try_from(ROWS).unwrap();
    // The first request of a key also allocates the state of the limiter and of the ledger.
    let without = bytes(&|| admit_all(&plain));
    let counts = bytes(&|| (0..3).for_each(|_| admit_all(&gate))) - without;
    println!("{counts} bytes a row for the counts");
    let usage = gate.usage().expect("the gate has usage");
    assert!((100..COUNTED).contains(&counts), "{counts} bytes a row");
    // Each shard has at most one row more than its part of the bound.
    assert!(usage.status().folded > (3 * KNOWN - ROWS - 100) as u64, "{:?}", usage.status());
    let waiting = bytes(&|| {
        for _ in 0..5 {
            drop(poll_now(usage.flush()).expect_err("the store cannot be reached"));
            admit_all(&gate);
        }
    });
    println!("{waiting} bytes a row for the batches");
    assert!((40..=WAITING).contains(&waiting), "{waiting} bytes a row");
    assert!(usage.status().waiting <= ROWS && usage.status().lost > 0, "{:?}", usage.status());
}

#[test]
fn thousand_reloads_do_not_grow_memory() {
    const KEYS: usize = 8;
    let gate = gate::with_keys(KEYS).build().expect("the gate is complete");
    let other = gate::limited(KEYS).build().expect("the gate is complete");
    let mut services =
        [&gate, &other].map(|gate| TollgateLayer::new(gate.clone()).layer(service_fn(world::handler)));
    let mut reload = |number: u32| {
        for gate in [&gate, &other] {
            // One quota changes with each reload.
            let changed = format!("{} per minute", 1_000_000_000 + number % 3);
            let settings = gate::settings([&changed, "4000000000 per day"]).source(gate::header());
            gate.reload(settings).expect("the configuration is complete");
        }
        for service in &mut services {
            for key in 0..KEYS {
                drop(call(service, world::request(&world::key(key))));
            }
        }
    };
    (0..50).for_each(&mut reload);
    let growth = measure(|| (50..1_050).for_each(&mut reload));
    println!("{} bytes in {} blocks more after 1,000 reloads", growth.bytes_current, growth.count_current);
    assert!(growth.bytes_current.abs() < 16 << 10, "{} bytes are kept", growth.bytes_current);
}
