//! The conformance checks for rate limiters.

mod bursts;
mod changes;
mod corrections;
mod draw;
mod in_flight;
mod networks;
mod origins;
mod owners;
mod strict;
mod time;
mod weights;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::account::{Account, QuotaPolicy, QuotaScope, Quotas};
use crate::clock::Now;
use crate::conformance::fresh;
use crate::conformance::suite::{Check, Fault, Suite};
use crate::future::StoreFuture;
use crate::key::KeyRecord;
use crate::limit::{Correction, Draw, LimitDecision, RateLimiter, WindowStatus};

type Limiter = Arc<dyn RateLimiter>;

pub(super) fn suite(limiter: &Limiter) -> Suite {
    let parts: [Vec<Check>; 11] = [
        draw::checks(limiter),
        owners::checks(limiter),
        changes::checks(limiter),
        time::checks(limiter),
        strict::checks(limiter),
        bursts::checks(limiter),
        origins::checks(limiter),
        networks::checks(limiter),
        weights::checks(limiter),
        in_flight::checks(limiter),
        corrections::checks(limiter),
    ];
    Suite::new("limits", parts)
}

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// A key that no other check uses, its quotas, and the time of its calls.
#[derive(Debug, Clone)]
struct TestKey {
    limiter: Limiter,
    key: Arc<KeyRecord>,
    /// True if requests have no key.
    is_keyless: bool,
    address: Option<IpAddr>,
    quotas: Arc<Quotas>,
    weight: NonZeroU32,
    now: Now,
    /// True if a node's own share admitted the last draw.
    is_local: Arc<AtomicBool>,
}

impl TestKey {
    /// Creates a key with its own windows. Each window is a number of requests and a length.
    fn new(limiter: Limiter, windows: &[(u32, Duration)]) -> Result<Self, Fault> {
        let policies = windows.iter().map(|(quota, window)| policy(*quota, *window, QuotaScope::Key));
        Ok(Self::with(limiter, policies.collect::<Result<Vec<_>, _>>()?))
    }

    fn with(limiter: Limiter, policies: Vec<QuotaPolicy>) -> Self {
        let key = Arc::new(fresh::key(&Arc::new(fresh::account())));
        let now = Now::new(fresh::now(), HOUR);
        let (quotas, weight) = (Arc::new(Quotas::new(policies)), NonZeroU32::MIN);
        let is_local = Arc::default();
        Self { limiter, key, is_keyless: false, address: None, quotas, weight, now, is_local }
    }

    /// Returns another key with the same quotas.
    fn other(&self, account: &Arc<Account>) -> Self {
        Self { key: Arc::new(fresh::key(account)), ..self.clone() }
    }

    /// Returns a client at the same address that sends no key.
    fn keyless(&self) -> Self {
        Self { is_keyless: true, ..self.clone() }
    }

    /// Returns the same key with other quotas.
    fn on(&self, windows: &[(u32, Duration)]) -> Result<Self, Fault> {
        let policies = windows.iter().map(|(quota, window)| policy(*quota, *window, QuotaScope::Key));
        let quotas = Arc::new(Quotas::new(policies.collect::<Result<Vec<_>, _>>()?));
        Ok(Self { quotas, ..self.clone() })
    }

    /// Returns the same caller, later by `time`.
    fn after(&self, time: Duration) -> Self {
        let now = Now::new(self.now.wall().saturating_add(time), self.now.elapsed() + time);
        Self { now, ..self.clone() }
    }

    /// Returns the same caller, whose requests have this weight.
    fn weighing(&self, weight: u32) -> Self {
        Self { weight: NonZeroU32::new(weight).unwrap_or(NonZeroU32::MIN), ..self.clone() }
    }

    fn request(&self) -> Draw<'_> {
        let draw = if self.is_keyless {
            Draw::keyless(&self.quotas, self.now)
        } else {
            Draw::new(&self.key, &self.quotas, self.now)
        };
        let draw = draw.weighing(self.weight);
        self.address.map_or(draw, |address| draw.from_address(address))
    }

    fn draw(&self) -> StoreFuture<LimitDecision> {
        self.limiter.draw(&self.request())
    }

    /// Corrects a draw that was admitted `elapsed` ago to the weight `actual`.
    fn correct(&self, actual: u32, elapsed: Duration) -> StoreFuture<()> {
        let correction = Correction::new(self.request(), actual, elapsed);
        self.limiter.correct(&correction.admitted_locally(self.is_local.load(Ordering::Relaxed)))
    }

    fn peek(&self) -> StoreFuture<Vec<WindowStatus>> {
        self.limiter.peek(&self.request())
    }

    /// Returns the number of admitted requests out of `draws`.
    async fn admitted(&self, draws: usize) -> Result<usize, Fault> {
        let mut admitted = 0;
        for _ in 0..draws {
            if let LimitDecision::Within(window_status) = self.draw().await? {
                self.is_local.store(window_status.limit().is_some(), Ordering::Relaxed);
                admitted += 1;
            }
        }
        Ok(admitted)
    }

    /// Returns the number of requests that each window has left.
    async fn left(&self) -> Result<Vec<u32>, Fault> {
        Ok(self.peek().await?.iter().map(|window_status| window_status.remaining).collect())
    }
}

fn policy(quota: u32, window: Duration, counts: QuotaScope) -> Result<QuotaPolicy, Fault> {
    let policy = QuotaPolicy::new(quota, window).map_err(|error| Fault::new(error.to_string()))?;
    Ok(policy.counting(counts))
}
