//! The metrics of each part of the crate.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::metrics::definition as defined;
use crate::metrics::{Counter, Gauge, Histogram};

/// The metrics of a cache of keys.
#[derive(Debug)]
pub(crate) struct CacheMetrics {
    pub(crate) hits: Counter,
    pub(crate) negative_hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) stale_answers: Counter,
}

impl CacheMetrics {
    pub(crate) fn new() -> Self {
        let lookups = |result| Counter::new(&defined::CACHE_LOOKUPS, &[("result", result)]);
        Self {
            hits: lookups("hit"),
            negative_hits: lookups("negative_hit"),
            misses: lookups("miss"),
            stale_answers: Counter::new(&defined::CACHE_STALE_ANSWERS, &[]),
        }
    }
}

/// The metrics of a circuit breaker.
#[derive(Debug)]
pub(crate) struct CircuitMetrics {
    open: Gauge,
    openings: Counter,
}

impl CircuitMetrics {
    /// Creates the metrics of a circuit in front of a back end of this type.
    pub(crate) fn new(back_end: &str) -> Self {
        let labels = [("back_end", back_end)];
        let open = Gauge::new(&defined::CIRCUITS_OPEN, &labels);
        Self { open, openings: Counter::new(&defined::CIRCUIT_OPENINGS, &labels) }
    }

    pub(crate) fn opened(&self) {
        self.open.raise(true);
        self.openings.add(1);
    }

    pub(crate) fn closed(&self) {
        self.open.raise(false);
    }
}

/// The metrics of leased credits.
#[derive(Debug)]
pub(crate) struct LeaseMetrics {
    taken: Counter,
    returned: Counter,
    credits_taken: Counter,
    credits_spent: Counter,
    credits_returned: Counter,
}

impl LeaseMetrics {
    pub(crate) fn new() -> Self {
        Self {
            taken: Counter::new(&defined::LEASES_TAKEN, &[]),
            returned: Counter::new(&defined::LEASES_RETURNED, &[]),
            credits_taken: Counter::new(&defined::LEASED_CREDITS_TAKEN, &[]),
            credits_spent: Counter::new(&defined::LEASED_CREDITS_SPENT, &[]),
            credits_returned: Counter::new(&defined::LEASED_CREDITS_RETURNED, &[]),
        }
    }

    /// Counts a block that was leased.
    pub(crate) fn taken(&self, amount: u64) {
        self.taken.add(1);
        self.credits_taken.add(amount);
    }

    /// Counts a block that was closed after some of its credits were spent.
    pub(crate) fn returned(&self, amount: u64, spent: u64) {
        self.returned.add(1);
        self.credits_spent.add(spent);
        self.credits_returned.add(amount.saturating_sub(spent));
    }
}

/// The metrics of announcements between nodes.
#[derive(Debug)]
pub(crate) struct AnnouncementMetrics {
    sent: Counter,
    errors: Counter,
    received: Counter,
    lag: Histogram,
    /// The latest announcements of this node that did not arrive yet, with their times in nanoseconds.
    under_way: Mutex<VecDeque<(String, u64)>>,
}

/// The maximum number of announcements whose arrival is awaited.
const MOST_UNDER_WAY: usize = 256;

impl AnnouncementMetrics {
    pub(crate) fn new() -> Self {
        Self {
            sent: Counter::new(&defined::ANNOUNCEMENTS_SENT, &[]),
            errors: Counter::new(&defined::ANNOUNCEMENT_ERRORS, &[]),
            received: Counter::new(&defined::ANNOUNCEMENTS_RECEIVED, &[]),
            lag: Histogram::new(&defined::ANNOUNCEMENT_LAG, &[]),
            under_way: Mutex::default(),
        }
    }

    /// Notes an announcement that is about to be sent. `now` is monotonic, in nanoseconds.
    pub(crate) fn sending(&self, change: &impl Display, now: u64) {
        if cfg!(feature = "metrics") {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            if under_way.len() >= MOST_UNDER_WAY {
                under_way.pop_front();
            }
            under_way.push_back((change.to_string(), now));
        }
    }

    /// Counts an announcement that was sent, or that failed.
    pub(crate) fn sent(&self, succeeded: bool) {
        if succeeded { self.sent.add(1) } else { self.errors.add(1) }
    }

    /// Counts an announcement that arrived.
    pub(crate) fn received(&self, change: &impl Display, now: u64) {
        self.received.add(1);
        if cfg!(feature = "metrics") {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            if under_way.is_empty() {
                return;
            }
            let text = change.to_string();
            if let Some(place) = under_way.iter().position(|(sent, _)| *sent == text)
                && let Some((_, since)) = under_way.remove(place)
            {
                self.lag.record(Duration::from_nanos(now.saturating_sub(since)));
            }
        }
    }
}

/// Counts a sweep of a ledger, and the charges that it closed.
pub(crate) fn swept(ledger: &'static str, closed: u64) {
    Counter::new(&defined::SWEEPS, &[("ledger", ledger)]).add(1);
    Counter::new(&defined::SWEPT_CHARGES, &[("ledger", ledger)]).add(closed);
}

/// Returns the counter of networks whose counts were dropped for others.
pub(crate) fn networks_forgotten(of: &'static str) -> Counter {
    Counter::new(&defined::NETWORKS_FORGOTTEN, &[("of", of)])
}

/// Counts a batch of usage that was written.
pub(crate) fn usage_batch_written() {
    Counter::new(&defined::USAGE_BATCHES, &[("result", "written")]).add(1);
}

/// Counts a batch of usage that could not be written.
pub(crate) fn usage_batch_failed() {
    Counter::new(&defined::USAGE_BATCHES, &[("result", "failed")]).add(1);
}

/// Counts requests whose detail was left out.
pub(crate) fn usage_folded(count: u64) {
    Counter::new(&defined::USAGE_FOLDED, &[]).add(count);
}

/// Counts decision events that the usage sink dropped.
pub(crate) fn usage_events_dropped(count: u64) {
    Counter::new(&defined::EVENTS_DROPPED, &[("sink", "usage")]).add(count);
}
