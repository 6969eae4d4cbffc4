//! How much is leased, and for how long.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::amount::Credits;

/// How much of an account's credits a node takes at once, and for how long.
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
    /// How many nodes there are. More of them than this overspend nothing: there is less left for the last.
    pub nodes: NonZeroU32,
    /// The largest block: 10,000 credits, if nothing is said.
    pub block: Credits,
    /// How many credits of an account are committed ahead of what is spent, over all blocks of a node: at most 250, if nothing
    /// is said, or the cost of one request where that is more. So many may be lost when a node dies, with what has come back to
    /// it since of charges that were refunded or settled for less. So many are also spent between one round trip in the
    /// background and the next. It starts small and grows with the demand.
    pub headroom: Credits,
    /// After what time without a request an account's blocks go back: one second, if nothing is said.
    pub idle: Duration,
    /// How long a block is held at the most: one second, if nothing is said. It bounds for how long other nodes are refused
    /// what this one holds, and for how long a node goes on after a balance was set by hand.
    pub longest: Duration,
    /// The time that [`close`](crate::credit::LeasedLedger::close) may take: ten seconds, if nothing is said.
    pub closing: Duration,
}

/// All nodes together hold at most one part in so many of what is left.
const HELD: u64 = 2;

/// All nodes together take at most one part in so many of a balance at once.
const TAKEN: u64 = 4;

impl LeaseTerms {
    /// The usual terms for one of so many nodes.
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

    /// The largest block that is taken of a balance.
    pub fn block_of(&self, balance: Credits) -> Credits {
        let share = balance.get() / TAKEN / u64::from(self.nodes.get());
        self.block.min(Credits::new(share))
    }

    /// The most that a node holds while this is left at the authority, over all its blocks.
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

    /// The largest block for a node that holds so much already: with it, it holds its share of what is left then.
    pub(super) fn room_for(&self, balance: u64, held: u64) -> u64 {
        let parts = HELD.saturating_mul(u64::from(self.nodes.get()));
        let room = balance.saturating_sub(held.saturating_mul(parts)) / parts.saturating_add(1);
        room.min(self.block_of(Credits::new(balance)).get())
    }
}
