//! Memory stays bounded under a flood of unknown keys: nothing is kept of a key that does not exist.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what is constant here cannot fail")]

#[path = "../benches/harness/mod.rs"]
mod harness;

use allocation_counter::measure;
use harness::drive::{call, poll_now};
use harness::{gate, world};
use http::HeaderValue;
use tollgate::{DenialKind, RequestView, TollgateLayer};
use tower::{Layer, service_fn};

/// The greatest growth of allocated memory during the flood.
const BOUND: i64 = 32 << 20;

#[test]
fn million_unknown_keys_do_not_grow_memory() {
    const KNOWN: usize = 64;
    let gate = gate::with_keys(KNOWN).build().expect("the gate is complete");
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
