//! A gate whose limits and credits are on one Redis: one question for both, where the order has them side by side.
#![cfg(all(feature = "redis", feature = "config", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::services;

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use services::redis::Redis;
use tollgate::credit::{Balance, RedisLedger};
use tollgate::guard::Resilient;
use tollgate::limit::RedisLimiter;
use tollgate::redis::RedisServer;
use tollgate::{
    Account, Config, CreditLedger, Gate, KeyId, KeyRecord, MemoryStore, RateLimiter, TollgateService,
};
use tower::{ServiceExt, service_fn};

const KEY: &str = "acme_0123456789012345678901";

const SIDE_BY_SIDE: &str =
    r#"["format", "look_up", "key_status", "account_status", "rate_limits", "credits", "scopes"]"#;
const APART: &str =
    r#"["format", "look_up", "key_status", "account_status", "credits", "scopes", "rate_limits"]"#;

/// A gate with six requests a day and four credits a day, over a store in memory.
fn gate(limiter: impl RateLimiter, ledger: impl CreditLedger, order: &str) -> Gate {
    counting(limiter, ledger, order, r#""6 per day""#)
}

/// The same with another quota.
fn counting(limiter: impl RateLimiter, ledger: impl CreditLedger, order: &str, quota: &str) -> Gate {
    let config = format!(
        r#"
        sources = [{{ header = "X-API-Key" }}]
        formats = [{{ prefix = "acme_", body = 22 }}]
        order = {order}
        rules = [
            {{ route = "GET /free" }},
            {{ route = "GET /one", cost = 1 }},
            {{ route = "GET /two", cost = 2 }},
            {{ route = "GET /many", cost = {{ parameter = "limit", each = 1, default = 1, most = 10 }} }},
        ]
        [plans.free]
        quotas = [{quota}]
        credits = {{ amount = 4, every = "1d" }}
        "#
    );
    let store = MemoryStore::new();
    let builder = Config::from_toml(&config, "gate.toml").unwrap().builder().unwrap();
    let hash = tollgate::key::KeyHasher::sha256().hash(KEY.as_bytes());
    let record = KeyRecord::new(KeyId::from_bytes([7; 16]), hash, Arc::new(Account::new("acme", "free")));
    store.put_key(record);
    builder.store(store).limiter(limiter).ledger(ledger).build().unwrap()
}

async fn status(gate: &Gate, path: &str) -> u16 {
    let inner = service_fn(async |_: Request<String>| Ok::<_, Infallible>(Response::new(String::new())));
    let request = Request::get(path).header("X-API-Key", KEY).body(String::new()).unwrap();
    TollgateService::new(inner, gate.clone()).oneshot(request).await.unwrap().status().as_u16()
}

/// Returns the number of scripts run since the last call.
fn scripts(redis: &Redis) -> u64 {
    let stats = redis.say(&["INFO", "commandstats"]);
    redis.say(&["CONFIG", "RESETSTAT"]);
    let calls = stats.split("cmdstat_evalsha:calls=").nth(1).and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

fn open(redis: &Redis) -> RedisServer {
    RedisServer::open(&redis.url(), "acme").unwrap()
}

async fn balance(gate: &Gate) -> Balance {
    let allowance = &gate.plan("free").unwrap().credits;
    let ledger = gate.credit_admin().unwrap();
    ledger
        .balance_of(
            &"acme".into(),
            &tollgate::credit::Currency::CREDITS,
            allowance,
            gate.clock().now().wall(),
        )
        .await
        .unwrap()
}

#[tokio::test]
async fn one_round_trip_decides_like_two_calls() {
    let Some(redis) = Redis::start() else { return };
    let server = open(&redis);
    for (order, at_admission) in [(SIDE_BY_SIDE, 1), (APART, 2)] {
        redis.say(&["FLUSHALL"]);
        let gate = gate(RedisLimiter::new(server.clone()), RedisLedger::new(server.clone()), order);
        // Teaches the server the scripts.
        assert_eq!((status(&gate, "/one").await, status(&gate, "/free").await), (200, 200), "{order}");
        scripts(&redis);
        // One question for both, or two; and one more that closes the charge.
        assert_eq!(status(&gate, "/two").await, 200, "{order}");
        assert_eq!(scripts(&redis), at_admission + 1, "{order}");
        // What costs nothing is drawn alone.
        assert_eq!(status(&gate, "/free").await, 200, "{order}");
        assert_eq!(scripts(&redis), 1, "{order}");
        // One credit is left, and nothing is taken of it; the cell stays drawn where it was drawn before.
        assert_eq!(status(&gate, "/two").await, 402, "{order}");
        assert_eq!(balance(&gate).await.credits().unwrap().get(), 1, "{order}");
        if order == APART {
            assert_eq!(status(&gate, "/free").await, 200);
        }
        assert_eq!(status(&gate, "/one").await, 200, "{order}");
        // The windows are empty: nothing is charged, and nothing is left open.
        assert_eq!(status(&gate, "/one").await, if order == APART { 402 } else { 429 }, "{order}");
        assert_eq!(balance(&gate).await.credits().unwrap().get(), 0, "{order}");
    }
}

#[tokio::test]
async fn uncountable_cost_is_refused_after_draw() {
    let Some(mut redis) = Redis::start() else { return };
    let server = open(&redis);
    let gate = gate(RedisLimiter::new(server.clone()), RedisLedger::new(server), SIDE_BY_SIDE);
    assert_eq!(status(&gate, "/many?limit=nonsense").await, 400);
    assert_eq!(balance(&gate).await.credits().unwrap().get(), 4);
    for _ in 0..5 {
        assert_eq!(status(&gate, "/free").await, 200);
    }
    assert_eq!(status(&gate, "/free").await, 429, "the refused request has drawn its cell");
    redis.kill();
    assert_eq!(status(&gate, "/one").await, 503);
}

/// Returns the scripts that one admission takes, without the one that closes its charge.
async fn scripts_to_admit(redis: &Redis, gate: &Gate) -> u64 {
    redis.say(&["FLUSHALL"]);
    assert_eq!(status(gate, "/one").await, 200);
    scripts(redis);
    assert_eq!(status(gate, "/one").await, 200);
    scripts(redis) - 1
}

#[tokio::test]
async fn one_server_takes_one_round_trip() {
    let Some(redis) = Redis::start() else { return };
    let (one, other) = (open(&redis), open(&redis));
    let (limiter, ledger) = (RedisLimiter::new(one.clone()), RedisLedger::new(one));
    let shared: (Arc<dyn RateLimiter>, Arc<dyn CreditLedger>) =
        (Arc::new(limiter.clone()), Arc::new(ledger.clone()));
    let gates = [
        ("clones of one server", gate(limiter.clone(), ledger.clone(), SIDE_BY_SIDE), 1),
        ("behind pointers", gate(shared.0, shared.1, SIDE_BY_SIDE), 1),
        ("another server", gate(limiter.clone(), RedisLedger::new(other), SIDE_BY_SIDE), 2),
        ("a guarded limiter", gate(Resilient::new(limiter.clone()), ledger.clone(), SIDE_BY_SIDE), 2),
        ("a guarded ledger", gate(limiter, Resilient::new(ledger), SIDE_BY_SIDE), 2),
    ];
    for (name, gate, expected) in gates {
        assert_eq!(scripts_to_admit(&redis, &gate).await, expected, "{name}");
    }
}

#[tokio::test]
async fn cluster_admits_pool_and_account_draws() {
    let Some(redis) = Redis::start_cluster() else { return };
    let server = open(&redis);
    for (quota, expected) in [(r#""6 per day""#, 1), (r#"{ quota = "6 per day", counts = "pool:demo" }"#, 2)]
    {
        let (limiter, ledger) = (RedisLimiter::new(server.clone()), RedisLedger::new(server.clone()));
        let gate = counting(limiter, ledger, SIDE_BY_SIDE, quota);
        assert_eq!(scripts_to_admit(&redis, &gate).await, expected, "{quota}");
    }
}
