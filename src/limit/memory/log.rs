//! What a strict window has admitted, and when.

use std::collections::VecDeque;
use std::time::Duration;

use super::bucket::Told;
use crate::account::QuotaPolicy;

/// The requests that take a place in a window until it has passed since, in stretches: of a stretch all leave together,
/// when the last of it does. What a time as long as the window sees is therefore never more than what is counted.
#[derive(Debug)]
pub(super) struct Log {
    /// In monotonic nanoseconds, as all times here.
    window: u64,
    stretches: VecDeque<Stretch>,
}

/// In how many stretches a window is counted.
const STRETCHES: u32 = 16;

#[derive(Debug)]
struct Stretch {
    last: u64,
    count: u32,
}

impl Log {
    pub(super) fn new(policy: &QuotaPolicy) -> Self {
        // A window touches one stretch more than it is long.
        let most = policy.quota().min(STRETCHES + 1) as usize;
        Self { window: nanos(policy.window()), stretches: VecDeque::with_capacity(most) }
    }

    /// What a draw comes to, without taking it.
    pub(super) fn test(&mut self, policy: &QuotaPolicy, now: u64) -> Told {
        while self.stretches.front().is_some_and(|stretch| stretch.last.saturating_add(self.window) <= now) {
            self.stretches.pop_front();
        }
        let places = u64::from(policy.quota());
        let used = self.used();
        if used < places {
            let newest = self.newest().unwrap_or(now).max(now);
            return Told { wait: 0, remaining: left(policy, used + 1), ahead: newest - now + self.window };
        }
        let (mut gone, mut freed) = (0, now);
        for stretch in &self.stretches {
            gone += u64::from(stretch.count);
            freed = stretch.last;
            if used - gone < places {
                break;
            }
        }
        let wait = (freed + self.window).saturating_sub(now);
        Told { wait, remaining: 0, ahead: self.ahead(now) }
    }

    /// Takes a place at this time.
    pub(super) fn take(&mut self, policy: &QuotaPolicy, now: u64) {
        let stretch = stretch(policy);
        // Clocks that are read before the lock may come in another order than the lock is taken.
        let now = self.newest().unwrap_or(now).max(now);
        match self.stretches.back_mut() {
            Some(newest) if newest.last / stretch == now / stretch => {
                newest.last = now;
                newest.count += 1;
            }
            _ => self.stretches.push_back(Stretch { last: now, count: 1 }),
        }
    }

    /// How the window stands.
    pub(super) fn peek(&self, policy: &QuotaPolicy, now: u64) -> (u32, u64) {
        let held = self.stretches.iter().filter(|stretch| stretch.last.saturating_add(self.window) > now);
        (left(policy, held.map(|stretch| u64::from(stretch.count)).sum()), self.ahead(now))
    }

    fn used(&self) -> u64 {
        self.stretches.iter().map(|stretch| u64::from(stretch.count)).sum()
    }

    fn newest(&self) -> Option<u64> {
        self.stretches.back().map(|stretch| stretch.last)
    }

    /// How far the window is from full.
    fn ahead(&self, now: u64) -> u64 {
        self.newest().map_or(0, |newest| newest.saturating_add(self.window).saturating_sub(now))
    }
}

/// The longest stretch whose requests are counted together: a single instant, where the quota is so small that each can be
/// told by itself.
fn stretch(policy: &QuotaPolicy) -> u64 {
    if policy.quota() <= STRETCHES { 1 } else { nanos(policy.window() / STRETCHES).max(1) }
}

fn left(policy: &QuotaPolicy, used: u64) -> u32 {
    u32::try_from(u64::from(policy.quota()).saturating_sub(used)).unwrap_or(u32::MAX)
}

/// A window lasts at most 366 days, which is far below the end of 64 bits.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
