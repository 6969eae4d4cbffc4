//! Back ends that answer later decide as those in memory do; back ends that fail let nobody in and cost nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use support::faulty_back_ends::{Failing, Later};
use support::{Answer, World, with_key, without_key};
use tollgate::key::KeyStatus;
use tollgate::rule::Cost;
use tollgate::{Credits, Gate, GateBuilder, Plan, Rule};

const KEY: &str = "kwery_live_0123456789";

fn rules(builder: GateBuilder) -> Gate {
    let mut rule = Rule::new("/v1/candles").unwrap();
    rule.cost = Cost::Fixed(Credits::new(40));
    let mut slow = Plan::new("slow");
    slow.quotas = vec!["2 per second".parse().unwrap(), "4 per minute".parse().unwrap()];
    builder.rule(rule).plan(slow).build().unwrap()
}

/// The same story, told to any gate: what each request answers, and the balance after it.
async fn story(world: &World, gate: &Gate) -> Vec<(u16, String, u64)> {
    let limited = world.key(KEY, |_, account| account.plan = "slow".into());
    world.key("kwery_live_revoked", |record, _| record.status = KeyStatus::Revoked);
    world.key("kwery_live_restricted", |record, _| record.paths = Some(vec!["/v1/trades".parse().unwrap()]));
    let requests = [
        without_key("GET /v1/candles"),
        with_key("GET /v1/candles", "short"),
        with_key("GET /v1/candles", "kwery_live_unknown"),
        with_key("GET /v1/candles", "kwery_live_revoked"),
        with_key("GET /v1/candles", "kwery_live_restricted"),
        with_key("GET /v1/candles", KEY),
        with_key("GET /v1/candles", KEY),
        with_key("GET /v1/candles", KEY),
        with_key("GET /v1/trades", KEY),
    ];
    let mut told = Vec::new();
    for (place, request) in requests.into_iter().enumerate() {
        if place == 8 {
            world.clock.advance(std::time::Duration::from_secs(1));
        }
        let answer = world.send(gate, request).await;
        let code = if answer.status == 200 { String::new() } else { answer.member("/error") };
        told.push((answer.status, code, world.balance(limited)));
    }
    told
}

#[tokio::test]
async fn late_back_ends_decide_like_ready_ones() {
    let world = World::new();
    let expected = story(&world, &rules(world.kwery())).await;
    let statuses: Vec<u16> = expected.iter().map(|(status, ..)| *status).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 403, 200, 200, 429, 200]);
    for which in 1..8 {
        let world = World::new();
        let mut late = world.clone();
        if which & 1 != 0 {
            late = late.with_store(Later(Arc::clone(&world.store)));
        }
        if which & 2 != 0 {
            late = late.with_limiter(Later(Arc::clone(&world.limiter)));
        }
        if which & 4 != 0 {
            late = late.with_ledger(Later(Arc::clone(&world.ledger)));
        }
        assert_eq!(story(&world, &rules(late.kwery())).await, expected, "{which}");
    }
}

fn unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(!answer.headers.contains_key("www-authenticate"));
    assert!(!answer.body.contains("refused"), "what broke is the operator's business: {answer:?}");
}

#[tokio::test]
async fn failing_store_is_not_an_unknown_key() {
    let world = World::new();
    let id = world.plain_key(KEY);
    let store = Failing::new(Arc::clone(&world.store));
    let gate = rules(world.with_store(store.clone()).kwery());
    unavailable(&world.send(&gate, with_key("GET /v1/candles", KEY)).await);
    unavailable(&world.send(&gate, with_key("GET /v1/candles", "kwery_live_unknown")).await);
    assert_eq!((world.calls(), world.balance(id), store.asked()), (0, 100, 2));
    // The failure is not remembered.
    store.down.store(false, Ordering::SeqCst);
    assert_eq!(world.send(&gate, with_key("GET /v1/candles", KEY)).await.status, 200);
}

#[tokio::test]
async fn failing_limiter_or_ledger_admits_nobody() {
    let world = World::new();
    let id = world.key(KEY, |_, account| account.plan = "slow".into());
    let (limiter, ledger) =
        (Failing::new(Arc::clone(&world.limiter)), Failing::new(Arc::clone(&world.ledger)));
    let gate = rules(world.with_limiter(limiter.clone()).with_ledger(ledger.clone()).kwery());
    unavailable(&world.send(&gate, with_key("GET /v1/candles", KEY)).await);
    assert_eq!((limiter.asked(), ledger.asked()), (1, 0));
    limiter.down.store(false, Ordering::SeqCst);
    unavailable(&world.send(&gate, with_key("GET /v1/candles", KEY)).await);
    assert_eq!((ledger.asked(), world.calls(), world.balance(id)), (1, 0, 100));
    ledger.down.store(false, Ordering::SeqCst);
    assert_eq!(world.send(&gate, with_key("GET /v1/candles", KEY)).await.status, 200);
}

/// By construction, not by the clock: whatever is wrong with a key of the right shape, the same is done for it.
#[tokio::test]
async fn known_and_unknown_keys_take_equal_calls() {
    let world = World::new();
    world.key("kwery_live_revoked", |record, _| record.status = KeyStatus::Revoked);
    world.key("kwery_live_expired", |record, _| {
        record.expires_at = Some(tollgate::clock::Timestamp::from_millis(0));
    });
    world.key(KEY, |record, _| record.allowlist = Some(vec![]));
    let (store, limiter) = (Failing::new(Arc::clone(&world.store)), Failing::new(Arc::clone(&world.limiter)));
    let ledger = Failing::new(Arc::clone(&world.ledger));
    for down in [&store.down, &limiter.down, &ledger.down] {
        down.store(false, Ordering::SeqCst);
    }
    let gate = rules(
        world.with_store(store.clone()).with_limiter(limiter.clone()).with_ledger(ledger.clone()).kwery(),
    );
    let near = format!("{}x", &KEY[..KEY.len() - 1]);
    for (place, key) in
        ["kwery_live_unknown", &near, KEY, "kwery_live_revoked", "kwery_live_expired"].into_iter().enumerate()
    {
        assert_eq!(world.send(&gate, with_key("GET /v1/candles", key)).await.status, 401, "{key}");
        // One look-up by the hash of the whole key, and no other back end.
        assert_eq!((store.asked(), limiter.asked(), ledger.asked()), (place + 1, 0, 0), "{key}");
    }
}

#[tokio::test]
async fn charge_with_lost_answer_is_refunded() {
    let world = World::new();
    let id = world.plain_key(KEY);
    let mut ledger = Failing::new(Arc::clone(&world.ledger));
    ledger.after_the_fact = true;
    let gate = rules(world.with_ledger(ledger).kwery());
    unavailable(&world.send(&gate, with_key("GET /v1/candles", KEY)).await);
    assert_eq!((world.balance(id), world.ledger.open_charges(&world.account_of(id))), (100, 0));
}

#[tokio::test]
async fn record_with_another_hash_is_refused() {
    #[derive(Debug)]
    struct Confused(Arc<tollgate::KeyRecord>);

    impl tollgate::KeyStore for Confused {
        fn find(
            &self,
            _: &tollgate::key::KeyHash,
        ) -> tollgate::StoreFuture<Option<Arc<tollgate::KeyRecord>>> {
            tollgate::StoreFuture::ready(Some(Arc::clone(&self.0)))
        }
    }

    let world = World::new();
    let id = world.plain_key(KEY);
    let gate = rules(world.with_store(Confused(world.store.key(id).unwrap())).kwery());
    assert_eq!(world.send(&gate, with_key("GET /v1/trades", KEY)).await.status, 200);
    unavailable(&world.send(&gate, with_key("GET /v1/trades", "kwery_live_another")).await);
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn unknown_name_in_record_admits_nobody() {
    let world = World::new();
    world.key("kwery_live_no_plan", |_, account| account.plan = "forgotten".into());
    world.key("kwery_live_no_quota", |record, _| record.quotas = Some(vec!["forgotten".parse().unwrap()]));
    let gate = rules(world.kwery());
    for key in ["kwery_live_no_plan", "kwery_live_no_quota"] {
        let answer = world.send(&gate, with_key("GET /v1/trades", key)).await;
        assert_eq!(answer.status, 500, "{key}");
        assert!(!answer.body.contains("forgotten"), "{answer:?}");
    }
    assert_eq!(world.calls(), 0);
}

#[test]
fn moved_key_stays_with_its_new_account() {
    let world = World::new();
    let id = world.plain_key(KEY);
    let mut record = tollgate::KeyRecord::clone(&world.store.key(id).unwrap());
    let old = record.account.id.to_string();
    record.account = Arc::new(tollgate::Account::new("buyer", "plain"));
    world.store.put_key(record);
    world.store.change_account(&old, |account| account.plan = "enterprise".into());
    assert_eq!(world.store.key(id).unwrap().account.id.as_str(), "buyer");
}
