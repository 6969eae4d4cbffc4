//! The terms of a lease: its amount and its duration.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::amount::Credits;

/// The amount of an account's credits that a node takes at once, and the time for which it keeps them.
///
/// # Example
///
/// ```
/// use std::num::NonZeroU32;
/// use tollgate::credit::LeaseTerms;
/// use tollgate::Credits;
///
/// let mut terms = LeaseTerms::of_nodes(NonZeroU32::new(4).unwrap());
/// terms.headroom = Credits::new(50);
/// assert_eq!(terms.block_of(Credits::new(10_000)), Credits::new(625));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseTerms {
    /// The number of nodes. If there are more nodes than this, nothing is overspent, but fewer credits are left for the
    /// last node.
    pub nodes: NonZeroU32,
    /// The largest block. Defaults to 10,000 credits.
    pub block: Credits,
    /// The maximum number of an account's credits that are committed ahead of spending, over all blocks of a node.
    /// Defaults to 250.
    ///
    /// The cost of one request applies instead if it is larger. This many credits may be lost when a node crashes, plus
    /// the credits that have since been returned to the node by refunds and by settlements below the charge. This many
    /// credits are also spent between two round trips in the background. The amount starts small and grows with the
    /// demand.
    pub headroom: Credits,
    /// The time without a request after which an account's blocks are returned. Defaults to one second.
    pub idle: Duration,
    /// The maximum time for which a block is kept. Defaults to one second.
    ///
    /// It bounds the time for which other nodes cannot spend the credits that this node has leased. It also bounds the time
    /// for which a node continues after a balance was set manually.
    pub longest: Duration,
    /// The maximum duration of [`close`](crate::credit::LeasedLedger::close). Defaults to ten seconds.
    pub closing: Duration,
}

/// The divisor that bounds the leased credits: all nodes together have leased at most this fraction of the remaining
/// balance.
const HELD: u64 = 2;

/// The divisor that bounds one block: all nodes together take at most this fraction of a balance at once.
const TAKEN: u64 = 4;

impl LeaseTerms {
    /// Creates the default terms for one of `nodes` nodes.
    pub fn of_nodes(nodes: NonZeroU32) -> Self {
        Self {
            nodes,
            block: Credits::new(10_000),
            headroom: Credits::new(250),
            idle: Duration::from_secs(1),
            longest: Duration::from_secs(1),
            closing: Duration::from_secs(10),
        }
    }

    /// Returns the size of the largest block that may be taken from a balance.
    pub fn block_of(&self, balance: Credits) -> Credits {
        let share = balance.get() / TAKEN / u64::from(self.nodes.get());
        self.block.min(Credits::new(share))
    }

    /// Returns the maximum amount that a node may have leased while this balance is left at the authority, over all its
    /// blocks.
    ///
    /// # Example
    ///
    /// ```
    /// use std::num::NonZeroU32;
    /// use tollgate::credit::LeaseTerms;
    /// use tollgate::Credits;
    ///
    /// let terms = LeaseTerms::of_nodes(NonZeroU32::new(4).unwrap());
    /// assert_eq!(terms.share_of(Credits::new(10_000)), Credits::new(1_250));
    /// ```
    pub fn share_of(&self, balance: Credits) -> Credits {
        Credits::new(balance.get() / HELD / u64::from(self.nodes.get()))
    }

    /// Returns the size of the largest block for a node that already has leased `held` credits.
    ///
    /// With that block, the node has at most its share of the balance that is left then.
    pub(super) fn room_for(&self, balance: u64, held: u64) -> u64 {
        let parts = HELD.saturating_mul(u64::from(self.nodes.get()));
        let room = balance.saturating_sub(held.saturating_mul(parts)) / parts.saturating_add(1);
        room.min(self.block_of(Credits::new(balance)).get())
    }
}
