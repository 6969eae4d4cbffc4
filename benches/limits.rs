//! The time of a draw in memory: from the two windows of a plan, and from these and one of a rule.
//!
//! ```text
//! cargo bench --bench limits
//! ```
//!
//! The quotas take turns, so that the load of the machine affects all of them alike. A figure is the median of the rounds.
#![allow(clippy::expect_used, reason = "what is constant here cannot fail")]

mod harness;

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::drive::poll_now;
use tollgate::account::{QuotaOrigin, QuotaPolicy, QuotaScope, Quotas};
use tollgate::key::KeyHasher;
use tollgate::limit::{Draw, LimitDecision};
use tollgate::{Account, Clock, KeyId, KeyRecord, ManualClock, MemoryLimiter, RateLimiter};

const DRAWS: u32 = 200_000;
const ROUNDS: usize = 101;

fn main() {
    // Cargo's test runner does not measure.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
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

fn median(times: &mut [f64]) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}
