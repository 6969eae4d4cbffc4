//! A rate limiter in memory for this node's share of every quota.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::account::{QuotaGroup, Quotas};
use crate::future::StoreFuture;
use crate::limit::{
    Acquire, Acquired, Correction, Draw, LimitDecision, MemoryLimiter, RateLimiter, WindowStatus,
};
use crate::state::StateOwner;

/// A rate limiter without a server: each of the *n* nodes of a fleet admits its share of every quota by itself.
///
/// The share of a quota *q* is *q/n* rounded down, and at least 1. The fleet admits up to `n × max(1, ⌊q/n⌋)` at once,
/// and the same amount again per window. This is at most *q* if *q ≥ n*. If *q < n*, it is *n*, an excess of *n − q*.
/// No other node can use what a node leaves of its share. A node beyond the configured number adds its share on top.
/// The reported state of a window is that of the node's share, not of the fleet's quota. A limit on requests in flight is
/// shared in the same way.
///
/// A request whose weight is above the share needs a full share. It takes all its units, and the share admits the next
/// request when they are refilled. Each node may thus exceed its share by the units of one request. In a strict window,
/// it may do so once in each window.
///
/// # Example
///
/// ```
/// use std::num::NonZeroU32;
/// use tollgate::account::QuotaPolicy;
/// use tollgate::limit::LocalShare;
///
/// let four = NonZeroU32::new(4).unwrap();
/// let limiter = LocalShare::new(four);
/// let quota: QuotaPolicy = "10 per second".parse()?;
/// assert_eq!(quota.shared_by(four).quota(), 2);
/// # drop(limiter);
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct LocalShare {
    limiter: MemoryLimiter,
    nodes: NonZeroU32,
    owner: StateOwner,
}

impl LocalShare {
    /// Creates a limiter for one of `nodes` nodes, for up to a million keys.
    pub fn new(nodes: NonZeroU32) -> Self {
        Self::over(MemoryLimiter::new(), nodes)
    }

    /// Creates a limiter over a [`MemoryLimiter`], which may have another capacity.
    pub fn over(limiter: MemoryLimiter, nodes: NonZeroU32) -> Self {
        Self { limiter, nodes, owner: StateOwner::new() }
    }

    /// Runs `with` on this node's share of quotas. The share is computed once and attached to the quotas.
    fn shared<R>(&self, quotas: &Quotas, with: impl FnOnce(&Quotas) -> R) -> R {
        match quotas.state().get::<Quotas>(self.owner) {
            Some(shares) => with(shares),
            None => with(&self.shares_of(quotas)),
        }
    }

    /// Returns this node's share of quotas, in a form that can be kept while a server is asked.
    pub(super) fn shares_of(&self, quotas: &Quotas) -> Arc<Quotas> {
        quotas.state().share(self.owner).unwrap_or_else(|| {
            let shares = quotas.groups().iter().map(|group| self.share_of(group));
            let shares = Arc::new(Quotas::of_groups(shares));
            quotas.state().attach(self.owner, Arc::clone(&shares));
            shares
        })
    }

    /// Returns this node's share of a group. It is attached to the group, because the quotas of several rules may contain
    /// the same group, and then have the same windows.
    fn share_of(&self, group: &QuotaGroup) -> QuotaGroup {
        let share = group.state().share::<QuotaGroup>(self.owner).unwrap_or_else(|| {
            let share = Arc::new(group.map(|policy| policy.shared_by(self.nodes)));
            group.state().attach(self.owner, Arc::clone(&share));
            group.state().share(self.owner).unwrap_or(share)
        });
        QuotaGroup::clone(&share)
    }

    /// Draws from shares that were computed before.
    pub(super) fn draw_share(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision> {
        of_share(draw.quotas, self.limiter.draw(draw))
    }

    /// Returns the state of shares that were computed before.
    pub(super) fn peek_share(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        self.limiter.peek(draw)
    }
}

/// Adds the limits of the shares to the state of their windows. The limiter in memory answers at once.
fn of_share(shares: &Quotas, mut drawn: StoreFuture<LimitDecision>) -> StoreFuture<LimitDecision> {
    let limited = |status: &mut WindowStatus| {
        if let Some(policy) = shares.policies().nth(status.policy) {
            status.limit = policy.capacity();
        }
    };
    if let Some(decision) = drawn.answer_mut() {
        let (LimitDecision::Within(status) | LimitDecision::Exceeded { window_status: status, .. }) =
            decision;
        status.all.iter_mut().for_each(limited);
        limited(status);
    }
    drawn
}

impl RateLimiter for LocalShare {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<LimitDecision> {
        self.shared(draw.quotas, |shares| self.draw_share(&Draw { quotas: shares, ..*draw }))
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<WindowStatus>> {
        self.shared(draw.quotas, |shares| self.peek_share(&Draw { quotas: shares, ..*draw }))
    }

    fn correct(&self, correction: &Correction<'_>) -> StoreFuture<()> {
        let draw = &correction.draw;
        self.shared(draw.quotas, |shares| {
            let draw = Draw { quotas: shares, ..*draw };
            self.limiter.correct(&Correction { draw, ..*correction })
        })
    }

    fn acquire(&self, acquire: &Acquire<'_>) -> StoreFuture<Acquired> {
        self.limiter.acquire_share(acquire, self.nodes).into()
    }

    fn release(&self, acquire: &Acquire<'_>) -> StoreFuture<()> {
        self.limiter.release(acquire)
    }

    fn limits_in_flight(&self) -> bool {
        true
    }
}
