//! The health of a cached store.

use crate::store::cached::CachedStore;

/// The state of the channel from other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelState {
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
    pub channel_state: ChannelState,
    /// The number of times that the listening task ended, by a fault or a panic, and was restarted.
    pub restarts: u64,
    /// True if the last read of the authority failed, within the past second.
    pub authority_fails: bool,
}

impl CacheHealth {
    /// Returns true if the channel is lost or the authority fails.
    pub fn is_degraded(&self) -> bool {
        self.channel_state == ChannelState::Lost || self.authority_fails
    }
}

impl<S> CachedStore<S> {
    /// Returns the health of the store.
    pub fn health(&self) -> CacheHealth {
        let state = &self.0.state;
        let restarts = self.0.listener.as_ref().map_or(0, |listener| listener.restarts());
        CacheHealth {
            channel_state: self.channel_state(),
            restarts,
            authority_fails: state.is_failing(state.now()),
        }
    }

    pub(super) fn channel_state(&self) -> ChannelState {
        match &self.0.listener {
            None => ChannelState::Alone,
            Some(_) if self.0.state.is_disconnected() => ChannelState::Lost,
            Some(_) => ChannelState::Open,
        }
    }
}
