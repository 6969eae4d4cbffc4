//! A bucket that refills, implemented with governor.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;

use governor::NotUntil;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;

use super::bucket::WindowVerdict;
use crate::account::QuotaPolicy;
use crate::limit::Correction;

/// The precomputed governor limiter of a policy. All windows of the policy share it.
///
/// governor normally reads a clock and stores state by key. Here its clock always shows zero, and its key is the state
/// itself, relative to now. The caller thus supplies the time, and nothing is stored before all windows have admitted
/// the draw.
#[derive(Debug)]
pub(super) struct Gcra {
    limiter: governor::RateLimiter<TimeToFull, CallerState, StoppedClock, NoOpMiddleware<Nanos>>,
    /// The nanoseconds in which a cell is refilled.
    refill: u64,
    /// The nanoseconds in which an empty bucket is refilled.
    whole: u64,
    /// The number of cells of a full bucket.
    capacity: NonZeroU32,
    /// The largest number of cells that a draw takes.
    heaviest: NonZeroU32,
}

impl Gcra {
    pub(super) fn of(policy: &QuotaPolicy) -> Self {
        // governor has no period for a refill time of zero. No policy has one.
        let quota = governor::Quota::with_period(policy.refill());
        let quota = quota.unwrap_or_else(|| governor::Quota::per_second(NonZeroU32::MIN));
        let capacity = NonZeroU32::new(policy.capacity()).unwrap_or(NonZeroU32::MIN);
        let limiter = governor::RateLimiter::new(quota.allow_burst(capacity), CallerState, StoppedClock);
        let heaviest = policy.heaviest();
        Self { limiter, refill: policy.refill_nanos(), whole: whole(policy), capacity, heaviest }
    }

    /// Returns the result of a draw of this weight if the bucket is full again in `ahead` nanoseconds.
    #[inline]
    pub(super) fn test(&self, weight: NonZeroU32, ahead: u64) -> WindowVerdict {
        let ahead = TimeToFull(Cell::new(ahead));
        let wait = if weight == NonZeroU32::MIN {
            self.limiter.check_key(&ahead).map_or_else(|refusal| wait_of(&refusal), |()| 0)
        } else {
            self.draw(weight, &ahead)
        };
        let ahead = ahead.0.get();
        // A bucket is never full after a draw, nor if it refuses one.
        let free = self.whole.saturating_sub(ahead);
        let next = ahead.saturating_sub(self.whole) + self.refill - free % self.refill;
        WindowVerdict { wait, remaining: left_of(self.whole, self.refill, ahead), ahead, next }
    }

    /// Takes the cells of a weight, and returns the time to wait. A share of a quota may have fewer cells than the draw takes: it needs a full bucket
    /// then, and the cells that it lacks are refilled before the next draw.
    #[cold]
    fn draw(&self, weight: NonZeroU32, ahead: &TimeToFull) -> u64 {
        let units = weight.min(self.heaviest);
        let needed = units.min(self.capacity);
        match self.limiter.check_key_n(ahead, needed) {
            Ok(Ok(())) => {
                let lacking = u64::from(units.get() - needed.get());
                ahead.0.set(ahead.0.get().saturating_add(lacking.saturating_mul(self.refill)));
                0
            }
            Ok(Err(refusal)) => wait_of(&refusal),
            // The needed cells are no more than the capacity.
            Err(_) => u64::MAX,
        }
    }
}

/// Returns the time until a bucket is full if its taken cells are refilled in `refill` and not in `unit` nanoseconds each,
/// rounded up.
pub(super) fn converted(ahead: u64, unit: u64, refill: u64) -> u64 {
    let taken = (u128::from(ahead) * u128::from(refill)).div_ceil(u128::from(unit));
    u64::try_from(taken).unwrap_or(u64::MAX)
}

/// Returns the number of requests that a bucket admits if it is full again in `ahead` nanoseconds, and a taken cell is
/// refilled in `unit` nanoseconds.
pub(super) fn left(policy: &QuotaPolicy, unit: u64, ahead: u64) -> u32 {
    policy.capacity().saturating_sub(u32::try_from(ahead.div_ceil(unit)).unwrap_or(u32::MAX))
}

/// Returns the time until a bucket admits more than `left` requests if it is full again in `ahead` nanoseconds, and a taken
/// cell is refilled in `unit` nanoseconds. Zero if it admits more already, or never.
pub(super) fn time_to_more_than(left: u32, policy: &QuotaPolicy, unit: u64, ahead: u64) -> u64 {
    let Some(missing) = policy.capacity().checked_sub(left).and_then(|missing| missing.checked_sub(1)) else {
        return 0;
    };
    ahead.saturating_sub(unit.saturating_mul(u64::from(missing)))
}

/// Returns the number of further requests that a bucket admits if it is full again in `ahead` nanoseconds.
#[inline]
pub(super) fn left_after(policy: &QuotaPolicy, ahead: u64) -> u32 {
    left_of(whole(policy), policy.refill_nanos(), ahead)
}

/// Returns the time at which a bucket is full, after a correction of a draw that took `drawn` cells. The bucket owes at most
/// its capacity. Cells that were refilled since the draw are not given back: without the draw, the bucket could have been full
/// in the meantime.
pub(super) fn corrected(policy: &QuotaPolicy, full_at: u64, drawn: u32, correction: &Correction<'_>) -> u64 {
    let (now, refill) = (correction.draw.now.ticks(), policy.refill_nanos());
    let time_of = |cells: u32| refill.saturating_mul(u64::from(cells));
    if let Some(more) = correction.actual.checked_sub(drawn) {
        let most = now.saturating_add(whole(policy).saturating_mul(2));
        return full_at.max(full_at.max(now).saturating_add(time_of(more)).min(most));
    }
    let elapsed = u64::try_from(correction.elapsed.as_nanos()).unwrap_or(u64::MAX);
    full_at.saturating_sub(time_of(drawn - correction.actual).saturating_sub(elapsed))
}

/// Returns the nanoseconds in which an empty bucket is refilled.
fn whole(policy: &QuotaPolicy) -> u64 {
    policy.refill_nanos().saturating_mul(u64::from(policy.capacity()))
}

#[inline]
fn left_of(whole: u64, refill: u64, ahead: u64) -> u32 {
    u32::try_from(whole.saturating_sub(ahead) / refill).unwrap_or(u32::MAX)
}

/// Returns the time to wait after a refusal, in nanoseconds. Never zero.
#[cold]
fn wait_of(refusal: &NotUntil<Nanos>) -> u64 {
    u64::try_from(refusal.wait_time_from(Nanos::default()).as_nanos()).unwrap_or(u64::MAX).max(1)
}

/// The nanoseconds until a bucket is full again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TimeToFull(Cell<u64>);

impl Hash for TimeToFull {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.get().hash(state);
    }
}

#[derive(Debug)]
struct CallerState;

impl StateStore for CallerState {
    type Key = TimeToFull;

    fn measure_and_replace<T, F, E>(&self, ahead: &TimeToFull, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, next) = decide(Some(Nanos::new(ahead.0.get())))?;
        ahead.0.set(next.as_u64());
        Ok(outcome)
    }
}

#[derive(Debug)]
struct StoppedClock;

impl Clock for StoppedClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::default()
    }
}
