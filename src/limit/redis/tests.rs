//! Compares the script with the limiter in memory, on a time that the test sets. Needs `redis-server`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../tests/support/clock_jumps.rs"]
mod clock_jumps;
#[path = "../../../tests/services/mod.rs"]
pub(crate) mod services;

use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use clock_jumps::{Ask, Window};
use proptest::prelude::*;
use redis::cmd;
use services::redis::Redis;

use super::RedisLimiter;
use crate::account::{Account, NetworkCut, QuotaOrigin, QuotaPolicy, QuotaScope, Quotas};
use crate::clock::{Clock, ManualClock, Now, Timestamp};
use crate::key::{KeyHasher, KeyId, KeyRecord};
use crate::limit::{Correction, Draw, LimitDecision, MemoryLimiter, RateLimiter, WindowStatus};
use crate::redis::RedisServer;

/// The time that the test has set. Keys do not expire, because the server would use its own time for that.
const CLOCK: &str = "
local server = redis
local redis = { call = function(name, ...)
  if name == 'SET' then return server.call(name, ..., (select(2, ...))) end
  return server.call(name, ...)
end }
local function clock() return tonumber(server.call('GET', 'time')) end
";

/// Both limiters, and the time that both use.
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
        let shared = RedisLimiter::going_by(CLOCK, server.clone());
        let clock = ManualClock::starting_at("2026-04-30T12:00:00Z".parse().unwrap());
        // Three keys, two of which belong to one account.
        let record = |key: u128| {
            let hash = KeyHasher::sha256().hash(&key.to_be_bytes());
            let account = Account::new(format!("a{}", key / 2), "plain");
            KeyRecord::new(KeyId::from_bytes(key.to_be_bytes()), hash, Arc::new(account))
        };
        Self { server, shared, memory: MemoryLimiter::new(), clock, records: (0..3).map(record).collect() }
    }

    /// Sets the time for Redis, in microseconds, as its clock would return it.
    async fn show(&self, micros: u64) {
        let () = self.server.ask(cmd("SET").arg("time").arg(micros)).await.unwrap();
    }

    /// Sets the time for both.
    async fn wait(&self, by: Duration) {
        self.clock.advance(by);
        self.show(1_777_550_400_000_000 + u64::try_from(self.clock.now().elapsed().as_micros()).unwrap())
            .await;
    }

    /// Returns the request of a key from an address of its own. The first two addresses are of one wide network.
    fn request<'q>(&'q self, key: usize, quotas: &'q Quotas) -> Draw<'q> {
        let network = [0, 1, 1 << 16][key];
        let address = Ipv6Addr::from_bits(0x2001_0db8 << 96 | network << 64 | 7);
        Draw::new(&self.records[key], quotas, self.clock.now()).from_address(address.into())
    }

    async fn draw(&self, key: usize, quotas: &Quotas) -> (LimitDecision, LimitDecision) {
        self.draw_weight(key, quotas, NonZeroU32::MIN).await
    }

    async fn draw_weight(
        &self,
        key: usize,
        quotas: &Quotas,
        weight: NonZeroU32,
    ) -> (LimitDecision, LimitDecision) {
        let draw = self.request(key, quotas).weighing(weight).telling_every_window(key > 0);
        (self.shared.draw(&draw).await.unwrap(), rounded(self.memory.draw(&draw).await.unwrap()))
    }

    async fn peek(&self, key: usize, quotas: &Quotas) -> (Vec<WindowStatus>, Vec<WindowStatus>) {
        let draw = self.request(key, quotas);
        let memory = self.memory.peek(&draw).await.unwrap();
        (self.shared.peek(&draw).await.unwrap(), memory.iter().map(rounded_standing).collect())
    }
}

/// Creates a quota that both limiters represent exactly. For a window of more than 30 days, the refill is a whole
/// number of microseconds.
fn policy() -> impl Strategy<Value = QuotaPolicy> {
    let counts = prop::sample::select(vec![
        QuotaScope::Key,
        QuotaScope::Account,
        QuotaScope::Network(NetworkCut::default()),
        QuotaScope::Network(NetworkCut::new(32, 48).unwrap()),
        QuotaScope::Pool("demo".into()),
    ]);
    let window = prop_oneof![6 => prop::sample::select(vec![6, 60]), 1 => Just(366 * 86_400_u64)];
    let quota = prop_oneof![4 => 1_u32..8, 1 => prop::sample::select(vec![999_999, 59_999_999])];
    let burst = prop::option::of(1_u32..20);
    (quota, window, counts, any::<bool>(), burst, prop::bool::weighted(0.2)).prop_filter_map(
        "exact",
        |(quota, window, counts, strict, burst, requests)| {
            // Requests of a large quota are counted together, in stretches that begin at the same time for both limiters.
            let quota = if strict && window < 86_400 && quota < 8 { quota * 5 } else { quota };
            let policy = QuotaPolicy::new(quota, Duration::from_secs(window)).unwrap().counting(counts);
            let policy = if requests { policy.with_unit("requests").unwrap() } else { policy };
            let policy = match burst {
                _ if strict => policy.in_any_window(),
                Some(burst) => policy.with_burst(burst).ok()?,
                None => policy,
            };
            let whole = policy.refill().as_nanos().is_multiple_of(1_000);
            (!super::takes_long(&policy) || whole).then_some(policy)
        },
    )
}

/// Rounds times of the limiter in memory up to microseconds, which the server's clock can show.
fn rounded(quota: LimitDecision) -> LimitDecision {
    match quota {
        LimitDecision::Within(window_status) => LimitDecision::Within(rounded_standing(&window_status)),
        LimitDecision::Exceeded { retry_after, window_status } => LimitDecision::Exceeded {
            retry_after: micros(retry_after),
            window_status: rounded_standing(&window_status),
        },
    }
}

fn rounded_standing(window_status: &WindowStatus) -> WindowStatus {
    let reset = micros(window_status.reset);
    let mut rounded = WindowStatus::new(window_status.policy, window_status.remaining, reset)
        .with_next(micros(window_status.next()));
    rounded.all = window_status.all.iter().map(rounded_standing).collect();
    rounded
}

fn micros(time: Duration) -> Duration {
    Duration::from_micros(u64::try_from(time.as_nanos().div_ceil(1_000)).unwrap())
}

/// One quota per window, counted owner and origin, as a plan and the rules may have them.
fn quotas() -> impl Strategy<Value = Quotas> {
    let origins = vec![
        QuotaOrigin::Plan,
        QuotaOrigin::Plan,
        QuotaOrigin::Rule("GET /{a}:%".into()),
        QuotaOrigin::Rule("GET /{a}%3A".into()),
        QuotaOrigin::Shared("GET /{a}:%".into()),
    ];
    let policy = (policy(), prop::sample::select(origins));
    prop::collection::vec(policy, 1..6).prop_map(|mut policies| {
        let place = |(policy, origin): &(QuotaPolicy, QuotaOrigin)| {
            (format!("{:?}", policy.counts()), origin.clone(), policy.window())
        };
        policies.sort_by_key(place);
        policies.dedup_by(|a, b| place(a) == place(b));
        let quotas = Quotas::default();
        policies.into_iter().fold(quotas, |quotas, (policy, origin)| quotas.beside(origin, [policy]))
    })
}

/// Returns the microseconds of which each wait is a multiple, so that both limiters are exact. For a window of more than
/// 30 days, the script rounds what one quota takes over from another up to a microsecond. Nothing is rounded if the waits
/// are multiples of every such quota, which is at most 6.
fn multiple_of_waits(quotas: &[Quotas]) -> u64 {
    if quotas.iter().any(|quotas| quotas.policies().any(super::takes_long)) { 60 } else { 1 }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn script_decides_like_the_memory_limiter() {
    let Some(redis) = Redis::start() else { return };
    let settings = ProptestConfig {
        cases: clock_jumps::cases(60),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let wait = prop_oneof![3 => Just(0_u64), 2 => 0_u64..900_000, 1 => 0_u64..20_000_000, 1 => 0_u64..90_000_000_000_000];
    // The largest weight takes all of a window.
    let weight = prop_oneof![3 => Just(1_u32), 3 => 1_u32..6, 1 => Just(30_000_000), 1 => Just(u32::MAX)];
    let weight = weight.prop_map(|weight| NonZeroU32::new(weight).unwrap());
    // The weight of the key's last draw may be corrected.
    let actual = prop_oneof![4 => 0_u32..9, 1 => 0_u32..40_000_000, 1 => Just(u32::MAX)];
    let actual = prop::option::weighted(0.3, actual);
    let draws = prop::collection::vec((0_usize..3, weight, wait, any::<bool>(), actual), 1..60);
    proptest!(settings, |(quotas in prop::collection::vec(quotas(), 3), draws in draws)| {
        runtime().block_on(async {
            let pair = Pair::over(&redis).await;
            let multiple = multiple_of_waits(&quotas);
            let mut reserves = [None; 3];
            for (key, weight, wait, peeks, actual) in draws {
                pair.wait(Duration::from_micros(wait.next_multiple_of(multiple))).await;
                let now = pair.clock.now().elapsed();
                if let (Some(actual), Some((weight, at))) = (actual, reserves[key].take()) {
                    let draw = pair.request(key, &quotas[key]).weighing(weight);
                    let correction = Correction::new(draw, actual, now.saturating_sub(at));
                    pair.shared.correct(&correction).await.unwrap();
                    pair.memory.correct(&correction).await.unwrap();
                }
                if peeks {
                    let (shared, memory) = pair.peek(key, &quotas[key]).await;
                    prop_assert_eq!(shared, memory);
                }
                let (shared, memory) = pair.draw_weight(key, &quotas[key], weight).await;
                if matches!(memory, LimitDecision::Within(_)) {
                    reserves[key] = Some((weight, now));
                }
                prop_assert_eq!(shared, memory);
            }
            Ok(())
        })?;
    });
}

#[test]
fn owed_units_outlast_a_change_of_quota() {
    let Some(redis) = Redis::start() else { return };
    runtime().block_on(async {
        let quota = |text: &str| text.parse::<QuotaPolicy>().unwrap();
        let rows = [
            // The same pace, with a burst above the quota and without.
            [quota("3 per 6s").with_burst(4).unwrap(), quota("3 per 6s")],
            // The refills of seven requests, each rounded up, take longer than a minute.
            [quota("7 per minute"), quota("1 per minute")],
            [quota("999999 per minute"), quota("1 per minute")],
        ];
        for row in rows {
            let pair = Pair::over(&redis).await;
            pair.wait(Duration::ZERO).await;
            let [first, second] = row.clone().map(|policy| Quotas::new([policy]));
            for quotas in [&first, &second] {
                let (shared, memory) = pair.draw(0, quotas).await;
                assert_eq!(shared, memory, "{row:?}");
            }
            let correction = Correction::new(pair.request(0, &first), u32::MAX, Duration::ZERO);
            pair.shared.correct(&correction).await.unwrap();
            pair.memory.correct(&correction).await.unwrap();
            for quotas in [&first, &second, &first] {
                let (shared, memory) = pair.draw(0, quotas).await;
                assert_eq!(shared, memory, "{row:?}");
            }
        }
    });
}

#[test]
fn changing_quotas_round_to_nanoseconds() {
    let Some(redis) = Redis::start() else { return };
    runtime().block_on(async {
        let pair = Pair::over(&redis).await;
        // Every refill is a whole number of microseconds. What one quota takes over from another is not.
        let quotas = ["2 per minute", "3 per minute", "5 per minute"].map(|quota| {
            let policy: QuotaPolicy = quota.parse().unwrap();
            Quotas::new([policy])
        });
        for draw in 0..300 {
            pair.wait(Duration::from_micros(4_000_001)).await;
            let (shared, memory) = pair.draw(0, &quotas[draw % 3]).await;
            assert_eq!(shared, memory, "draw {draw}");
        }
    });
}

#[test]
fn request_is_denied_until_the_exact_wait() {
    let Some(redis) = Redis::start() else { return };
    runtime().block_on(async {
        let pair = Pair::over(&redis).await;
        // The refill of three per second is a third of a second, which is not a whole number of microseconds.
        let quotas = Quotas::new(
            ["3 per second", "100 per 366s", "7 per 31622400s"].map(|quota| quota.parse().unwrap()),
        );
        let draw =
            async || pair.shared.draw(&Draw::new(&pair.records[0], &quotas, pair.clock.now())).await.unwrap();
        for _ in 0..40 {
            pair.wait(Duration::from_micros(17)).await;
            let LimitDecision::Exceeded { retry_after, .. } = draw().await else { continue };
            pair.wait(retry_after.saturating_sub(Duration::from_micros(1))).await;
            let LimitDecision::Exceeded { retry_after, .. } = draw().await else { panic!("admitted early") };
            assert_eq!(retry_after, Duration::from_micros(1));
            pair.wait(retry_after).await;
            assert!(matches!(draw().await, LimitDecision::Within(_)));
        }
    });
}

#[test]
fn clock_set_back_waits_at_most_two_windows() {
    let Some(redis) = Redis::start() else { return };
    let quota = |text: &str| text.parse::<QuotaPolicy>().unwrap();
    runtime().block_on(set_back(&redis, quota("2 per 10s")));
    runtime().block_on(set_back(&redis, quota("2 per 10s").with_burst(1).unwrap()));
    runtime().block_on(set_back(&redis, quota("2 per 10s").with_burst(5).unwrap()));
    runtime().block_on(set_back(&redis, quota("1 in any 10s")));
}

async fn set_back(redis: &Redis, quota: QuotaPolicy) {
    let pair = Pair::over(redis).await;
    let quotas = Quotas::new([quota]);
    pair.wait(Duration::from_hours(24)).await;
    for _ in 0..quotas.policies().map(QuotaPolicy::capacity).sum() {
        assert!(matches!(pair.draw(0, &quotas).await.0, LimitDecision::Within(_)));
    }
    let () = pair.server.ask(cmd("SET").arg("time").arg("1777550400000000")).await.unwrap();
    let LimitDecision::Exceeded { retry_after, .. } = pair.draw(0, &quotas).await.0 else {
        panic!("admitted")
    };
    assert!(retry_after <= Duration::from_secs(20), "{retry_after:?}");
    let () = pair.server.ask(cmd("SET").arg("time").arg("1777550411000000")).await.unwrap();
    assert!(matches!(pair.draw(0, &quotas).await.0, LimitDecision::Within(_)));
}

#[test]
fn short_quota_is_not_halved() {
    let Some(redis) = Redis::start() else { return };
    runtime().block_on(async {
        // 999999, 1500000 and 3000000 a second.
        for quota in [59_999_940, 90_000_000, 180_000_000] {
            let pair = Pair::over(&redis).await;
            pair.wait(Duration::ZERO).await;
            let policy = QuotaPolicy::new(quota, Duration::from_mins(1)).unwrap();
            let quotas = Quotas::new([policy.clone()]);
            let draw = Draw::new(&pair.records[0], &quotas, pair.clock.now());
            // An empty window.
            let (name, refill) =
                (pair.shared.windows(&draw).unwrap().keys.remove(0), policy.refill().as_nanos());
            let full = 1_777_550_400_000_000_000 + refill * u128::from(quota);
            let time = |nanos: u128| format!("{}.{:03}", nanos / 1_000, nanos % 1_000);
            let text = format!("{}:{}", time(full), time(refill));
            let () = pair.server.ask(cmd("SET").arg(&name).arg(text)).await.unwrap();
            let mut admitted = 0;
            for _ in 0..50 {
                pair.wait(Duration::from_micros(10)).await;
                while matches!(pair.shared.draw(&draw).await.unwrap(), LimitDecision::Within(_)) {
                    admitted += 1;
                }
            }
            let refilled = quota / 120_000;
            assert!(
                (refilled - refilled / 100 - 1..=refilled).contains(&admitted),
                "{admitted} of {refilled}"
            );
        }
    });
}

#[test]
fn long_window_is_exact_to_the_microsecond() {
    let Some(redis) = Redis::start() else { return };
    runtime().block_on(async {
        for days in [29, 30, 31, 366] {
            let pair = Pair::over(&redis).await;
            let window = Duration::from_hours(24 * days);
            let quotas = Quotas::new([QuotaPolicy::new(7, window).unwrap()]);
            let mut admitted = 0;
            pair.wait(window).await;
            while matches!(pair.draw(0, &quotas).await.0, LimitDecision::Within(_)) {
                admitted += 1;
            }
            assert_eq!(admitted, 7, "{days} days");
            let LimitDecision::Exceeded { retry_after, window_status } = pair.draw(0, &quotas).await.0 else {
                panic!("admitted")
            };
            assert_eq!(retry_after, micros(window / 7), "{days} days");
            assert!(
                window_status.reset >= window && window_status.reset <= window + Duration::from_micros(7)
            );
        }
    });
}

/// A window as an earlier version stored it, in whole microseconds and without a unit.
#[test]
fn older_window_encoding_is_read() {
    let Some(redis) = Redis::start() else { return };
    runtime().block_on(async {
        let pair = Pair::over(&redis).await;
        pair.wait(Duration::ZERO).await;
        let quotas = Quotas::new(["2 per 10s".parse().unwrap()]);
        let draw = Draw::new(&pair.records[0], &quotas, pair.clock.now());
        let name = pair.shared.windows(&draw).unwrap().keys.remove(0);
        for (text, left) in
            [("1777550400000000", 1), ("1777550405000000", 0), ("1777550405000000:5000000", 0)]
        {
            let () = pair.server.ask(cmd("SET").arg(&name).arg(text)).await.unwrap();
            let LimitDecision::Within(window_status) = pair.shared.draw(&draw).await.unwrap() else {
                panic!("refused: {text}")
            };
            assert_eq!(window_status.remaining, left, "{text}");
        }
        for text in [
            "",
            ":",
            "1:0",
            "1:0.000",
            "1.5",
            "1.5000:1",
            "-1:1",
            "1:1:0",
            "1:1:",
            "1:1:1:1",
            "1e3:1",
            "12345678901234567:1",
        ] {
            let () = pair.server.ask(cmd("SET").arg(&name).arg(text)).await.unwrap();
            assert!(pair.shared.draw(&draw).await.is_err(), "{text}");
        }
    });
}

#[test]
fn clock_jumps_neither_add_nor_lose_cells() {
    let Some(redis) = Redis::start() else { return };
    let settings = ProptestConfig {
        cases: clock_jumps::cases(60),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(settings, |(window in clock_jumps::window(), asks in clock_jumps::asks())| {
        runtime().block_on(leap(&redis, &window, asks))?;
    });
}

async fn leap(redis: &Redis, window: &Window, asks: Vec<Ask>) -> Result<(), TestCaseError> {
    let (pair, policies) =
        (Pair::over(redis).await, window.quotas.iter().map(|quota| policy_of(window, *quota)));
    let quotas: Vec<_> = policies.map(|policy| Quotas::new([policy])).collect();
    let mut watch = clock_jumps::Watch::new(window);
    for ask in asks {
        let told = watch.told(&ask);
        pair.show(told.now).await;
        let now = Now::new(Timestamp::from_millis(told.wall), Duration::ZERO);
        let draw = Draw::new(&pair.records[0], &quotas[told.quota], now);
        match pair.shared.draw(&draw).await.unwrap() {
            LimitDecision::Within(window_status) => watch.admitted(window_status.remaining)?,
            LimitDecision::Exceeded { retry_after, .. } => {
                // The server's clock is set back: no wait is longer than two windows.
                prop_assert!(retry_after <= 2 * window.length + window.slack(), "{:?}", retry_after);
                watch.refused(retry_after)?;
            }
        }
    }
    Ok(())
}

fn policy_of(window: &Window, quota: u32) -> QuotaPolicy {
    let policy = QuotaPolicy::new(quota, window.length).unwrap();
    if window.strict { policy.in_any_window() } else { policy }
}
