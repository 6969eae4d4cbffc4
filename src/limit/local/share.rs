//! This node's share of every quota, in memory.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::account::Quotas;
use crate::future::StoreFuture;
use crate::limit::{Draw, MemoryLimiter, Quota, RateLimiter, Standing};
use crate::state::StateOwner;

/// Rate limits without a server: of a fleet of *n* nodes each admits its share of every quota, by itself.
///
/// The share of a quota *q* is *q/n* rounded down, and at least 1. The fleet admits up to `n × max(1, ⌊q/n⌋)` at once, and
/// as many again per window: never more than *q* where *q ≥ n*, and *n* where *q < n*, an excess of *n − q*. What a node
/// does not use of its share, no other node can; and a node more than was configured adds its share on top. A standing
/// tells of the node's share, not of the fleet's quota.
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
    /// The share of one of so many nodes, for up to a million keys.
    pub fn new(nodes: NonZeroU32) -> Self {
        Self::over(MemoryLimiter::new(), nodes)
    }

    /// The same with a limiter of another capacity.
    pub fn over(limiter: MemoryLimiter, nodes: NonZeroU32) -> Self {
        Self { limiter, nodes, owner: StateOwner::new() }
    }

    /// Runs `with` on this node's share of quotas: worked out once, and kept with them.
    fn shared<R>(&self, quotas: &Quotas, with: impl FnOnce(&Quotas) -> R) -> R {
        match quotas.state().get::<Quotas>(self.owner) {
            Some(shares) => with(shares),
            None => with(&self.shares_of(quotas)),
        }
    }

    /// This node's share of quotas, to be kept while a server is asked.
    pub(super) fn shares_of(&self, quotas: &Quotas) -> Arc<Quotas> {
        quotas.state().share(self.owner).unwrap_or_else(|| {
            let shares = quotas.policies().map(|policy| policy.shared_by(self.nodes));
            let shares = Arc::new(Quotas::new(shares));
            quotas.state().attach(self.owner, Arc::clone(&shares));
            shares
        })
    }

    /// Draws from shares that were worked out before.
    pub(super) fn draw_share(&self, draw: &Draw<'_>) -> StoreFuture<Quota> {
        self.limiter.draw(draw)
    }

    /// Returns how shares stand that were worked out before.
    pub(super) fn peek_share(&self, draw: &Draw<'_>) -> StoreFuture<Vec<Standing>> {
        self.limiter.peek(draw)
    }
}

impl RateLimiter for LocalShare {
    fn draw(&self, draw: &Draw<'_>) -> StoreFuture<Quota> {
        self.shared(draw.quotas, |shares| {
            let own = Draw::new(draw.key, shares, draw.now).telling_every_window(draw.every_window);
            self.limiter.draw(&own)
        })
    }

    fn peek(&self, draw: &Draw<'_>) -> StoreFuture<Vec<Standing>> {
        self.shared(draw.quotas, |shares| self.limiter.peek(&Draw::new(draw.key, shares, draw.now)))
    }
}
