//! The log of the requests that a strict window has admitted.

use std::collections::VecDeque;
use std::time::Duration;

use super::bucket::WindowVerdict;
use crate::account::QuotaPolicy;

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

    /// Returns the result of a draw, without taking it.
    pub(super) fn test(&mut self, policy: &QuotaPolicy, now: u64) -> WindowVerdict {
        while self.intervals.front().is_some_and(|interval| interval.last.saturating_add(self.window) <= now)
        {
            self.intervals.pop_front();
        }
        let places = u64::from(policy.quota());
        let used = self.used();
        if used < places {
            let newest = self.newest().unwrap_or(now).max(now);
            return WindowVerdict {
                wait: 0,
                remaining: left(policy, used + 1),
                ahead: newest - now + self.window,
            };
        }
        let (mut gone, mut freed) = (0, now);
        for interval in &self.intervals {
            gone += u64::from(interval.count);
            freed = interval.last;
            if used - gone < places {
                break;
            }
        }
        let wait = (freed + self.window).saturating_sub(now);
        WindowVerdict { wait, remaining: 0, ahead: self.ahead(now) }
    }

    /// Takes a place at this time.
    pub(super) fn take(&mut self, policy: &QuotaPolicy, now: u64) {
        let interval = interval(policy);
        // Clocks are read before the lock is taken, so that times may arrive out of order.
        let now = self.newest().unwrap_or(now).max(now);
        match self.intervals.back_mut() {
            Some(newest) if newest.last / interval == now / interval => {
                newest.last = now;
                newest.count += 1;
            }
            _ => self.intervals.push_back(Interval { last: now, count: 1 }),
        }
    }

    /// Returns the number of further requests that the window admits, and the time until it is full.
    pub(super) fn peek(&self, policy: &QuotaPolicy, now: u64) -> (u32, u64) {
        let held = self.intervals.iter().filter(|interval| interval.last.saturating_add(self.window) > now);
        (left(policy, held.map(|interval| u64::from(interval.count)).sum()), self.ahead(now))
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
