//! Paths, routes and wrappers by which a request could avoid a limit.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tollgate::account::{InFlightLimit, NetworkCut, PlanRule, QuotaPolicy, QuotaRef, QuotaScope};
use tollgate::gate::AttemptLimit;
use tollgate::key::{KeyHash, Length};
use tollgate::rule::Weight;
use tollgate::{
    Config, DenialKind, Gate, GateBuilder, KeyFormat, KeyRecord, KeySource, KeyStore, Plan, RequestView,
    Rule, StoreFuture,
};

use crate::attempts::{Counting, guess};
use crate::support::providers::KWERY;
use crate::support::{World, from, with_key, without_key};

fn limited_world() -> World {
    let world = World::new();
    world.key(KWERY, |_, account| account.plan = "limited".into());
    world
}

/// A service that decodes paths, such as a file server, serves `/a/b` for `/a/%62`.
#[tokio::test]
async fn encoded_path_cannot_avoid_plan_terms() {
    let world = limited_world();
    let mut plan = Plan::new("limited");
    let mut terms = PlanRule::default();
    terms.quotas = vec!["1 per hour".parse().unwrap()];
    plan.rules.insert("GET /a/b".to_owned(), terms);
    let gate = world
        .kwery()
        .plan(plan)
        .rule(Rule::new("GET /a/b").unwrap())
        .rule(Rule::new("GET /a/{name}").unwrap())
        .build()
        .unwrap();
    assert_eq!(world.send(&gate, with_key("GET /a/b", KWERY)).await.status, 200);
    assert_eq!(world.send(&gate, with_key("GET /a/b", KWERY)).await.status, 429);
    let encoded = world.send(&gate, with_key("GET /a/%62", KWERY)).await.status;
    assert_ne!(encoded, 200, "the quota that the plan has for `GET /a/b` is avoided");
}

/// The reference says that `ROUTE` is a route of the rule, and that the routes of a rule share its windows.
#[tokio::test]
async fn plan_terms_apply_to_every_route() {
    const KEY: &str = "acme_0123456789abcdef0123456789abcdef";
    let world = World::new();
    world.key(KEY, |_, account| account.plan = "limited".into());
    let text = "sources = [{ header = 'X-API-Key' }]
        formats = [{ prefix = 'acme_', body = 32 }]
        rules = [{ route = ['GET /a', 'GET /b'], quotas = ['100 per hour'] }]
        [plans.limited.rules.'GET /a']
        quotas = ['1 per hour']";
    let config = Config::from_toml(text, "acme.toml").unwrap();
    let gate = config.builder().unwrap().store(world.store.clone()).build().unwrap();
    let statuses = world.statuses(&gate, ["GET /a", "GET /b"].map(|route| with_key(route, KEY))).await;
    assert_eq!(statuses, [200, 429], "both are routes of one rule, whose quota is one per hour on this plan");
    let text = text.replace("'GET /a']\n", "'GET /b']\n");
    let config = Config::from_toml(&text, "acme.toml").unwrap();
    let gate = config.builder().unwrap().store(world.store.clone()).build().unwrap();
    let statuses = world.statuses(&gate, ["GET /a", "GET /a"].map(|route| with_key(route, KEY))).await;
    assert_eq!(statuses, [200, 429], "the terms under the other route");
}

#[cfg(feature = "fleet")]
mod outages {
    use std::num::NonZeroU32;

    use tollgate::RequestView;
    use tollgate::limit::{AllowOnFailure, LocalFallback, LocalShare};

    use super::*;
    use crate::support::faulty_back_ends::Failing;

    /// The fallback is the limiter behind the wrapper, so that its slots are acquired and must be released.
    #[tokio::test]
    async fn slots_behind_a_wrapper_are_released() {
        let world = limited_world();
        let down = Failing::new(Arc::clone(&world.limiter));
        let fallback = LocalFallback::new(down, LocalShare::new(NonZeroU32::MIN));
        let mut plan = Plan::new("limited");
        plan.in_flight = Some(InFlightLimit::new(1).unwrap());
        let gate = world.with_limiter(AllowOnFailure::new(fallback)).kwery().plan(plan).build().unwrap();
        let request = with_key("GET /a", KWERY).body(()).unwrap();
        for number in 0..2 {
            let admitted = gate.admit(&RequestView::of(&request)).await;
            assert_eq!(admitted.as_ref().err().map(tollgate::Denial::kind), None, "request {number}");
            drop(admitted);
        }
    }

    #[tokio::test]
    async fn share_behind_a_wrapper_is_corrected() {
        let world = limited_world();
        let share = LocalShare::new(NonZeroU32::MIN);
        let gate = reporting(world.with_limiter(AllowOnFailure::new(share)).kwery(), 40);
        let request = with_key("POST /chat", KWERY).body(()).unwrap();
        let admission = gate.admit(&RequestView::of(&request)).await.unwrap();
        let report = admission.weight_report().unwrap();
        report.report(90);
        drop((report, admission));
        let admission = gate.admit(&RequestView::of(&request)).await;
        assert_eq!(admission.err().map(|denial| denial.kind()), Some(DenialKind::RateLimited));
    }
}

/// A gate whose rule reserves units of a quota of 100.
fn reporting(builder: GateBuilder, reserve: u32) -> Gate {
    let mut plan = Plan::new("limited");
    plan.quotas = vec!["100 per minute".parse().unwrap()];
    let mut rule = Rule::new("POST /chat").unwrap();
    rule.weight = Weight::Reported { reserve, most: 100 };
    builder.plan(plan).rule(rule).build().unwrap()
}

/// `GateBuilder::anonymous` says that a pool is shared as ever.
#[tokio::test]
async fn anonymous_requests_share_pools() {
    const KEY: &str = "acme_0123456789abcdef0123456789abcdef";
    let world = World::new();
    world.key(KEY, |_, account| account.plan = "free".into());
    let pooled = |name: &str| {
        let quota = "2 per minute".parse::<QuotaPolicy>().unwrap();
        let mut plan = Plan::new(name);
        plan.quotas = vec![QuotaRef::Policy(quota.counting(QuotaScope::Pool("all".into())))];
        plan
    };
    let mut rule = Rule::new("GET /ticker").unwrap();
    rule.anonymous = true;
    let gate = world
        .bare()
        .source(KeySource::header("X-API-Key").unwrap())
        .format(KeyFormat::new("acme_", Length::exactly(32)).unwrap())
        .plan(pooled("free"))
        .plan(pooled("anonymous"))
        .anonymous("anonymous", NetworkCut::default())
        .rule(rule)
        .build()
        .unwrap();
    let keyed = || with_key("GET /ticker", KEY);
    let requests = [keyed(), keyed(), from(without_key("GET /ticker"), "192.0.2.7")];
    assert_eq!(world.statuses(&gate, requests).await, [200, 200, 429], "the pool has two a minute");
}

fn attempts_builder(world: &World) -> GateBuilder {
    crate::attempts::builder(world).attempts(AttemptLimit::new("5 per minute".parse().unwrap()).unwrap())
}

/// `AttemptLimit` says that a key that the gate found before is served behind a network above its quota.
#[tokio::test]
async fn key_denied_elsewhere_is_still_known() {
    const HOME: &str = "192.0.2.1";
    let world = World::new();
    let store = Counting(Arc::clone(&world.store), Arc::<AtomicUsize>::default());
    world.key(KWERY, |key, _| key.allowlist = Some(vec!["192.0.2.0/24".parse().unwrap()]));
    let gate = attempts_builder(&world.with_store(store)).build().unwrap();
    let ask = async |key: &str, address: &str| {
        let request = from(with_key("GET /v1/x", key), address).body(()).unwrap();
        gate.admit(&RequestView::of(&request)).await.err().map(|denial| denial.kind())
    };
    assert_eq!(ask(KWERY, HOME).await, None);
    assert_eq!(ask(KWERY, "198.51.100.7").await, Some(DenialKind::AddressNotAllowed));
    assert_eq!(ask(KWERY, HOME).await, None, "the gate finds the key again");
    for number in 0..20 {
        assert!(ask(&guess(number), HOME).await.is_some());
    }
    assert_eq!(ask(KWERY, HOME).await, None, "a key that the gate has found is served beside a guesser");
}

/// A store whose look-ups wait until it is opened.
#[derive(Debug, Clone, Default)]
struct Slow {
    look_ups: Arc<AtomicUsize>,
    open: Arc<AtomicBool>,
    wakers: Arc<Mutex<Vec<Waker>>>,
}

impl KeyStore for Slow {
    fn find(&self, _: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.look_ups.fetch_add(1, Ordering::SeqCst);
        let slow = self.clone();
        StoreFuture::boxed(std::future::poll_fn(move |cx| {
            if slow.open.load(Ordering::SeqCst) {
                return Poll::Ready(Ok(None));
            }
            slow.wakers.lock().unwrap().push(cx.waker().clone());
            Poll::Pending
        }))
    }
}

/// One HTTP/2 connection has a hundred streams. A quota of five permits five failed attempts.
#[tokio::test]
async fn concurrent_guesses_are_within_the_quota() {
    let store = Slow::default();
    let gate = attempts_builder(&World::new().with_store(store.clone())).build().unwrap();
    let requests: Vec<_> = (0..100)
        .map(|number| from(with_key("GET /v1/x", &guess(number)), "198.51.100.7").body(()).unwrap())
        .collect();
    let views: Vec<_> = requests.iter().map(RequestView::of).collect();
    let mut waiting: Vec<_> = views.iter().map(|view| Box::pin(gate.admit(view))).collect();
    for request in &mut waiting {
        let _ = request.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    store.open.store(true, Ordering::SeqCst);
    let mut unknown = 0;
    for request in waiting {
        unknown += usize::from(request.await.unwrap_err().kind() == DenialKind::Unknown);
    }
    // The look-ups had begun before the first of them failed.
    assert_eq!((unknown, store.look_ups.load(Ordering::SeqCst)), (5, 100));
}

/// Every request that names no weight takes 20 of 10 units, and is a 400 for ever.
#[test]
fn default_weight_above_a_quota_is_refused() {
    let mut rule = Rule::new("GET /a").unwrap();
    rule.weight = Weight::Parameter { parameter: "years".into(), least: 1, default: 20, most: 20 };
    rule.quotas = vec!["10 per minute".parse().unwrap()];
    assert!(World::new().kwery().rule(rule).build().is_err());
}

/// The description names a quota of `[quotas]` by its number, and the quotas that plans have for the rule.
#[cfg(feature = "openapi")]
#[test]
fn openapi_says_the_quotas_of_a_rule() {
    let mut plan = Plan::new("limited");
    let mut terms = PlanRule::default();
    terms.quotas = vec!["7 per day".parse().unwrap()];
    plan.rules.insert("GET /a".to_owned(), terms);
    let mut rule = Rule::new("GET /a").unwrap();
    rule.quotas = vec!["backtests".parse().unwrap()];
    rule.weight = Weight::Parameter { parameter: "years".into(), least: 3, default: 3, most: 5 };
    let quota = "10 per minute".parse::<QuotaPolicy>().unwrap().counting(QuotaScope::Account);
    let gate = World::new().kwery().plan(plan).quota("backtests", quota).rule(rule).build().unwrap();
    let mut document = serde_json::json!({ "paths": { "/a": { "get": {} } } });
    gate.add_to_openapi(&mut document);
    let operation = &document["paths"]["/a"]["get"];
    let told = format!("{}{}", operation["x-tollgate"], operation["description"]);
    let missing: Vec<_> = ["10 per minute", "account", "7 per day", "\"least\":3"]
        .into_iter()
        .filter(|part| !told.contains(part))
        .collect();
    assert!(missing.is_empty(), "{missing:?} are missing in {told}");
}
