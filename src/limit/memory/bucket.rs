//! The windows of one key, account or pool, behind one lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;

use super::cells::{Cells, Gcra};
use super::log::Log;
use crate::account::{QuotaGroup, QuotaPolicy};
use crate::limit::{LimitDecision, WindowStatus};

/// The windows that count the same requests.
#[derive(Debug)]
pub(crate) struct Bucket(Mutex<Windows>);

#[derive(Debug)]
pub(super) struct Windows {
    group: Arc<CompiledGroup>,
    cells: SmallVec<[Window; 2]>,
    /// Windows that are not full and not in this group. Another key of the account or pool may use them.
    aside: Box<[(QuotaPolicy, Window)]>,
}

/// The policies of a group of quotas, with the values that are the same for all buckets of the group.
#[derive(Debug)]
pub(super) struct CompiledGroup {
    policies: Arc<[QuotaPolicy]>,
    /// The limiter of each policy; a strict policy does not use it.
    gcras: Box<[Gcra]>,
}

impl CompiledGroup {
    pub(super) fn new(policies: &Arc<[QuotaPolicy]>) -> Self {
        Self { policies: Arc::clone(policies), gcras: policies.iter().map(Gcra::of).collect() }
    }
}

/// A window: the time at which it is full again, and that time if the current draw is taken, both in monotonic
/// nanoseconds.
#[derive(Debug)]
struct Window {
    full_at: u64,
    tested: u64,
    count: Count,
}

/// The counting method of a window.
#[derive(Debug)]
enum Count {
    Cells(Cells),
    /// For a strict window.
    Log(Box<Log>),
}

/// The result of a draw for one window, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowVerdict {
    /// The time to wait, or zero if the window admits the request.
    pub(super) wait: u64,
    /// The number of further requests that it admits after this one.
    pub(super) remaining: u32,
    /// The time until it is full.
    pub(super) ahead: u64,
}

impl Bucket {
    pub(super) fn new(group: Arc<CompiledGroup>) -> Self {
        let cells = group.policies.iter().map(Window::full).collect();
        Self(Mutex::new(Windows { group, cells, aside: Box::default() }))
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, Windows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if all windows are full, so that dropping them loses nothing.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        let windows = self.lock();
        let aside = windows.aside.iter().map(|(_, window)| window);
        windows.cells.iter().chain(aside).all(|window| window.full_at <= now)
    }
}

impl Windows {
    /// Tests every window, without taking from any.
    #[inline]
    pub(super) fn test(
        &mut self,
        quotas: &QuotaGroup,
        compile: impl FnOnce() -> Arc<CompiledGroup>,
        now: u64,
        verdict: &mut Verdict,
    ) {
        if !Arc::ptr_eq(&self.group.policies, quotas.policies()) {
            self.follow(compile(), now);
        }
        let policies = self.group.policies.iter().zip(&self.group.gcras);
        for ((policy, gcra), window) in policies.zip(&mut self.cells) {
            verdict.count(window.test(policy, gcra, now));
        }
    }

    /// Takes the cells of the preceding test.
    #[inline]
    pub(super) fn take(&mut self, now: u64) {
        for (policy, window) in self.group.policies.iter().zip(&mut self.cells) {
            window.full_at = window.tested;
            match &mut window.count {
                Count::Cells(cells) => cells.take(policy),
                Count::Log(log) => log.take(policy, now),
            }
        }
    }

    pub(super) fn peek(
        &mut self,
        quotas: &QuotaGroup,
        compile: impl FnOnce() -> Arc<CompiledGroup>,
        now: u64,
        window_statuses: &mut Vec<WindowStatus>,
    ) {
        if !Arc::ptr_eq(&self.group.policies, quotas.policies()) {
            self.follow(compile(), now);
        }
        for (policy, window) in self.group.policies.iter().zip(&self.cells) {
            let (remaining, ahead) = window.peek(policy, now);
            window_statuses.push(WindowStatus::new(
                window_statuses.len(),
                remaining,
                Duration::from_nanos(ahead),
            ));
        }
    }

    /// Switches to other policies, as when a key changes its plan or another key of the account has its own quotas. A
    /// window of the same name, length and kind keeps its state. A window that is not in the new policies keeps its
    /// state until it is full.
    fn follow(&mut self, group: Arc<CompiledGroup>, now: u64) {
        let kind = |policy: &QuotaPolicy| (policy.window(), policy.is_strict());
        let same = |a: &QuotaPolicy, b: &QuotaPolicy| a.name() == b.name() && kind(a) == kind(b);
        let mut known = std::mem::take(&mut self.aside).into_vec();
        known.extend(self.group.policies.iter().cloned().zip(self.cells.drain(..)));
        known.retain(|(_, window)| window.full_at > now);
        for policy in group.policies.iter() {
            let place = known.iter().position(|(old, _)| same(old, policy));
            let window = place.map(|place| known.swap_remove(place).1);
            self.cells.push(window.unwrap_or_else(|| Window::full(policy)));
        }
        self.aside = known.into_boxed_slice();
        self.group = group;
    }
}

impl Window {
    fn full(policy: &QuotaPolicy) -> Self {
        let count = if policy.is_strict() {
            Count::Log(Box::new(Log::new(policy)))
        } else {
            Count::Cells(Cells::of(policy))
        };
        Self { full_at: 0, tested: 0, count }
    }

    /// Returns the result of a draw, without taking it.
    #[inline]
    fn test(&mut self, policy: &QuotaPolicy, gcra: &Gcra, now: u64) -> WindowVerdict {
        let told = match &mut self.count {
            Count::Cells(cells) => cells.test(policy, gcra, self.full_at.saturating_sub(now)),
            Count::Log(log) => log.test(policy, now),
        };
        self.tested = now.saturating_add(told.ahead);
        told
    }

    /// Returns the number of further requests that it admits, and the time until it is full.
    fn peek(&self, policy: &QuotaPolicy, now: u64) -> (u32, u64) {
        match &self.count {
            Count::Cells(cells) => {
                let ahead = self.full_at.saturating_sub(now);
                (cells.left(policy, ahead), ahead)
            }
            Count::Log(log) => log.peek(policy, now),
        }
    }
}

/// The combined result of a draw for all windows.
#[derive(Debug)]
pub(super) struct Verdict {
    seen: usize,
    /// The index of the window with the longest wait, or, if all admit, of the one with the least left; and its result.
    place: usize,
    told: WindowVerdict,
}

impl Default for Verdict {
    fn default() -> Self {
        Self { seen: 0, place: 0, told: WindowVerdict { wait: 0, remaining: u32::MAX, ahead: 0 } }
    }
}

impl Verdict {
    #[inline]
    fn count(&mut self, told: WindowVerdict) {
        let fewer =
            self.admits() && told.wait == 0 && (self.seen == 0 || told.remaining < self.told.remaining);
        if told.wait > self.told.wait || fewer {
            (self.place, self.told) = (self.seen, told);
        }
        self.seen += 1;
    }

    #[inline]
    pub(super) fn admits(&self) -> bool {
        self.told.wait == 0
    }

    #[inline]
    pub(super) fn to_quota(&self) -> LimitDecision {
        let WindowVerdict { wait, remaining, ahead } = self.told;
        let window_status = WindowStatus::new(self.place, remaining, Duration::from_nanos(ahead));
        if self.admits() {
            LimitDecision::Within(window_status)
        } else {
            LimitDecision::Exceeded { retry_after: Duration::from_nanos(wait), window_status }
        }
    }
}
