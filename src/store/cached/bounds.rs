//! How long what was read may be answered with.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::store::cached::shelf::Entry;

/// Lengths of time, in nanoseconds.
#[derive(Clone)]
pub(super) struct Bounds {
    /// For how long a record is good: the bound on staleness.
    pub(super) stale: i64,
    /// For how long it is known that there is no such key.
    pub(super) absent: i64,
    /// For how long a record is good while announcements may be missed.
    pub(super) unannounced: i64,
    /// For how much longer a record is answered with while the authority fails.
    pub(super) past: i64,
    /// How much of a time to live may be taken off, in percent.
    pub(super) jitter: u8,
    pub(super) dice: RandomState,
}

impl Bounds {
    /// How long the answer of the authority is good: at most the bound, and less by the jitter.
    pub(super) fn life(&self, found: bool, number: u64) -> i64 {
        let most = if found { self.stale } else { self.absent };
        let share = self.dice.hash_one(number) % 1024;
        let off = i128::from(most) * i128::from(self.jitter) * i128::from(share) / (100 * 1024);
        most - i64::try_from(off).unwrap_or(most)
    }

    /// Whether a record may be answered with that is not fresh, while the authority fails.
    pub(super) fn may_serve(&self, entry: &Entry, now: i64) -> bool {
        now < entry.fresh_until.saturating_add(self.past)
    }

    pub(super) fn nanos(time: Duration) -> i64 {
        i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
    }

    pub(super) fn time(nanos: i64) -> Duration {
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }
}
