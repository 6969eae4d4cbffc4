//! The script against the limiter in memory, on a time of the test's own. Needs `redis-server`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use redis::cmd;

use super::services::redis::Redis;
use super::{RedisLimiter, Scripts};
use crate::account::{Account, Counts, QuotaPolicy, Quotas};
use crate::clock::{Clock, ManualClock};
use crate::key::{KeyHasher, KeyId, KeyRecord};
use crate::limit::{Draw, MemoryLimiter, Quota, RateLimiter, Standing};
use crate::redis::RedisServer;

/// The time that the test has written.
const CLOCK: &str = "local function clock() return tonumber(redis.call('GET', 'time')) end";

/// Both limiters, and the time that both go by.
struct Pair {
    server: RedisServer,
    shared: RedisLimiter,
    memory: MemoryLimiter,
    clock: ManualClock,
    records: Vec<KeyRecord>,
}

impl Pair {
    async fn over(redis: &Redis) -> Self {
        let server = RedisServer::open(&redis.url(), "acme").unwrap();
        let () = server.ask(&cmd("FLUSHALL")).await.unwrap();
        let shared = RedisLimiter { server: server.clone(), scripts: Arc::new(Scripts::going_by(CLOCK)) };
        let clock = ManualClock::starting_at("2026-04-30T12:00:00Z".parse().unwrap());
        // Three keys, of which two are of one account.
        let record = |key: u128| {
            let hash = KeyHasher::sha256().hash(&key.to_be_bytes());
            let account = Account::new(format!("a{}", key / 2), "plain");
            KeyRecord::new(KeyId::from_bytes(key.to_be_bytes()), hash, Arc::new(account))
        };
        Self { server, shared, memory: MemoryLimiter::new(), clock, records: (0..3).map(record).collect() }
    }

    /// Lets both see the time: Redis's own is written as its clock would tell it.
    async fn wait(&self, by: Duration) {
        self.clock.advance(by);
        let micros = 1_777_550_400_000_000 + self.clock.now().elapsed().as_micros();
        let () = self.server.ask(cmd("SET").arg("time").arg(micros.to_string())).await.unwrap();
    }

    async fn draw(&self, key: usize, quotas: &Quotas) -> (Quota, Quota) {
        let draw = Draw::new(&self.records[key], quotas, self.clock.now());
        (self.shared.draw(&draw).await.unwrap(), self.memory.draw(&draw).await.unwrap())
    }

    async fn peek(&self, key: usize, quotas: &Quotas) -> (Vec<Standing>, Vec<Standing>) {
        let draw = Draw::new(&self.records[key], quotas, self.clock.now());
        (self.shared.peek(&draw).await.unwrap(), self.memory.peek(&draw).await.unwrap())
    }
}

/// Quotas whose refills are whole microseconds, so that both limiters round alike.
fn policy() -> impl Strategy<Value = QuotaPolicy> {
    let counts = prop::sample::select(vec![Counts::Key, Counts::Account, Counts::Pool("demo".into())]);
    let window = prop::sample::select(vec![6, 60, 366 * 86_400_u64]);
    (1_u32..7, window, counts, any::<bool>()).prop_filter_map(
        "whole microseconds",
        |(quota, window, counts, strict)| {
            // Requests of a wide quota are counted together, in stretches that begin alike for both limiters.
            let quota = if strict && window < 86_400 { quota * 5 } else { quota };
            let policy = QuotaPolicy::new(quota, Duration::from_secs(window)).unwrap().counting(counts);
            let policy = if strict { policy.in_any_window() } else { policy };
            policy.refill().as_nanos().is_multiple_of(1_000).then_some(policy)
        },
    )
}

/// One quota per window and subject, as a plan may have them.
fn quotas() -> impl Strategy<Value = Quotas> {
    prop::collection::vec(policy(), 1..6).prop_map(|mut policies| {
        policies.sort_by_key(|policy| (format!("{:?}", policy.counts()), policy.window()));
        policies.dedup_by(|a, b| a.window() == b.window() && a.counts() == b.counts());
        Quotas::new(policies)
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn the_script_decides_as_the_limiter_in_memory_does() {
    let Some(redis) = Redis::start() else { return };
    let settings = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
    let wait = prop_oneof![3 => Just(0_u64), 2 => 0_u64..900_000, 1 => 0_u64..20_000_000, 1 => 0_u64..90_000_000_000_000];
    let draws = prop::collection::vec((0_usize..3, wait, any::<bool>()), 1..60);
    proptest!(settings, |(quotas in prop::collection::vec(quotas(), 3), draws in draws)| {
        runtime().block_on(async {
            let pair = Pair::over(&redis).await;
            for (key, wait, peeks) in draws {
                pair.wait(Duration::from_micros(wait)).await;
                if peeks {
                    let (shared, memory) = pair.peek(key, &quotas[key]).await;
                    prop_assert_eq!(shared, memory);
                }
                let (shared, memory) = pair.draw(key, &quotas[key]).await;
                prop_assert_eq!(shared, memory);
            }
            Ok(())
        })?;
    });
}

#[test]
fn a_request_is_denied_until_exactly_the_promised_instant() {
    let Some(redis) = Redis::start() else { return };
    runtime().block_on(async {
        let pair = Pair::over(&redis).await;
        // Three in a second refill in thirds that no microsecond can hold.
        let quotas = Quotas::new(
            ["3 per second", "100 per 366s", "7 per 31622400s"].map(|quota| quota.parse().unwrap()),
        );
        let draw =
            async || pair.shared.draw(&Draw::new(&pair.records[0], &quotas, pair.clock.now())).await.unwrap();
        for _ in 0..40 {
            pair.wait(Duration::from_micros(17)).await;
            let Quota::Exceeded { retry_after, .. } = draw().await else { continue };
            pair.wait(retry_after.saturating_sub(Duration::from_micros(1))).await;
            let Quota::Exceeded { retry_after, .. } = draw().await else { panic!("admitted early") };
            assert_eq!(retry_after, Duration::from_micros(1));
            pair.wait(retry_after).await;
            assert!(matches!(draw().await, Quota::Within(_)));
        }
    });
}

#[test]
fn a_clock_that_is_set_back_holds_nobody_up_for_longer_than_two_windows() {
    let Some(redis) = Redis::start() else { return };
    runtime().block_on(set_back(&redis, "2 per 10s"));
    runtime().block_on(set_back(&redis, "1 in any 10s"));
}

async fn set_back(redis: &Redis, quota: &str) {
    let pair = Pair::over(redis).await;
    let quotas = Quotas::new([quota.parse().unwrap()]);
    pair.wait(Duration::from_hours(24)).await;
    assert!(matches!(pair.draw(0, &quotas).await.0, Quota::Within(_)));
    let () = pair.server.ask(cmd("SET").arg("time").arg("1777550400000000")).await.unwrap();
    let Quota::Exceeded { retry_after, .. } = pair.draw(0, &quotas).await.0 else { panic!("admitted") };
    assert!(retry_after <= Duration::from_secs(20), "{retry_after:?}");
    let () = pair.server.ask(cmd("SET").arg("time").arg("1777550411000000")).await.unwrap();
    assert!(matches!(pair.draw(0, &quotas).await.0, Quota::Within(_)));
}
