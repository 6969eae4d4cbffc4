//! The time limits for answers from the cache.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::store::cached::local::CacheEntry;

/// Time limits, in nanoseconds.
#[derive(Clone)]
pub(super) struct Bounds {
    /// The time for which a record is valid: the bound on staleness.
    pub(super) stale: i64,
    /// The time for which an unknown key is remembered as unknown.
    pub(super) absent: i64,
    /// The time for which a record is valid while announcements may be missed.
    pub(super) unannounced: i64,
    /// The time after expiry for which a record is served while the authority fails.
    pub(super) past: i64,
    /// The maximum reduction of a time to live, in percent.
    pub(super) jitter: u8,
    pub(super) dice: RandomState,
}

impl Bounds {
    /// Returns the life of an answer of the authority: the bound, minus a random part of the jitter.
    pub(super) fn life(&self, found: bool, number: u64) -> i64 {
        let most = if found { self.stale } else { self.absent };
        let share = self.dice.hash_one(number) % 1024;
        let off = i128::from(most) * i128::from(self.jitter) * i128::from(share) / (100 * 1024);
        most - i64::try_from(off).unwrap_or(most)
    }

    /// Returns true if a record that is not fresh may be served while the authority fails.
    pub(super) fn may_serve(&self, entry: &CacheEntry, now: i64) -> bool {
        now < entry.fresh_until.saturating_add(self.past)
    }

    pub(super) fn nanos(time: Duration) -> i64 {
        i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
    }

    pub(super) fn time(nanos: i64) -> Duration {
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }
}
