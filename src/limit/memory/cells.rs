//! A bucket that refills, as governor draws from it.

use std::cell::Cell;
use std::hash::{Hash, Hasher};

use governor::NotUntil;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;

use super::bucket::Told;
use crate::QuotaPolicy;

/// What a policy comes to, worked out once.
///
/// governor reads a clock and keeps a state by key. Both stand still here: its clock shows zero, and its key is the state,
/// counted from now, so that time is the caller's and nothing is kept before all windows have agreed.
#[derive(Debug)]
pub(super) struct Cells(governor::RateLimiter<Ahead, Stateless, Standstill, NoOpMiddleware<Nanos>>);

impl Cells {
    pub(super) fn of(policy: &QuotaPolicy) -> Self {
        // What refills in no time has no period: no policy does.
        let quota = governor::Quota::with_period(policy.refill());
        let quota = quota.unwrap_or_else(|| governor::Quota::per_second(policy.burst()));
        Self(governor::RateLimiter::new(quota.allow_burst(policy.burst()), Stateless, Standstill))
    }

    /// What a draw comes to, where the bucket is full again in `ahead` nanoseconds.
    #[inline]
    pub(super) fn test(&self, policy: &QuotaPolicy, ahead: u64) -> Told {
        let ahead = Ahead(Cell::new(ahead));
        let wait = self.0.check_key(&ahead).map_or_else(|refusal| wait_of(&refusal), |()| 0);
        let ahead = ahead.0.get();
        Told { wait, remaining: left(policy, ahead), ahead }
    }
}

/// How many more requests a bucket admits that is `ahead` nanoseconds from being full.
#[inline]
pub(super) fn left(policy: &QuotaPolicy, ahead: u64) -> u32 {
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
