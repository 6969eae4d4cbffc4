//! The health of a cached store.

use crate::store::cached::CachedStore;
use crate::store::cached::listener::Listener;

/// The state of the channel from other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hearing {
    /// The store has no channel. It sees changes on other nodes within the bound on staleness.
    Alone,
    /// The store receives every change that other nodes announce.
    Open,
    /// The store may miss changes. Records are valid for a shorter time until the channel is open again.
    Lost,
}

/// The health of a [`CachedStore`], for a readiness probe or a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheHealth {
    /// The state of the channel from other nodes.
    pub hearing: Hearing,
    /// The number of times that the listening task ended, by a fault or a panic, and was restarted.
    pub restarts: u64,
    /// True if the last read of the authority failed, within the past second.
    pub authority_fails: bool,
}

impl CacheHealth {
    /// Returns true if the channel is lost or the authority fails.
    pub fn is_degraded(&self) -> bool {
        self.hearing == Hearing::Lost || self.authority_fails
    }
}

impl<S> CachedStore<S> {
    /// Returns the health of the store.
    pub fn health(&self) -> CacheHealth {
        let front = &self.0.front;
        let restarts = self.0.listener.as_ref().map_or(0, Listener::restarts);
        CacheHealth { hearing: self.hearing(), restarts, authority_fails: front.is_failing(front.now()) }
    }

    pub(super) fn hearing(&self) -> Hearing {
        match &self.0.listener {
            None => Hearing::Alone,
            Some(_) if self.0.front.is_deaf() => Hearing::Lost,
            Some(_) => Hearing::Open,
        }
    }
}
