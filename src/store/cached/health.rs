//! How a cached store is doing.

use crate::store::cached::CachedStore;
use crate::store::cached::listener::Listener;

/// Whether a store hears of changes on other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hearing {
    /// It has no channel: what changes elsewhere is seen within the bound on staleness.
    Alone,
    /// It does.
    Open,
    /// It may not: records are good for a shorter time until it does again.
    Lost,
}

/// How a [`CachedStore`] is doing, for a readiness probe or a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheHealth {
    /// Whether it hears of changes on other nodes.
    pub hearing: Hearing,
    /// How often the task that listens ended, by a fault or a panic, and was begun again.
    pub restarts: u64,
    /// Whether the authority failed when it was asked last, within the past second.
    pub authority_fails: bool,
}

impl CacheHealth {
    /// Whether something is not as it should be.
    pub fn is_degraded(&self) -> bool {
        self.hearing == Hearing::Lost || self.authority_fails
    }
}

impl<S> CachedStore<S> {
    /// How the store is doing.
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
