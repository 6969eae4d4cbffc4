//! Accounts changed by hand: the very next request meets what was done.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod deletion;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
#[allow(dead_code, unused_imports, reason = "not all of it is used here")]
use crate::database;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tollgate::account::{AccountStatus, ParamLimit, QuotaPolicy, QuotaRef, QuotaScope, Subscription};
use tollgate::audit::{Action, Actor, AuditEvent, AuditSink};
use tollgate::credit::Balance;
use tollgate::key::{KeyHasher, KeyStatus, Length};
use tollgate::manage::ManageError;
use tollgate::name::AccountId;
use tollgate::rule::Cost;
use tollgate::{
    Account, AccountManager, Clock, CreditManager, Credits, Gate, KeyFormat, KeyId, KeyRecord, KeySource,
    KeyStore, ManualClock, MemoryLedger, MemoryLimiter, MemoryStore, Plan, Rule, TollgateService,
};
use tower::ServiceExt;

const SECRET: &str = "acme_0123456789";

#[derive(Debug, Clone, Default)]
struct Noted(Arc<Mutex<Vec<AuditEvent>>>);

impl AuditSink for Noted {
    fn record(&self, event: &AuditEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Noted {
    fn events(&self) -> Vec<AuditEvent> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn take(&self) -> Vec<(Action, Option<String>)> {
        let events = self.events();
        assert!(events.iter().all(|event| event.actor.name() == Some("alice")));
        events.into_iter().map(|event| (event.action, event.detail)).collect()
    }
}

struct World {
    clock: ManualClock,
    gate: Gate,
    store: Arc<MemoryStore>,
    accounts: AccountManager,
    credits: CreditManager,
    noted: Noted,
    ada: AccountId,
}

fn rule(route: &str, ask: impl FnOnce(&mut Rule)) -> Rule {
    let mut rule = Rule::new(route).unwrap();
    ask(&mut rule);
    rule
}

fn plan(name: &str, rank: u32) -> Plan {
    let mut plan = Plan::new(name);
    plan.rank = Some(rank);
    plan.quotas = vec!["100 per minute".parse().unwrap()];
    plan.caps = [("limit".to_owned(), ParamLimit::AtMost(3))].into();
    plan
}

fn clock() -> ManualClock {
    ManualClock::starting_at("2026-04-30T12:00:00Z".parse().unwrap())
}

fn gate(store: impl KeyStore, clock: ManualClock) -> Gate {
    Gate::builder()
        .source(KeySource::header("X-API-Key").unwrap())
        .format(KeyFormat::new("acme_", Length::exactly(10)).unwrap().accepted_only())
        .store(store)
        .ledger(MemoryLedger::new())
        .limiter(MemoryLimiter::new())
        .clock(clock)
        .plan(plan("free", 0))
        .plan(plan("pro", 1))
        .rule(rule("/pro", |rule| rule.min_plan = Some("pro".into())))
        .rule(rule("/options", |rule| {
            rule.agreements.push("opra".into());
        }))
        .rule(rule("/paid", |rule| rule.subscription = true))
        .rule(rule("/costly", |rule| rule.cost = Cost::Fixed(Credits::new(5))))
        .build()
        .unwrap()
}

fn world() -> World {
    let (store, clock) = (Arc::new(MemoryStore::new()), clock());
    let gate = gate(Arc::clone(&store), clock.clone());
    let (noted, alice) = (Noted::default(), Actor::operator("alice"));
    let manager = AccountManager::new(gate.clone()).unwrap();
    let credits = CreditManager::new(gate.clone()).unwrap();
    World {
        accounts: manager.by(alice.clone()).with_audit(noted.clone()),
        credits: credits.by(alice).with_audit(noted.clone()),
        ada: AccountId::from("ada"),
        clock,
        gate,
        store,
        noted,
    }
}

impl World {
    async fn with_ada() -> Self {
        let world = world();
        let account = world.accounts.create(Account::new("ada", "free")).await.unwrap();
        for (number, secret) in [(1, SECRET), (2, "acme_abcdefghij")] {
            let hash = KeyHasher::sha256().hash(secret.as_bytes());
            world.store.put_key(KeyRecord::new(KeyId::from_bytes([number; 16]), hash, Arc::clone(&account)));
        }
        world.noted.take();
        world
    }

    async fn get_with(&self, secret: &str, path: &str) -> u16 {
        let inner = tower::service_fn(|_: Request<Empty<Bytes>>| async {
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        let request = Request::get(path).header("x-api-key", secret).body(Empty::<Bytes>::new()).unwrap();
        TollgateService::new(inner, self.gate.clone()).oneshot(request).await.unwrap().status().as_u16()
    }

    async fn get(&self, path: &str) -> u16 {
        self.get_with(SECRET, path).await
    }

    fn key(&self) -> Arc<KeyRecord> {
        self.store.key(KeyId::from_bytes([1; 16])).unwrap()
    }
}

#[tokio::test]
async fn suspension_holds_until_resumed() {
    let world = World::with_ada().await;
    assert_eq!(world.get("/x").await, 200);
    let suspended = world.accounts.suspend(&world.ada).await.unwrap();
    assert_eq!((suspended.status, suspended.version), (AccountStatus::Suspended, 1));
    assert_eq!(world.get("/x").await, 403);
    world.accounts.suspend(&world.ada).await.unwrap();
    world.accounts.resume(&world.ada).await.unwrap();
    assert_eq!(world.get("/x").await, 200);
    let told = ["suspended", "resumed"].map(|detail| (Action::AccountChanged, Some(detail.to_owned())));
    assert_eq!(world.noted.take(), told, "what changes nothing is not told");
}

#[tokio::test]
async fn account_changes_open_routes_at_once() {
    let world = World::with_ada().await;
    for path in ["/pro", "/options", "/paid"] {
        assert!(world.get(path).await >= 400, "{path}");
    }
    world.accounts.change_plan(&world.ada, "pro".into()).await.unwrap();
    assert_eq!(world.get("/pro").await, 200);
    world.accounts.change_plan(&world.ada, "free".into()).await.unwrap();
    assert_eq!(world.get("/pro").await, 403);
    world.accounts.sign(&world.ada, "opra".into()).await.unwrap();
    assert_eq!(world.get("/options").await, 200);
    let never_had_one = world.accounts.end_subscription(&world.ada).await.unwrap();
    assert_eq!(never_had_one.subscription, None);
    world.accounts.start_subscription(&world.ada).await.unwrap();
    assert_eq!(world.get("/paid").await, 200);
    let lapsed = world.accounts.end_subscription(&world.ada).await.unwrap();
    assert_eq!(lapsed.subscription, Some(Subscription::Lapsed));
    assert!(world.get("/paid").await >= 400);
    assert_eq!(world.get("/x").await, 200, "the rest stays open");
}

#[tokio::test]
async fn unknown_names_are_refused_unchanged() {
    let world = World::with_ada().await;
    let member = |result: Result<_, ManageError>| match result {
        Err(ManageError::Invalid { member, .. }) => member,
        other => panic!("{other:?}"),
    };
    assert_eq!(member(world.accounts.change_plan(&world.ada, "gold".into()).await), "plan");
    assert_eq!(member(world.accounts.sign(&world.ada, "oprah".into()).await), "agreements");
    assert_eq!(member(world.accounts.create(Account::new("bob", "gold")).await), "plan");
    for id in ["", "a\nb", &"x".repeat(201)] {
        assert_eq!(member(world.accounts.create(Account::new(id, "free")).await), "id");
    }
    let mut named = Account::new("bob", "free");
    named.quotas = Some(vec![QuotaRef::Named("burst".into())]);
    assert_eq!(member(world.accounts.create(named).await), "quotas");
    let mut twice = Account::new("bob", "free");
    twice.quotas = Some(["4 per minute", "10 per minute"].map(|text| text.parse().unwrap()).into());
    assert_eq!(member(world.accounts.create(twice).await), "quotas");
    let unknown = world.accounts.suspend(&"nobody".into()).await;
    assert!(matches!(unknown, Err(ManageError::NotFound("account"))));
    assert!(world.noted.take().is_empty());
    assert_eq!(world.accounts.get(&world.ada).await.unwrap().version, 0);
}

#[tokio::test]
async fn own_quotas_and_caps_hold_at_once() {
    let world = World::with_ada().await;
    let quotas = |texts: &[&str]| Some(texts.iter().map(|text| text.parse().unwrap()).collect());
    assert_eq!(world.get("/x?limit=3").await, 200);
    assert!(world.get("/x?limit=9").await >= 400);
    world.accounts.change_quotas(&world.ada, quotas(&["2 per hour"])).await.unwrap();
    let caps =
        [("limit".to_owned(), ParamLimit::AtMost(9)), ("page".to_owned(), ParamLimit::Forbidden)].into();
    let changed = world.accounts.change_caps(&world.ada, Some(caps)).await.unwrap();
    assert_eq!((&changed.quotas, changed.version), (&quotas(&["2 per hour"]), 2));
    for expected in [200, 200, 429] {
        assert_eq!(world.get("/x?limit=9").await, expected);
    }
    for twice in [&["4 per minute", "10 per minute"], &["60 per minute", "100 per second"]] {
        let refused = world.accounts.change_quotas(&world.ada, quotas(twice)).await;
        assert!(matches!(refused, Err(ManageError::Invalid { member, .. }) if member == "quotas"));
    }
    let unknown = world.accounts.change_quotas(&world.ada, quotas(&["burst"])).await;
    assert!(matches!(unknown, Err(ManageError::Invalid { member, .. }) if member == "quotas"));
    let twice = ["limit", "limit"].map(|name| (name.to_owned(), ParamLimit::AtMost(1))).into();
    let refused = world.accounts.change_caps(&world.ada, Some(twice)).await;
    assert!(matches!(refused, Err(ManageError::Invalid { member, .. }) if member == "caps"));
    world.accounts.change_quotas(&world.ada, Some(Vec::new())).await.unwrap();
    assert_eq!(world.get("/x?limit=9").await, 200);
    world.accounts.change_quotas(&world.ada, None).await.unwrap();
    world.accounts.change_caps(&world.ada, None).await.unwrap();
    assert_eq!(world.get("/x?limit=3").await, 200);
    assert!(world.get("/x?limit=9").await >= 400);
    let told = ["quotas: 2 per hour", "caps: limit=9, page=forbidden", "quotas: none", "quotas of the plan"];
    let told = told.into_iter().chain(["caps of the plan"]);
    let told: Vec<_> = told.map(|detail| (Action::AccountChanged, Some(detail.to_owned()))).collect();
    assert_eq!(world.noted.take(), told);
    world.accounts.delete(&world.ada).await.unwrap();
    let deleted = world.accounts.change_quotas(&world.ada, None).await;
    assert!(matches!(deleted, Err(ManageError::AccountDeleted)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_changes_are_all_made() {
    let world = World::with_ada().await;
    let (plans, statuses) = (world.accounts.clone(), world.accounts.clone());
    let (first, second) = (world.ada.clone(), world.ada.clone());
    let changing = tokio::spawn(async move {
        for _ in 0..500 {
            plans.change_plan(&first, "pro".into()).await.unwrap();
            plans.change_plan(&first, "free".into()).await.unwrap();
        }
    });
    let suspending = tokio::spawn(async move {
        for _ in 0..500 {
            statuses.suspend(&second).await.unwrap();
            statuses.resume(&second).await.unwrap();
        }
    });
    changing.await.unwrap();
    suspending.await.unwrap();
    let account = world.accounts.get(&world.ada).await.unwrap();
    assert_eq!(
        (account.version, account.plan.as_str(), account.status),
        (2_000, "free", AccountStatus::Active)
    );
    assert_eq!(world.noted.take().len(), 2_000);
}

#[tokio::test]
async fn credits_by_hand_show_on_the_next_request() {
    let world = World::with_ada().await;
    assert_eq!(world.get("/costly").await, 402);
    let id = |text: &str| text.parse().unwrap();
    let of = |credits| Balance::Limited(Credits::new(credits));
    assert_eq!(world.credits.top_up(&world.ada, Credits::new(9), &id("a")).await.unwrap(), of(9));
    assert_eq!(world.get("/costly").await, 200);
    assert_eq!(world.get("/costly").await, 402);
    assert_eq!(world.credits.make_unlimited(&world.ada, &id("b")).await.unwrap(), Balance::Unlimited);
    assert_eq!(world.get("/costly").await, 200);
    let added = world.credits.top_up(&world.ada, Credits::new(9), &id("c")).await;
    assert!(matches!(added, Err(ManageError::UnlimitedCredits)));
    assert_eq!(world.credits.set(&world.ada, Credits::new(4), &id("d")).await.unwrap(), of(4));
    assert_eq!(world.get("/costly").await, 402);
    let none = world.credits.deduct(&world.ada, Credits::ZERO, &id("e")).await;
    assert!(matches!(none, Err(ManageError::Invalid { member, .. }) if member == "amount"));
    let above = world.credits.top_up(&world.ada, Credits::MAX, &id("e")).await;
    assert!(matches!(above, Err(ManageError::Invalid { member, .. }) if member == "amount"));
    let other = world.credits.deduct(&world.ada, Credits::new(9), &id("a")).await;
    assert!(matches!(other, Err(ManageError::AdjustmentTaken { .. })));
    let told = ["top up 9: from 0 to 9, by `a`", "make unlimited: from 4 to unlimited, by `b`"];
    let told = told.into_iter().chain(["set 4: from unlimited to 4, by `d`"]);
    let told: Vec<_> = told.map(|detail| (Action::CreditsAdjusted, Some(detail.to_owned()))).collect();
    assert_eq!(world.noted.take(), told);
}

#[tokio::test]
async fn looking_at_limits_draws_nothing() {
    let world = World::with_ada().await;
    world.credits.top_up(&world.ada, Credits::new(50), &"a".parse().unwrap()).await.unwrap();
    let pooled: QuotaPolicy = "3 per hour".parse().unwrap();
    world.store.change_account("ada", |ada| {
        let own = "10 per second".parse().unwrap();
        ada.quotas =
            Some(vec![QuotaRef::Policy(pooled.counting(QuotaScope::Account)), QuotaRef::Policy(own)]);
    });
    assert_eq!(world.get("/costly").await, 200);
    let first = world.gate.key_usage(&world.key()).await.unwrap();
    for _ in 0..50 {
        assert_eq!(world.gate.key_usage(&world.key()).await.unwrap(), first);
    }
    let windows: Vec<_> =
        first.windows.iter().map(|window| (&*window.policy, window.quota, window.remaining)).collect();
    assert_eq!(windows, [("second", 10, 9), ("hour", 3, 2)]);
    assert_eq!(first.windows[1].reset, Duration::from_mins(20));
    assert_eq!(first.balance, Some(Balance::Limited(Credits::new(45))));
    assert_eq!((first.plan.as_str(), first.caps.at_most("limit"), first.expires_at), ("free", Some(3), None));
    assert_eq!(world.get("/costly").await, 200, "two are left");
    assert_eq!(world.get("/costly").await, 200);
    assert_eq!(world.get("/costly").await, 429, "and no more");
    world.clock.advance(Duration::from_mins(20));
    assert_eq!(world.get("/costly").await, 200);
    let last = world.gate.key_usage(&world.key()).await.unwrap();
    assert_eq!((last.windows[1].remaining, last.balance), (0, Some(Balance::Limited(Credits::new(30)))));
}

#[tokio::test]
async fn look_shows_restrictions_without_judging() {
    let world = World::with_ada().await;
    let mut record = KeyRecord::clone(&world.key());
    record.scopes = Some(vec!["quotes:read".into()]);
    record.paths = Some(vec!["/v1/*".parse().unwrap()]);
    record.quotas = Some(Vec::new());
    record.expires_at = Some(world.clock.now().wall());
    record.status = KeyStatus::Revoked;
    let key_usage = world.gate.key_usage(&record).await.unwrap();
    assert_eq!((key_usage.scopes, key_usage.paths), (record.scopes.clone(), record.paths.clone()));
    assert_eq!((key_usage.expires_at, key_usage.windows.len()), (record.expires_at, 0));
    record.account = Arc::new(Account::new("ada", "gold"));
    let unknown = world.gate.key_usage(&KeyRecord::clone(&record)).await;
    assert!(matches!(unknown, Err(ManageError::Misconfigured(_))));
}
