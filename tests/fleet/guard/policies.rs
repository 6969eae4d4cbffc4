//! The policies of the table `back_ends`: guards, and the answers while a back end fails.
#![cfg(feature = "config")]

use std::sync::Arc;
use std::time::Duration;

use tollgate::guard::{BackEndPolicies, LimiterFailure, LimiterPolicy};
use tollgate::{
    Account, AccountManager, Config, CreditManager, Credits, Gate, KeyManager, MemoryLedger, MemoryLimiter,
    MemoryStore, NewKey,
};

use crate::support::remote::{Fault, Remote, TokioClock};
use crate::support::{World, with_key};

const KEY: &str = "acme_0123456789abcdef0123456789abcdef";
const OTHER: &str = "acme_1123456789abcdef0123456789abcdef";

const FILE: &str = "sources = [{ header = 'X-API-Key' }]\nformats = [{ prefix = 'acme_', body = 32 }]\n\
                    rules = [{ route = '/v1/candles', cost = 10 }]\n\
                    [plans.limited]\nquotas = ['4 per day']\ncredits = { amount = 100, calendar = 'month', zone = 'UTC' }\n";

struct Far {
    world: World,
    gate: Gate,
    store: Remote<Arc<MemoryStore>>,
    ledger: Remote<Arc<MemoryLedger>>,
    limiter: Remote<Arc<MemoryLimiter>>,
}

/// Returns a gate with these policies, over back ends behind a network, and a world with two keys.
fn far(policies: &str) -> Far {
    let (world, clock) = (World::new(), TokioClock::new());
    let (store, ledger) = (Remote::new(world.store.clone()), Remote::new(world.ledger.clone()));
    let limiter = Remote::new(world.limiter.clone());
    let builder = Config::from_toml(&format!("{FILE}{policies}"), "gate.toml").unwrap().builder().unwrap();
    let builder = builder.store(store.clone()).ledger(ledger.clone()).limiter(limiter.clone());
    let gate = builder.clock(clock).build().unwrap();
    for key in [KEY, OTHER] {
        world.key(key, |_, account| account.plan = "limited".into());
    }
    Far { world, gate, store, ledger, limiter }
}

impl Far {
    async fn statuses(&self, key: &str, count: usize) -> Vec<u16> {
        let mut statuses = Vec::new();
        for _ in 0..count {
            statuses.push(self.world.send(&self.gate, with_key("GET /v1/candles", key)).await.status);
        }
        statuses
    }
}

#[tokio::test(start_paused = true)]
async fn timeout_and_circuit_come_from_the_file() {
    let far =
        far("[back_ends.store]\ntimeout = '250ms'\nfailures = 2\ncooldown = '10s'\non_failure = 'deny'\n");
    assert_eq!(far.statuses(KEY, 1).await, [200]);
    far.store.set(Fault::Hung);
    let begun = tokio::time::Instant::now();
    assert_eq!(far.statuses(KEY, 2).await, [503, 503]);
    assert_eq!(begun.elapsed().as_millis(), 500);
    // The circuit is open: calls fail at once, until one of them probes the store.
    let asked = far.store.asked();
    assert_eq!(far.statuses(KEY, 3).await, [503; 3]);
    assert_eq!((begun.elapsed().as_millis(), far.store.asked()), (500, asked));
    far.store.set(Fault::None);
    assert_eq!(far.statuses(KEY, 1).await, [503]);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(far.statuses(KEY, 1).await, [200]);
}

#[tokio::test(start_paused = true)]
async fn known_key_is_served_while_the_store_fails() {
    let far = far("[back_ends.store]\non_failure = { stale = '5min', cache = '30s' }\n");
    assert_eq!(far.statuses(KEY, 1).await, [200]);
    let asked = far.store.asked();
    assert_eq!((far.statuses(KEY, 1).await, far.store.asked()), (vec![200], asked));
    far.store.set(Fault::Down);
    tokio::time::advance(Duration::from_mins(2)).await;
    assert_eq!((far.statuses(KEY, 1).await, far.statuses(OTHER, 1).await), (vec![200], vec![503]));
    tokio::time::advance(Duration::from_mins(4)).await;
    assert_eq!(far.statuses(KEY, 1).await, [503]);
    far.store.set(Fault::None);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!((far.statuses(KEY, 1).await, far.statuses(OTHER, 1).await), (vec![200], vec![200]));
}

#[tokio::test(start_paused = true)]
async fn each_node_limits_while_the_limiter_fails() {
    let far = far("[back_ends.limiter]\non_failure = 'local'\nnodes = 2\n");
    far.limiter.set(Fault::Down);
    assert_eq!(far.statuses(KEY, 3).await, [200, 200, 429]);
    far.limiter.set(Fault::None);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(far.statuses(KEY, 5).await, [200, 200, 200, 200, 429]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_limited_while_the_limiter_fails() {
    let far = far("[back_ends.limiter]\non_failure = 'allow'\n");
    assert_eq!(far.statuses(KEY, 5).await, [200, 200, 200, 200, 429]);
    far.limiter.set(Fault::Down);
    assert_eq!(far.statuses(KEY, 4).await, [200; 4]);
    // Credits are charged as ever.
    assert_eq!(far.statuses(KEY, 3).await, [200, 200, 402]);
    far.limiter.set(Fault::None);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(far.statuses(KEY, 1).await, [429]);
}

#[tokio::test(start_paused = true)]
async fn failing_back_ends_deny_by_default() {
    for place in ["store", "limiter", "ledger"] {
        let far = far(&format!("[back_ends.{place}]\nfailures = 2\n"));
        match place {
            "store" => far.store.set(Fault::Down),
            "limiter" => far.limiter.set(Fault::Down),
            _ => far.ledger.set(Fault::Down),
        }
        assert_eq!(far.statuses(KEY, 3).await, [503; 3], "{place}");
        // The circuit is open.
        let asked = [far.store.asked(), far.limiter.asked(), far.ledger.asked()];
        let _ = far.statuses(KEY, 1).await;
        let asked_again = [far.store.asked(), far.limiter.asked(), far.ledger.asked()];
        let part = ["store", "limiter", "ledger"].iter().position(|part| *part == place).unwrap();
        assert_eq!(asked[part], asked_again[part], "{place}");
    }
}

/// The managers write through the guard and the cache.
#[tokio::test(start_paused = true)]
async fn managers_work_with_policies() {
    let policies =
        "[back_ends.store]\non_failure = { stale = '5min' }\n[back_ends.limiter]\n[back_ends.ledger]\n";
    let mut far = far(policies);
    let builder = Config::from_toml(&format!("{FILE}{policies}"), "gate.toml").unwrap().builder().unwrap();
    let builder =
        builder.store(far.world.store.clone()).ledger(far.world.ledger.clone()).clock(TokioClock::new());
    far.gate = builder.build().unwrap();
    let accounts = AccountManager::new(far.gate.clone()).unwrap();
    accounts.create(Account::new("new", "limited")).await.unwrap();
    let keys = KeyManager::new(far.gate.clone()).unwrap();
    let key = keys.issue(NewKey::new("new", "a key")).await.unwrap();
    let secret = key.secret.expose_secret().to_owned();
    assert_eq!(far.statuses(&secret, 1).await, [200]);
    keys.revoke(key.key.id).await.unwrap();
    assert_eq!(far.statuses(&secret, 1).await, [401]);
    let credits = CreditManager::new(far.gate.clone()).unwrap();
    let balance = credits.top_up(&"new".into(), Credits::new(5), &"one".parse().unwrap()).await.unwrap();
    assert_eq!(balance.to_string(), "95");
}

#[tokio::test(start_paused = true)]
async fn policies_are_wrapped_whatever_the_order() {
    let world = World::new();
    let limiter = Remote::new(world.limiter.clone());
    limiter.set(Fault::Down);
    let mut policies = BackEndPolicies::default();
    policies.limiter = Some(LimiterPolicy { on_failure: LimiterFailure::Allow, ..LimiterPolicy::default() });
    world.key(KEY, |_, account| account.plan = "limited".into());
    let file = || Config::from_toml(FILE, "gate.toml").unwrap().builder().unwrap().clock(TokioClock::new());
    let before = file().back_end_policies(policies.clone()).limiter(limiter.clone());
    let after = file().limiter(limiter).back_end_policies(policies);
    for builder in [before, after] {
        let gate = builder.store(world.store.clone()).ledger(world.ledger.clone()).build().unwrap();
        assert_eq!(world.send(&gate, with_key("GET /v1/candles", KEY)).await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn guard_of_the_file_keeps_settlements() {
    let far = far("[back_ends.ledger]\nfailures = 1\ncooldown = '1h'\n");
    let view = with_key("GET /v1/candles", KEY).body(()).unwrap();
    let admission = far.gate.admit(&tollgate::RequestView::of(&view)).await.unwrap();
    far.ledger.set(Fault::Down);
    let _ = admission.finish(tollgate::gate::Outcome::Served).await;
    let guard = far.gate.ledger_guard().unwrap();
    assert_eq!(guard.health().pending_settlements, 1);
    far.ledger.set(Fault::None);
    tokio::time::advance(Duration::from_hours(1)).await;
    guard.flush().await.unwrap();
    assert_eq!((guard.health().pending_settlements, far.ledger.closed()), (0, 2));
}
