//! The failed attempts of networks, compared with buckets that are refilled step by step.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use proptest::prelude::*;
use tollgate::adapter::Peer;
use tollgate::gate::AttemptLimit;
use tollgate::{DenialKind, RequestView};

use crate::attempts::{Counting, builder, guess};
use crate::support::providers::KWERY;
use crate::support::{World, with_key, without_key};

/// A step of a test: the network and what it sends, or the milliseconds that pass.
#[derive(Debug, Clone, Copy)]
enum Step {
    Nothing(u8),
    Guess(u8),
    Good(u8),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let network = 0..3_u8;
    prop_oneof![
        2 => network.clone().prop_map(Step::Nothing),
        6 => network.clone().prop_map(Step::Guess),
        1 => network.prop_map(Step::Good),
        1 => prop_oneof![0..20_u64, 900..1_100_u64, 0..20_000_u64].prop_map(Step::Pass),
    ]
}

/// A bucket that is refilled by the time that passes. The unit is a millisecond of the refill.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    held: u64,
}

/// The quota of the test: 3 per 3 s, one attempt a second.
const REFILL: u64 = 1_000;
const FULL: Bucket = Bucket { held: 3 * REFILL };

impl Bucket {
    fn pass(&mut self, time: u64) {
        self.held = (self.held + time).min(FULL.held);
    }

    fn has_one(self) -> bool {
        self.held >= REFILL
    }

    fn take(&mut self) -> bool {
        let takes = self.has_one();
        self.held -= if takes { REFILL } else { 0 };
        takes
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn table_matches_a_naive_model(steps in prop::collection::vec(step(), 1..80)) {
        let look_ups = Arc::<AtomicUsize>::default();
        let world = World::new();
        world.plain_key(KWERY);
        let world = world.with_store(Counting(Arc::clone(&world.store), Arc::clone(&look_ups)));
        let limit = AttemptLimit::new("3 per 3s".parse().unwrap()).unwrap();
        let gate = builder(&world).attempts(limit).build().unwrap();
        let ask = |key: Option<&str>, network: u8| {
            let route = "GET /v1/x";
            let request = key.map_or_else(|| without_key(route), |key| with_key(route, key));
            let request = request.extension(Peer([192, 0, 2, network].into())).body(()).unwrap();
            let before = look_ups.load(Ordering::SeqCst);
            let denied = gate.admit(&RequestView::of(&request)).now_or_never().unwrap().err();
            (denied.map(|denial| denial.kind()), look_ups.load(Ordering::SeqCst) - before)
        };
        // The gate has seen the key.
        prop_assert_eq!(ask(Some(KWERY), 99).0, None);
        let mut model: HashMap<u8, (Bucket, Bucket)> = (0..3).map(|network| (network, (FULL, FULL))).collect();
        for (number, step) in steps.iter().enumerate() {
            match *step {
                Step::Pass(time) => {
                    world.clock.advance(Duration::from_millis(time));
                    for (attempts, look_ups) in model.values_mut() {
                        attempts.pass(time);
                        look_ups.pass(time);
                    }
                }
                Step::Good(network) => prop_assert_eq!(ask(Some(KWERY), network), (None, 1)),
                Step::Nothing(network) => {
                    let takes = model.get_mut(&network).unwrap().0.take();
                    let kind = if takes { DenialKind::Missing } else { DenialKind::TooManyAttempts };
                    prop_assert_eq!(ask(None, network), (Some(kind), 0), "step {}", number);
                }
                Step::Guess(network) => {
                    let (attempts, above) = model.get_mut(&network).unwrap();
                    let is_asked = attempts.has_one() || above.take();
                    let kind = if attempts.take() { DenialKind::Unknown } else { DenialKind::TooManyAttempts };
                    // Each key is another one.
                    let answer = ask(Some(&guess(number)), network);
                    prop_assert_eq!(answer, (Some(kind), usize::from(is_asked)), "step {}", number);
                }
            }
        }
    }
}
