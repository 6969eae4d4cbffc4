//! How much is leased, and for how long.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::Credits;

/// How much of an account's credits a node takes at once, and for how long.
///
/// # Example
///
/// ```
/// use std::num::NonZeroU32;
/// use tollgate::{Credits, LeaseTerms};
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
    /// How many credits of a block are committed ahead of what is spent, at most: 250, if nothing is said. So many of an
    /// account's may be lost when a node dies, with what has come back to it of charges since; and so many are spent between one round trip in the background and the
    /// next. It starts small and grows with the demand; a single request's cost is always within.
    pub headroom: Credits,
    /// After what time without a request an account's blocks go back: one second, if nothing is said.
    pub idle: Duration,
    /// How long a block is held at the most: ten seconds, if nothing is said.
    pub longest: Duration,
}

/// All nodes together take at most one part in so many of a balance.
const PARTS: u64 = 4;

impl LeaseTerms {
    /// The usual terms for one of so many nodes.
    pub fn of_nodes(nodes: NonZeroU32) -> Self {
        Self {
            nodes,
            block: Credits::new(10_000),
            headroom: Credits::new(250),
            idle: Duration::from_secs(1),
            longest: Duration::from_secs(10),
        }
    }

    /// The largest block that is taken of a balance.
    pub fn block_of(&self, balance: Credits) -> Credits {
        let share = balance.get() / PARTS / u64::from(self.nodes.get());
        self.block.min(Credits::new(share))
    }
}
