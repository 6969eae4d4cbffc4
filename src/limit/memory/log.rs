//! The log of the requests that a strict window has admitted.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use super::bucket::WindowVerdict;
use crate::account::QuotaPolicy;
use crate::limit::Correction;

/// The requests that take a place in a window until the window has passed since their admission. Requests of one
/// stretch are counted together, and all leave one window after the last of them. A period as long as the window
/// therefore never sees more requests than are counted.
#[derive(Debug)]
pub(super) struct Log {
    /// The length of the window in nanoseconds. All times in this file are monotonic nanoseconds.
    window: u64,
    intervals: VecDeque<Interval>,
}

/// The number of stretches into which a window is divided.
const INTERVALS: u32 = 16;

#[derive(Debug)]
struct Interval {
    last: u64,
    count: u32,
}

impl Log {
    pub(super) fn new(policy: &QuotaPolicy) -> Self {
        // A window overlaps one stretch more than its length.
        let most = policy.quota().min(INTERVALS + 1) as usize;
        Self { window: nanos(policy.window()), intervals: VecDeque::with_capacity(most) }
    }

    /// Returns the result of a draw of this weight, without taking it.
    pub(super) fn test(&mut self, policy: &QuotaPolicy, weight: NonZeroU32, now: u64) -> WindowVerdict {
        self.drop_past(now);
        let places = u64::from(policy.quota());
        let (used, units) = (self.used(), u64::from(weight.min(policy.heaviest()).get()));
        // A share of a quota may have fewer places than the draw takes. It needs all of them then.
        let needed = units.min(places);
        if used + needed <= places {
            let newest = self.newest().unwrap_or(now).max(now);
            let ahead = newest - now + self.window;
            // The request joins the newest stretch, or begins one of its own.
            let oldest =
                self.intervals.front().filter(|_| self.intervals.len() > 1 || !self.joins(policy, newest));
            let next = oldest.map_or(ahead, |oldest| (oldest.last + self.window).saturating_sub(now));
            return WindowVerdict { wait: 0, remaining: left(policy, used + units), ahead, next };
        }
        let wait = self.time_to_fewer_than(places - needed + 1, used, now);
        let next = self.time_to_fewer_than(used.min(places), used, now);
        WindowVerdict { wait, remaining: left(policy, used), ahead: self.ahead(now), next }
    }

    /// Removes the requests that take no place any more.
    fn drop_past(&mut self, now: u64) {
        while self.intervals.front().is_some_and(|interval| interval.last.saturating_add(self.window) <= now)
        {
            self.intervals.pop_front();
        }
    }

    /// Returns the time until fewer than `places` of the `used` places are taken.
    fn time_to_fewer_than(&self, places: u64, mut used: u64, now: u64) -> u64 {
        let mut freed = now;
        for interval in &self.intervals {
            used = used.saturating_sub(u64::from(interval.count));
            freed = interval.last.saturating_add(self.window);
            if used < places {
                break;
            }
        }
        freed.saturating_sub(now)
    }

    /// Returns true if a request at this time, which is not before the newest stretch, is counted in that stretch.
    fn joins(&self, policy: &QuotaPolicy, now: u64) -> bool {
        let interval = interval(policy);
        self.intervals.back().is_some_and(|newest| newest.last / interval == now / interval)
    }

    /// Takes the places of a draw of this weight at this time.
    pub(super) fn take(&mut self, policy: &QuotaPolicy, weight: NonZeroU32, now: u64) {
        self.add(policy, weight.min(policy.heaviest()).get(), now);
    }

    fn add(&mut self, policy: &QuotaPolicy, units: u32, now: u64) {
        // Clocks are read before the lock is taken, so that times may arrive out of order.
        let now = self.newest().unwrap_or(now).max(now);
        let joins = self.joins(policy, now);
        match self.intervals.back_mut() {
            Some(newest) if joins => {
                newest.last = now;
                newest.count = newest.count.saturating_add(units);
            }
            _ => self.intervals.push_back(Interval { last: now, count: units }),
        }
    }

    /// Changes the places that a draw took. The oldest places are given back first, so that no later period is counted with
    /// too few. The window counts at most twice its quota.
    pub(super) fn correct(&mut self, policy: &QuotaPolicy, drawn: u32, correction: &Correction<'_>) {
        let now = correction.draw.now.ticks();
        self.drop_past(now);
        if let Some(more) = correction.actual.checked_sub(drawn) {
            let room = (2 * u64::from(policy.quota())).saturating_sub(self.used());
            let more = u32::try_from(room).unwrap_or(u32::MAX).min(more);
            if more > 0 {
                self.add(policy, more, now);
            }
            return;
        }
        let mut fewer = drawn - correction.actual;
        if correction.elapsed >= policy.window() {
            return;
        }
        while let Some(oldest) = self.intervals.front_mut().filter(|_| fewer > 0) {
            let back = oldest.count.min(fewer);
            (oldest.count, fewer) = (oldest.count - back, fewer - back);
            if oldest.count == 0 {
                self.intervals.pop_front();
            }
        }
    }

    /// Returns the time at which the window is full, or zero if it is.
    pub(super) fn full_at(&self) -> u64 {
        self.newest().map_or(0, |newest| newest.saturating_add(self.window))
    }

    /// Returns the state of the window.
    pub(super) fn peek(&self, policy: &QuotaPolicy, now: u64) -> WindowVerdict {
        let held = self.intervals.iter().filter(|interval| interval.last.saturating_add(self.window) > now);
        let used: u64 = held.map(|interval| u64::from(interval.count)).sum();
        let more = self.time_to_fewer_than(used.min(u64::from(policy.quota())), self.used(), now);
        let (remaining, ahead) = (left(policy, used), self.ahead(now));
        WindowVerdict { wait: 0, remaining, ahead, next: if used == 0 { 0 } else { more } }
    }

    fn used(&self) -> u64 {
        self.intervals.iter().map(|interval| u64::from(interval.count)).sum()
    }

    fn newest(&self) -> Option<u64> {
        self.intervals.back().map(|interval| interval.last)
    }

    /// Returns the time until the window is full.
    fn ahead(&self, now: u64) -> u64 {
        self.newest().map_or(0, |newest| newest.saturating_add(self.window).saturating_sub(now))
    }
}

/// Returns the longest stretch whose requests are counted together. It is a single instant if the quota is small enough
/// to record each request separately.
fn interval(policy: &QuotaPolicy) -> u64 {
    if policy.quota() <= INTERVALS { 1 } else { nanos(policy.window() / INTERVALS).max(1) }
}

fn left(policy: &QuotaPolicy, used: u64) -> u32 {
    u32::try_from(u64::from(policy.quota()).saturating_sub(used)).unwrap_or(u32::MAX)
}

/// Converts a time to nanoseconds. A window lasts at most 366 days, which fits in 64 bits.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
