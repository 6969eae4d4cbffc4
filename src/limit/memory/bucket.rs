//! The windows of one key, account or pool, behind one lock.

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::NotUntil;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use smallvec::SmallVec;

use crate::QuotaPolicy;
use crate::limit::{Quota, Standing};

/// The windows that count the same requests.
#[derive(Debug)]
pub(super) struct Bucket(Mutex<Windows>);

#[derive(Debug)]
pub(super) struct Windows {
    policies: Arc<[QuotaPolicy]>,
    cells: SmallVec<[Window; 2]>,
    /// Windows that these policies do not name, and that are not full: another key of the account or pool may.
    aside: Vec<(QuotaPolicy, Window)>,
}

/// When a window is full again, in monotonic nanoseconds, and when it would be if the draw in hand is taken.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    full_at: u64,
    tested: u64,
}

impl Bucket {
    pub(super) fn new(policies: &Arc<[QuotaPolicy]>) -> Self {
        let cells = policies.iter().map(|_| Window::default()).collect();
        Self(Mutex::new(Windows { policies: Arc::clone(policies), cells, aside: Vec::new() }))
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, Windows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all windows are full, so that nothing is lost with them.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        let windows = self.lock();
        let aside = windows.aside.iter().map(|(_, window)| window);
        windows.cells.iter().chain(aside).all(|window| window.full_at <= now)
    }
}

impl Windows {
    /// Tests every window, without taking from any.
    #[inline]
    pub(super) fn test(&mut self, policies: &Arc<[QuotaPolicy]>, now: u64, verdict: &mut Verdict) {
        if !Arc::ptr_eq(&self.policies, policies) {
            self.follow(policies, now);
        }
        for (policy, window) in policies.iter().zip(&mut self.cells) {
            let ahead = Cell::new(window.full_at.saturating_sub(now));
            let wait = test_cell(policy, &ahead);
            window.tested = now.saturating_add(ahead.get());
            verdict.count(policy, ahead.get(), wait);
        }
    }

    /// Takes what was tested.
    #[inline]
    pub(super) fn take(&mut self) {
        for window in &mut self.cells {
            window.full_at = window.tested;
        }
    }

    pub(super) fn peek(&mut self, policies: &Arc<[QuotaPolicy]>, now: u64, standings: &mut Vec<Standing>) {
        if !Arc::ptr_eq(&self.policies, policies) {
            self.follow(policies, now);
        }
        for (policy, window) in policies.iter().zip(&self.cells) {
            let ahead = window.full_at.saturating_sub(now);
            standings.push(Standing::new(
                standings.len(),
                remaining(policy, ahead),
                Duration::from_nanos(ahead),
            ));
        }
    }

    /// Takes over other policies, as when a key changes its plan or another key of the account has quotas of its own: a
    /// window of the same name and length keeps its state, and so does one that is not asked for until it is full.
    fn follow(&mut self, policies: &Arc<[QuotaPolicy]>, now: u64) {
        let same = |a: &QuotaPolicy, b: &QuotaPolicy| a.name() == b.name() && a.window() == b.window();
        let mut known = std::mem::take(&mut self.aside);
        known.extend(self.policies.iter().cloned().zip(self.cells.drain(..)));
        known.retain(|(_, window)| window.full_at > now);
        for policy in policies.iter() {
            let place = known.iter().position(|(old, _)| same(old, policy));
            self.cells.push(place.map(|place| known.swap_remove(place).1).unwrap_or_default());
        }
        self.aside = known;
        self.policies = Arc::clone(policies);
    }
}

/// What all windows of a draw come to.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    seen: usize,
    /// The longest time to wait, in nanoseconds; zero where every window admits.
    wait: u64,
    /// The window that it is for, or else the one with the least left.
    told: Place,
}

/// How a window of the draw stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    policy: usize,
    remaining: u32,
    ahead: u64,
}

impl Default for Place {
    fn default() -> Self {
        Self { policy: 0, remaining: u32::MAX, ahead: 0 }
    }
}

impl Verdict {
    #[inline]
    fn count(&mut self, policy: &QuotaPolicy, ahead: u64, wait: u64) {
        let remaining = remaining(policy, ahead);
        let fewer = self.wait == 0 && wait == 0 && (self.seen == 0 || remaining < self.told.remaining);
        if wait > self.wait || fewer {
            (self.wait, self.told) = (wait, Place { policy: self.seen, remaining, ahead });
        }
        self.seen += 1;
    }

    #[inline]
    pub(super) fn admits(&self) -> bool {
        self.wait == 0
    }

    #[inline]
    pub(super) fn to_quota(&self) -> Quota {
        let Place { policy, remaining, ahead } = self.told;
        let standing = Standing::new(policy, remaining, Duration::from_nanos(ahead));
        if self.admits() {
            Quota::Within(standing)
        } else {
            Quota::Exceeded { retry_after: Duration::from_nanos(self.wait), standing }
        }
    }
}

/// How many more requests a window admits that is `ahead` nanoseconds from being full.
#[inline]
fn remaining(policy: &QuotaPolicy, ahead: u64) -> u32 {
    let room = policy.refill_nanos().saturating_mul(u64::from(policy.quota())).saturating_sub(ahead);
    u32::try_from(room / policy.refill_nanos()).unwrap_or(u32::MAX)
}

/// Draws one cell, where the window is full again in `ahead` nanoseconds; says how many to wait where there is none.
///
/// governor reads a clock and keeps a state. Both stand still here: its clock shows zero and its state counts from now,
/// so that time is the caller's and nothing is kept before all windows have agreed.
#[inline]
fn test_cell(policy: &QuotaPolicy, ahead: &Cell<u64>) -> u64 {
    let Some(quota) = governor::Quota::with_period(policy.refill()) else { return 0 };
    let limiter: governor::RateLimiter<_, _, _, NoOpMiddleware<Nanos>> =
        governor::RateLimiter::new(quota.allow_burst(policy.burst()), Ahead(ahead), Standstill);
    match limiter.check() {
        Ok(()) => 0,
        Err(refusal) => wait_of(&refusal),
    }
}

/// How long a refusal is to be waited for, in nanoseconds: never none.
#[cold]
fn wait_of(refusal: &NotUntil<Nanos>) -> u64 {
    u64::try_from(refusal.wait_time_from(Nanos::default()).as_nanos()).unwrap_or(u64::MAX).max(1)
}

struct Ahead<'a>(&'a Cell<u64>);

impl StateStore for Ahead<'_> {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, next) = decide(Some(Nanos::new(self.0.get())))?;
        self.0.set(next.as_u64());
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
