//! Property: any sequence of requests, pauses, flushes and faults gives usage equal to a naive count.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tollgate::clock::Timestamp;
use tollgate::gate::Outcome;
use tollgate::usage::{UsageFilter, UsageRange, UsageStep};
use tollgate::{Clock, Credits, DenialKind};

use super::faulty_store::{Fault, FaultyStore};
use super::{builder, key, options, send};
use crate::support::World;

/// The number of known keys. A request may also have an unknown one.
const KEYS: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Action {
    /// A request with a key for a route, whose handler reports this cost.
    Send {
        key: usize,
        route: &'static str,
        cost: u64,
    },
    Wait {
        seconds: u64,
    },
    Flush {
        fault: Option<Fault>,
    },
}

fn action() -> impl Strategy<Value = Action> {
    let route = prop::sample::select(vec!["/v1/paid", "/v1/free"]);
    let fault = prop::sample::select(vec![None, Some(Fault::IsUnreachable), Some(Fault::LosesAnswers)]);
    prop_oneof![
        8 => (0..=KEYS, route, 0..=2_u64).prop_map(|(key, route, cost)| Action::Send { key, route, cost }),
        2 => prop_oneof![1..90_u64, 3_000..90_000_u64, 2_000_000..3_000_000_u64]
            .prop_map(|seconds| Action::Wait { seconds }),
        1 => fault.prop_map(|fault| Action::Flush { fault }),
    ]
}

/// The requests with one outcome: their number, their credits and the last time.
type Count = (u64, u64, Timestamp);

/// A naive count: the start of the step, the key and the kind of denial.
type Counts = BTreeMap<(UsageStep, Timestamp, usize, Option<&'static str>), Count>;

fn add(counts: &mut Counts, now: Timestamp, key: usize, denial: Option<DenialKind>, credits: u64) {
    for step in UsageStep::ALL {
        let place = (*step, step.start_of(now), key, denial.map(DenialKind::name));
        let (requests, sum, last) = counts.entry(place).or_insert((0, 0, now));
        (*requests, *sum, *last) = (*requests + 1, *sum + credits, now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn usage_equals_a_naive_count(actions in prop::collection::vec(action(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (world, store) = (World::new(), FaultyStore::default());
        let ids: Vec<_> = (0..KEYS).map(|number| world.plain_key(&key(number))).collect();
        for id in &ids {
            world.set_balance(*id, 12);
        }
        let gate = builder(&world).usage_store(store.clone()).usage_options(options(|_| {})).build().unwrap();
        let usage = gate.usage().unwrap();
        let (mut counts, begun) = (Counts::new(), world.clock.now().wall());
        runtime.block_on(async {
            for action in actions {
                match action {
                    Action::Send { key: number, route, cost } => {
                        let outcome = Outcome::ServedAt(Credits::new(cost));
                        let denial = send(&gate, route, &key(number), outcome).await;
                        let credits = if route == "/v1/paid" && denial.is_none() { cost } else { 0 };
                        add(&mut counts, world.clock.now().wall(), number, denial, credits);
                    }
                    Action::Wait { seconds } => {
                        // A batch that was tried is dropped after 12 hours.
                        if seconds > 1_000 {
                            usage.flush().await.unwrap();
                        }
                        world.clock.advance(Duration::from_secs(seconds));
                    }
                    Action::Flush { fault } => {
                        store.set(fault);
                        let _ = usage.flush().await;
                        store.set(None);
                    }
                }
            }
            usage.shutdown().await.unwrap();
        });
        let mut found = Counts::new();
        for step in UsageStep::ALL {
            // Ranges of fewer than 10,000 steps.
            let mut from = begun;
            while from <= world.clock.now().wall() {
                let to = step.start_of(from.saturating_add(Duration::from_hours(24 * 6)));
                let to = to.max(step.after(from));
                let range = UsageRange::new(*step, from, to).unwrap();
                let filters = ids.iter().map(|id| UsageFilter::key(*id)).chain([UsageFilter::all()]);
                for (number, filter) in filters.enumerate() {
                    let report = runtime.block_on(usage.report(filter, range)).unwrap();
                    for point in &report.points {
                        let refused = point.refused.iter().map(|(kind, requests)| (Some(kind.name()), *requests));
                        for (denial, requests) in refused.chain([(None, point.admitted)]) {
                            // All requests are those of the known keys and of the unknown one.
                            let is_mine = number < KEYS || denial == Some("unknown");
                            if is_mine && requests > 0 {
                                let place = (*step, point.start, number, denial);
                                let credits = if denial.is_none() { point.counts.credits } else { 0 };
                                found.insert(place, (requests, credits, point.counts.last_seen));
                            }
                        }
                    }
                }
                from = to;
            }
        }
        // The last time of a point is that of all outcomes.
        let without_last = |counts: &Counts| -> Vec<_> {
            counts.iter().map(|(place, (requests, credits, _))| (*place, *requests, *credits)).collect()
        };
        prop_assert_eq!(without_last(&found), without_last(&counts));
    }
}
