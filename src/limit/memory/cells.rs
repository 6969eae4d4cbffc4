//! A bucket that refills, as governor draws from it.

use std::cell::Cell;
use std::hash::{Hash, Hasher};

use governor::NotUntil;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;

use super::bucket::Told;
use crate::account::QuotaPolicy;

/// What a policy comes to, worked out once, and the policy under which a cell was last taken.
///
/// governor reads a clock and keeps a state by key. Both stand still here: its clock shows zero, and its key is the state,
/// counted from now, so that time is the caller's and nothing is kept before all windows have agreed.
#[derive(Debug)]
pub(super) struct Cells {
    governor: governor::RateLimiter<Ahead, Stateless, Standstill, NoOpMiddleware<Nanos>>,
    /// In how many nanoseconds a cell is refilled that was taken; other than the policy's own, where the quota was changed
    /// and none was taken since.
    unit: u64,
}

impl Cells {
    pub(super) fn of(policy: &QuotaPolicy) -> Self {
        // What refills in no time has no period: no policy does.
        let quota = governor::Quota::with_period(policy.refill());
        let quota = quota.unwrap_or_else(|| governor::Quota::per_second(policy.burst()));
        let governor = governor::RateLimiter::new(quota.allow_burst(policy.burst()), Stateless, Standstill);
        Self { governor, unit: policy.refill_nanos() }
    }

    /// The same cells under another quota: what was taken stays taken.
    pub(super) fn under(&self, policy: &QuotaPolicy) -> Self {
        Self { unit: self.unit, ..Self::of(policy) }
    }

    /// What a draw comes to, where the bucket is full again in `ahead` nanoseconds.
    #[inline]
    pub(super) fn test(&self, policy: &QuotaPolicy, ahead: u64) -> Told {
        if self.unit != policy.refill_nanos() {
            return self.test_changed(policy, ahead);
        }
        let ahead = Ahead(Cell::new(ahead));
        let wait = self.governor.check_key(&ahead).map_or_else(|refusal| wait_of(&refusal), |()| 0);
        let ahead = ahead.0.get();
        Told { wait, remaining: left(policy, ahead), ahead }
    }

    /// The first draws after a change of the quota: what was taken counts by the cell. Until one is admitted, cells come
    /// back at the pace at which they were taken, so that none is waited for longer than the window.
    #[cold]
    fn test_changed(&self, policy: &QuotaPolicy, ahead: u64) -> Told {
        let most = self.unit.saturating_mul(u64::from(policy.quota() - 1));
        if ahead > most {
            return Told { wait: ahead - most, remaining: self.left(policy, ahead), ahead };
        }
        let refill = policy.refill_nanos();
        let taken = (u128::from(ahead) * u128::from(refill)).div_ceil(u128::from(self.unit));
        // Microseconds are what a limiter in Redis counts in: both round up to the same.
        let taken = u64::try_from(taken.next_multiple_of(1_000)).unwrap_or(u64::MAX);
        let room = refill.saturating_mul(u64::from(policy.quota() - 1));
        let ahead = taken.min(room).saturating_add(refill);
        Told { wait: 0, remaining: left(policy, ahead), ahead }
    }

    /// Notes that a cell was taken under this policy.
    #[inline]
    pub(super) fn take(&mut self, policy: &QuotaPolicy) {
        self.unit = policy.refill_nanos();
    }

    /// How many more requests are admitted, where the bucket is full again in `ahead` nanoseconds.
    pub(super) fn left(&self, policy: &QuotaPolicy, ahead: u64) -> u32 {
        policy.quota().saturating_sub(u32::try_from(ahead.div_ceil(self.unit)).unwrap_or(u32::MAX))
    }
}

/// How many more requests a bucket admits that is `ahead` nanoseconds from being full.
#[inline]
fn left(policy: &QuotaPolicy, ahead: u64) -> u32 {
    let room = policy.refill_nanos().saturating_mul(u64::from(policy.quota())).saturating_sub(ahead);
    u32::try_from(room / policy.refill_nanos()).unwrap_or(u32::MAX)
}

/// How long a refusal is to be waited for, in nanoseconds: never none.
#[cold]
fn wait_of(refusal: &NotUntil<Nanos>) -> u64 {
    u64::try_from(refusal.wait_time_from(Nanos::default()).as_nanos()).unwrap_or(u64::MAX).max(1)
}

/// In how many nanoseconds a bucket is full again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ahead(Cell<u64>);

impl Hash for Ahead {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.get().hash(state);
    }
}

#[derive(Debug)]
struct Stateless;

impl StateStore for Stateless {
    type Key = Ahead;

    fn measure_and_replace<T, F, E>(&self, ahead: &Ahead, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, next) = decide(Some(Nanos::new(ahead.0.get())))?;
        ahead.0.set(next.as_u64());
        Ok(outcome)
    }
}

#[derive(Debug)]
struct Standstill;

impl Clock for Standstill {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::default()
    }
}
