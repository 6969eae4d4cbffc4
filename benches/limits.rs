//! The time of limits in memory: of a draw from the two windows of a plan, and from these and one of a rule; and of a request
//! that takes a slot of a limit on requests in flight, with its response.
//!
//! ```text
//! cargo bench --bench limits
//! ```
//!
//! The cases take turns, so that the load of the machine affects all of them alike. A figure is the median of the rounds. A
//! draw from the plan's windows and one of a rule must take at most 1.15 times the time of a draw from the plan's windows.
#![allow(clippy::expect_used, reason = "what is constant here cannot fail")]

mod harness;

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::drive::{call, poll_now};
use harness::{gate, world};
use tollgate::account::{InFlightLimit, QuotaOrigin, QuotaPolicy, QuotaScope, Quotas};
use tollgate::key::KeyHasher;
use tollgate::limit::{Draw, LimitDecision};
use tollgate::rule::ScopeRule;
use tollgate::{Account, Clock, KeyId, KeyRecord, ManualClock, MemoryLimiter, RateLimiter, TollgateLayer};
use tower::{Layer, service_fn};

const DRAWS: u32 = 200_000;
const REQUESTS: u32 = 2_000;
const ROUNDS: usize = 101;

fn main() {
    // Cargo's test runner does not measure.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    draws();
    slots();
}

fn draws() {
    let account = Arc::new(Account::new("acme", "pro"));
    let key = KeyRecord::new(KeyId::from_bytes([7; 16]), KeyHasher::sha256().hash(b"secret"), account);
    let rule = || QuotaOrigin::Rule("POST /v1/backtests".into());
    let plan = || Quotas::new([policy(60), policy(86_400)]);
    let cases = [
        ("two windows of a plan", plan()),
        ("and one of a rule", plan().beside(rule(), [policy(3_600)])),
        (
            "and one of a rule, of the account",
            plan().beside(rule(), [policy(3_600).counting(QuotaScope::Account)]),
        ),
        ("three windows of a plan", Quotas::new([policy(60), policy(3_600), policy(86_400)])),
    ];
    // Each case has a limiter of its own, so that all find their windows where the record points to.
    let limiters: Vec<_> = cases.iter().map(|_| (MemoryLimiter::new(), key.clone())).collect();
    let mut times: Vec<Vec<f64>> = cases.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (((_, quotas), (limiter, key)), times) in cases.iter().zip(&limiters).zip(&mut times) {
            times.push(round(limiter, key, quotas));
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    for ((name, _), time) in cases.iter().zip(&medians) {
        println!("{name:<36} {time:>6.1} ns   {:.3} of two windows", time / medians[0]);
    }
}

/// A quota that admits all draws of the bench.
fn policy(seconds: u64) -> QuotaPolicy {
    QuotaPolicy::new(4_000_000_000, Duration::from_secs(seconds * 100)).expect("the quota is valid")
}

/// Returns the nanoseconds of a draw.
fn round(limiter: &MemoryLimiter, key: &KeyRecord, quotas: &Quotas) -> f64 {
    let clock = ManualClock::starting_at("2026-04-30T12:00:00Z".parse().expect("the time is valid"));
    let (start, now) = (Instant::now(), clock.now());
    for _ in 0..DRAWS {
        let drawn = poll_now(limiter.draw(&Draw::new(key, quotas, now)));
        assert!(matches!(drawn, Ok(LimitDecision::Within(_))), "the draw is admitted");
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(DRAWS)
}

/// Compares requests that take a slot with requests that take none.
fn slots() {
    let limit = || InFlightLimit::new(1_000).expect("the limit is valid");
    let gate = || gate::with_keys(1).without_principal();
    let mut of_rule = tollgate::Rule::new("GET /v1/candles/BTC").expect("the route is valid");
    of_rule.scopes = ScopeRule::Everyone;
    let free = of_rule.clone();
    of_rule.in_flight = Some(limit());
    let cases = [
        ("a request without a slot", gate().rule(free.clone())),
        ("with one slot, of the rule", gate().rule(of_rule.clone())),
        ("with two slots, of the rule and of all", gate().rule(of_rule).in_flight(limit())),
    ];
    let mut services = cases.map(|(name, builder)| {
        let gate = builder.build().expect("the gate is complete");
        (name, TollgateLayer::new(gate).layer(service_fn(world::handler)), Vec::new())
    });
    for _ in 0..ROUNDS {
        for (_, service, times) in &mut services {
            let requests: Vec<_> = (0..REQUESTS).map(|_| world::request(&world::key(0))).collect();
            let start = Instant::now();
            for request in requests {
                drop(call(service, request));
            }
            times.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS));
        }
    }
    let medians = services.map(|(name, _, mut times)| (name, median(&mut times)));
    for (name, time) in medians {
        println!("{name:<40} {time:>7.1} ns   {:+.1} ns", time - medians[0].1);
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}
