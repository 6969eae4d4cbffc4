//! A gate whose limits and credits are on one Redis: one question for both, where the order has them side by side.
#![cfg(all(feature = "redis", feature = "config", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::services;

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use services::redis::Redis;
use tollgate::credit::{Balance, CreditAdmin};
use tollgate::meter::RedisMeter;
use tollgate::redis::RedisServer;
use tollgate::{Account, Config, Gate, KeyId, KeyRecord, MemoryStore, TollgateService};
use tower::{ServiceExt, service_fn};

const KEY: &str = "acme_0123456789012345678901";

const SIDE_BY_SIDE: &str =
    r#"["format", "look_up", "key_status", "account_status", "rate_limits", "credits", "scopes"]"#;
const APART: &str =
    r#"["format", "look_up", "key_status", "account_status", "credits", "scopes", "rate_limits"]"#;

/// A gate with six requests a day and four credits a day, over a store in memory.
fn gate(meter: &RedisMeter, order: &str) -> Gate {
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
        quotas = ["6 per day"]
        credits = {{ amount = 4, every = "1d" }}
        "#
    );
    let store = MemoryStore::new();
    let builder = Config::from_toml(&config, "gate.toml").unwrap().builder().unwrap();
    let hash = tollgate::key::KeyHasher::sha256().hash(KEY.as_bytes());
    let record = KeyRecord::new(KeyId::from_bytes([7; 16]), hash, Arc::new(Account::new("acme", "free")));
    store.put_key(record);
    let builder = builder.managed_store(store).limiter(meter.limiter()).ledger(meter.ledger());
    builder.meter(meter.clone()).build().unwrap()
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

async fn balance(meter: &RedisMeter, gate: &Gate) -> Balance {
    let allowance = &gate.plan("free").unwrap().credits;
    meter.ledger().balance_of(&"acme".into(), allowance, gate.clock().now().wall()).await.unwrap()
}

#[tokio::test]
async fn one_round_trip_decides_like_two_calls() {
    let Some(redis) = Redis::start() else { return };
    let meter = RedisMeter::new(RedisServer::open(&redis.url(), "acme").unwrap());
    for (order, at_admission) in [(SIDE_BY_SIDE, 1), (APART, 2)] {
        redis.say(&["FLUSHALL"]);
        let gate = gate(&meter, order);
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
        assert_eq!(balance(&meter, &gate).await.credits().unwrap().get(), 1, "{order}");
        if order == APART {
            assert_eq!(status(&gate, "/free").await, 200);
        }
        assert_eq!(status(&gate, "/one").await, 200, "{order}");
        // The windows are empty: nothing is charged, and nothing is left open.
        assert_eq!(status(&gate, "/one").await, if order == APART { 402 } else { 429 }, "{order}");
        assert_eq!(balance(&meter, &gate).await.credits().unwrap().get(), 0, "{order}");
    }
}

#[tokio::test]
async fn uncountable_cost_is_refused_after_draw() {
    let Some(mut redis) = Redis::start() else { return };
    let meter = RedisMeter::new(RedisServer::open(&redis.url(), "acme").unwrap());
    let gate = gate(&meter, SIDE_BY_SIDE);
    assert_eq!(status(&gate, "/many?limit=nonsense").await, 400);
    assert_eq!(balance(&meter, &gate).await.credits().unwrap().get(), 4);
    for _ in 0..5 {
        assert_eq!(status(&gate, "/free").await, 200);
    }
    assert_eq!(status(&gate, "/free").await, 429, "the refused request has drawn its cell");
    redis.kill();
    assert_eq!(status(&gate, "/one").await, 503);
}
