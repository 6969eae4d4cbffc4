//! Limits on the number of requests that are in flight at once.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::account::{QuotaOrigin, QuotaScope};
use crate::error::ConfigError;
use crate::name::PoolName;
use crate::state::AttachedState;

/// A limit on the number of requests that are in flight at once. A request holds a slot of the limit from its admission
/// until the body of its response has ended.
///
/// # Example
///
/// ```
/// use tollgate::account::{InFlightLimit, QuotaScope};
///
/// let limit = InFlightLimit::new(100)?.counting(QuotaScope::Account);
/// assert_eq!(limit.most(), 100);
/// assert!(InFlightLimit::new(0).is_err());
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlightLimit {
    most: NonZeroU32,
    counts: QuotaScope,
    origin: QuotaOrigin,
    state: Arc<AttachedState>,
}

impl InFlightLimit {
    /// Creates a limit of this many requests, counted per key.
    ///
    /// # Errors
    ///
    /// Returns an error for a limit of zero.
    pub fn new(most: u32) -> Result<Self, ConfigError> {
        let Some(most) = NonZeroU32::new(most) else {
            let problem = "a limit of zero requests in flight admits no request";
            return Err(ConfigError::new("0", problem, "write at least 1, or leave the limit out"));
        };
        Ok(Self {
            most,
            counts: QuotaScope::Key,
            origin: QuotaOrigin::Plan,
            state: Arc::new(AttachedState::new()),
        })
    }

    /// Sets the owner whose requests are counted together. Defaults to each key separately.
    #[must_use]
    pub fn counting(mut self, counts: QuotaScope) -> Self {
        self.counts = counts;
        self
    }

    /// Sets the part of the configuration that the limit belongs to. Limits of different origins count separately.
    /// Defaults to a plan. A gate sets the origin of the limits of its rules itself.
    #[must_use]
    pub fn of(mut self, origin: QuotaOrigin) -> Self {
        self.origin = origin;
        self
    }

    /// Creates the limit on all requests of a gate together.
    pub(crate) fn total(self) -> Self {
        self.counting(QuotaScope::Pool(PoolName::from(ALL)))
    }

    /// Returns true if this is the limit on all requests of a gate together.
    pub(crate) fn is_total(&self) -> bool {
        matches!(&self.counts, QuotaScope::Pool(name) if name.as_str() == ALL)
    }

    /// Returns the maximum number of requests in flight.
    pub fn most(&self) -> u32 {
        self.most.get()
    }

    /// Returns the owner whose requests are counted together.
    pub fn counts(&self) -> &QuotaScope {
        &self.counts
    }

    /// Returns the part of the configuration that the limit belongs to.
    pub fn origin(&self) -> &QuotaOrigin {
        &self.origin
    }

    /// Returns one node's share of the limit: the limit divided by the number of nodes, rounded down, but at least one
    /// request.
    pub fn shared_by(&self, nodes: NonZeroU32) -> u32 {
        (self.most.get() / nodes).max(1)
    }

    /// Returns the run-time state that rate limiters have attached to the limit, such as the slots of a pool. Clones of a
    /// limit share it.
    pub fn state(&self) -> &AttachedState {
        &self.state
    }
}

/// The pool of all requests of a gate. A configuration cannot name it.
const ALL: &str = "*";

/// The limits on the requests in flight that apply to a request. The order of the limits is the same everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InFlightLimits(Box<[InFlightLimit]>);

impl InFlightLimits {
    /// Combines limits. Of two limits with the same owner and the same origin, the lower one applies.
    pub fn new(limits: impl IntoIterator<Item = InFlightLimit>) -> Self {
        let mut sorted: Vec<InFlightLimit> = limits.into_iter().collect();
        sorted
            .sort_by(|a, b| (a.counts.rank(), &a.origin, a.most).cmp(&(b.counts.rank(), &b.origin, b.most)));
        sorted.dedup_by(|next, kept| (&next.counts, &next.origin) == (&kept.counts, &kept.origin));
        Self(sorted.into_boxed_slice())
    }

    /// Returns the limits.
    #[inline]
    pub fn all(&self) -> &[InFlightLimit] {
        &self.0
    }

    /// Returns true if there are no limits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if a limit counts the client's network.
    #[inline]
    pub fn count_network(&self) -> bool {
        self.0.iter().any(|limit| matches!(limit.counts, QuotaScope::Network(_)))
    }

    /// Returns the same limits in shadow, with slots of their own.
    pub(crate) fn in_shadow(&self) -> Self {
        let twin = |limit: &InFlightLimit| match limit.origin {
            QuotaOrigin::Shadow(_) => limit.clone(),
            ref origin => InFlightLimit {
                origin: QuotaOrigin::Shadow(Arc::new(origin.clone())),
                state: Arc::default(),
                ..limit.clone()
            },
        };
        Self::new(self.0.iter().map(twin))
    }

    /// Returns the limit of the fewest requests.
    pub(crate) fn lowest(&self) -> Option<&InFlightLimit> {
        self.0.iter().min_by_key(|limit| limit.most)
    }

    /// Returns the limits that count each owner.
    pub(crate) fn by_owner(&self) -> impl Iterator<Item = &[InFlightLimit]> {
        self.0.chunk_by(|a, b| a.counts == b.counts)
    }
}
