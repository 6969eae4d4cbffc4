//! Compares the scripts with a naive model, on a time that the test sets. Needs `redis-server`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use redis::cmd;

use super::{HeldSlots, LONGEST};
use crate::account::{Account, InFlightLimit, InFlightLimits, NetworkCut, QuotaOrigin, QuotaScope};
use crate::clock::{Now, Timestamp};
use crate::key::{KeyHasher, KeyId, KeyRecord};
use crate::limit::redis::tests::services::redis::Redis;
use crate::limit::{Acquire, Acquired, RateLimiter, RedisLimiter, SlotId};
use crate::redis::RedisServer;

/// The time that the test has set. The sets themselves expire by the server's own time, which is long enough here.
const CLOCK: &str = "local function clock() return tonumber(redis.call('GET', 'time')) end";

/// The lifetimes of two nodes. A node renews by itself after a third of it, which is longer than the test.
const LIFETIMES: [Duration; 2] = [Duration::from_mins(5), LONGEST];

/// A time after the start of the model.
const START: i64 = 1_777_550_400_000_000;

/// The maximum of each limit, by its place.
const MOSTS: [u32; 6] = [2, 3, 4, 3, 5, 2];

fn limits() -> [InFlightLimit; 6] {
    let owners = [
        (QuotaScope::Key, QuotaOrigin::Plan),
        (QuotaScope::Key, QuotaOrigin::Rule("GET /{a}:%".into())),
        (QuotaScope::Account, QuotaOrigin::Plan),
        (QuotaScope::Network(NetworkCut::default()), QuotaOrigin::Plan),
        (QuotaScope::Pool("demo".into()), QuotaOrigin::Plan),
        (QuotaScope::Pool("demo".into()), QuotaOrigin::Rule("GET /{a}%3A".into())),
    ];
    let mut limits = owners.into_iter().zip(MOSTS);
    std::array::from_fn(|_| {
        let ((counts, origin), most) = limits.next().unwrap();
        InFlightLimit::new(most).unwrap().counting(counts).of(origin)
    })
}

/// A step of a request, or a fault of the server or of a node.
#[derive(Debug, Clone)]
enum Step {
    /// A request of a key at a node under some of the limits.
    Acquire {
        key: usize,
        node: usize,
        limits: Vec<usize>,
    },
    /// The end of a request, perhaps once more.
    Release(prop::sample::Index),
    Renew(usize),
    /// Microseconds, which may be negative.
    Wait(i64),
    /// The server loses its data.
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    let limits = prop::collection::btree_set(0..MOSTS.len(), 1..4)
        .prop_map(|places: BTreeSet<usize>| places.into_iter().collect());
    let wait = prop_oneof![
        4 => 0_i64..100_000_000,
        2 => 200_000_000_i64..700_000_000,
        1 => Just(i64::try_from(LIFETIMES[0].as_micros()).unwrap()),
        1 => -2_000_000_000_i64..0,
    ];
    prop_oneof![
        10 => (0_usize..3, 0_usize..2, limits).prop_map(|(key, node, limits)| Step::Acquire { key, node, limits }),
        5 => any::<prop::sample::Index>().prop_map(Step::Release),
        3 => (0_usize..2).prop_map(Step::Renew),
        3 => wait.prop_map(Step::Wait),
        1 => Just(Step::Lose),
    ]
}

/// A request that has held slots, and perhaps still does.
#[derive(Debug, Clone)]
struct Request {
    key: usize,
    node: usize,
    limits: Vec<usize>,
    /// The names of the sets in the model.
    sets: Vec<(usize, usize)>,
    is_held: bool,
}

/// The slots by set, with the times at which they expire. A set is a limit and the owner that it counts.
#[derive(Debug, Default)]
struct Model {
    sets: BTreeMap<(usize, usize), BTreeMap<usize, i64>>,
    now: i64,
}

impl Model {
    /// Returns the owner that a limit counts, for a key. The first two keys are of one account and one network.
    fn owner(limit: usize, key: usize) -> usize {
        match limit {
            0 | 1 => key,
            2 | 3 => key / 2,
            _ => 0,
        }
    }

    fn live(&mut self, set: (usize, usize)) -> &mut BTreeMap<usize, i64> {
        let now = self.now;
        let slots = self.sets.entry(set).or_default();
        slots.retain(|_, expiry| (now + 1..=now + micros(LONGEST)).contains(expiry));
        slots
    }

    /// Returns the place of the first limit without a slot.
    fn acquire(&mut self, id: usize, request: &Request) -> Option<usize> {
        for (place, set) in request.sets.iter().enumerate() {
            if self.live(*set).len() >= usize::try_from(MOSTS[set.0]).unwrap() {
                return Some(place);
            }
        }
        self.renew(id, request);
        None
    }

    fn renew(&mut self, id: usize, request: &Request) {
        let expiry = self.now + micros(LIFETIMES[request.node]);
        for set in &request.sets {
            self.sets.entry(*set).or_default().insert(id, expiry);
        }
    }

    fn release(&mut self, id: usize, request: &Request) {
        for set in &request.sets {
            self.sets.entry(*set).or_default().remove(&id);
        }
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap()
}

struct Fleet {
    server: RedisServer,
    nodes: [RedisLimiter; 2],
    records: Vec<KeyRecord>,
    limits: [InFlightLimit; 6],
}

impl Fleet {
    async fn over(redis: &Redis) -> Self {
        let server = RedisServer::open(&redis.url(), "acme").unwrap();
        let () = server.ask(&cmd("FLUSHALL")).await.unwrap();
        let node = |lifetime| {
            let slots = HeldSlots::new(server.clone(), lifetime, CLOCK);
            RedisLimiter { slots, ..RedisLimiter::new(server.clone()) }
        };
        let record = |key: u128| {
            let hash = KeyHasher::sha256().hash(&key.to_be_bytes());
            let account = Account::new(format!("a{}", key / 2), "plain");
            KeyRecord::new(KeyId::from_bytes(key.to_be_bytes()), hash, Arc::new(account))
        };
        let nodes = LIFETIMES.map(node);
        Self { nodes, records: (0..3).map(record).collect(), limits: limits(), server }
    }

    async fn show(&self, micros: i64) {
        let () = self.server.ask(cmd("SET").arg("time").arg(START + micros)).await.unwrap();
    }

    fn limits_of(&self, request: &Request) -> InFlightLimits {
        InFlightLimits::new(request.limits.iter().map(|place| self.limits[*place].clone()))
    }

    fn call<'a>(&'a self, id: usize, request: &Request, limits: &'a InFlightLimits) -> Acquire<'a> {
        let now = Now::new(Timestamp::from_millis(0), Duration::ZERO);
        let network = u8::try_from(request.key / 2).unwrap();
        let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, network));
        Acquire::new(slot(id), &self.records[request.key], limits, now).from_address(address)
    }

    /// Returns the ids in the sets of a request.
    async fn ids(&self, request: &Request) -> Vec<BTreeSet<String>> {
        let limits = self.limits_of(request);
        let names = self.nodes[0].slot_names(&self.call(0, request, &limits)).unwrap();
        let mut ids = Vec::new();
        for name in &*names {
            ids.push(self.server.ask(cmd("ZRANGE").arg(name).arg(0).arg(-1)).await.unwrap());
        }
        ids
    }
}

fn slot(id: usize) -> SlotId {
    SlotId::from_bytes((id as u128).to_be_bytes())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn run(redis: &Redis, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (fleet, mut model) = (Fleet::over(redis).await, Model::default());
    fleet.show(0).await;
    let mut requests: Vec<Request> = Vec::new();
    for step in steps {
        match step {
            Step::Acquire { key, node, limits } => {
                let id = requests.len();
                let sets = limits.iter().map(|limit| (*limit, Model::owner(*limit, key))).collect();
                let mut request = Request { key, node, limits, sets, is_held: false };
                let full = model.acquire(id, &request);
                let limits = fleet.limits_of(&request);
                let acquired = fleet.nodes[node].acquire(&fleet.call(id, &request, &limits)).await.unwrap();
                let expected = match full {
                    None => Acquired::Held { local: false },
                    Some(limit) => Acquired::Full { limit },
                };
                prop_assert_eq!(acquired, expected);
                request.is_held = full.is_none();
                requests.push(request);
            }
            Step::Release(index) if !requests.is_empty() => {
                let id = index.index(requests.len());
                let request = &mut requests[id];
                request.is_held = false;
                model.release(id, request);
                let limits = fleet.limits_of(request);
                fleet.nodes[request.node].release(&fleet.call(id, request, &limits)).await.unwrap();
            }
            Step::Release(_) => {}
            Step::Renew(node) => {
                let _ = fleet.nodes[node].slots.renew().await;
                let held = |(_, request): &(usize, &Request)| request.is_held && request.node == node;
                requests.iter().enumerate().filter(held).for_each(|(id, request)| model.renew(id, request));
            }
            Step::Wait(time) => {
                model.now += time;
                fleet.show(model.now).await;
            }
            Step::Lose => {
                model.sets.clear();
                let () = fleet.server.ask(&cmd("FLUSHALL")).await.unwrap();
                fleet.show(model.now).await;
            }
        }
    }
    // The sets contain all slots that have not expired. An expired slot is removed by the next request that is given one.
    for request in &requests {
        for (set, found) in request.sets.iter().zip(fleet.ids(request).await) {
            let live = model.live(*set).keys().map(|id| super::shown(slot(*id))).collect::<BTreeSet<_>>();
            prop_assert!(live.is_subset(&found), "{:?}: {:?} in {:?}", set, live, found);
        }
    }
    Ok(())
}

#[test]
fn slots_match_a_naive_model() {
    let Some(redis) = Redis::start() else { return };
    let cases = std::env::var("TOLLGATE_LIMIT_CASES").map_or(60, |number| number.parse().unwrap());
    let settings = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(settings, |(steps in prop::collection::vec(step(), 1..80))| {
        runtime().block_on(run(&redis, steps))?;
    });
}

/// A request that ends while its lost slot is restored holds no slot in the end.
#[test]
fn ended_request_is_not_restored() {
    let Some(redis) = Redis::start() else { return };
    runtime().block_on(async {
        let fleet = Fleet::over(&redis).await;
        fleet.show(0).await;
        let request = Request { key: 0, node: 0, limits: vec![0, 2], sets: Vec::new(), is_held: true };
        let limits = fleet.limits_of(&request);
        let node = &fleet.nodes[0];
        let mut restored = 0;
        for turn in 0_u32..300 {
            let call = fleet.call(1, &request, &limits);
            assert_eq!(node.acquire(&call).await.unwrap(), Acquired::Held { local: false });
            let () = fleet.server.ask(&cmd("FLUSHALL")).await.unwrap();
            fleet.show(0).await;
            let release = async {
                for _ in 0..turn % 60 {
                    tokio::task::yield_now().await;
                }
                node.release(&call).await.unwrap();
            };
            tokio::join!(node.slots.renew(), async {
                release.await;
                restored += usize::from(fleet.ids(&request).await.iter().any(|ids| !ids.is_empty()));
            });
            assert_eq!(fleet.ids(&request).await, vec![BTreeSet::new(); 2], "turn {turn}");
        }
        eprintln!("{restored} of 300 slots were restored too late, and freed");
    });
}

/// The task ends when no slot is held, and the next slot starts another.
#[test]
fn renewal_runs_while_slots_are_held() {
    let Some(redis) = Redis::start() else { return };
    runtime().block_on(async {
        let fleet = Fleet::over(&redis).await;
        fleet.show(0).await;
        let request = Request { key: 0, node: 0, limits: vec![0], sets: Vec::new(), is_held: true };
        let limits = fleet.limits_of(&request);
        let (node, slots) = (&fleet.nodes[0], &fleet.nodes[0].slots);
        let is_renewing = || slots.state().renewal.as_ref().is_some_and(|task| !task.is_finished());
        for _ in 0..2 {
            assert!(!is_renewing());
            let call = fleet.call(1, &request, &limits);
            let _ = node.acquire(&call).await.unwrap();
            assert!(is_renewing() && slots.renew().await);
            node.release(&call).await.unwrap();
            assert!(!slots.renew().await, "there is nothing to renew, and the task ends");
        }
    });
}
