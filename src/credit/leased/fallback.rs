//! The last resort for a request that the authority has too few credits for: the node's own blocks, and credits that
//! are being returned.

use tokio::sync::futures::OwnedNotified;

use super::leased_balance::{Block, LeasedBalance, Spent, State};
use crate::amount::{ChargeId, Credits};
use crate::clock::Now;

/// The next action for a request that the authority has too few credits for.
#[derive(Debug)]
pub(super) enum Fallback {
    /// The request is charged; the value is the remaining balance.
    Spent(Credits),
    /// A round trip is in progress and may bring credits.
    Wait(OwnedNotified),
    /// The block must be committed up to this amount.
    Commit(ChargeId, u64),
    /// The ended blocks must be given back, and the authority asked again.
    GiveBack,
    /// The request must be refused.
    Refuse,
}

impl State {
    /// Returns the next action for a request that the authority has too few credits for.
    ///
    /// `returned` is the number of returned blocks at the time when the authority was asked.
    pub(super) fn fallback(
        &mut self,
        id: ChargeId,
        amount: Credits,
        now: Now,
        (leased_balance, returned): (&LeasedBalance, u64),
    ) -> Fallback {
        if let Spent::Here { balance, .. } = self.spend(id, amount, now) {
            return Fallback::Spent(balance);
        }
        if let Some(trip) = self.trip_under_way(leased_balance) {
            return Fallback::Wait(trip);
        }
        // An ended block that waits for its open charges may be spent from until they are closed.
        let covers = |block: &&mut Block| {
            block.amount - block.used >= amount.get()
                && now.elapsed() < block.ends_at
                && (!block.ended || block.open > 0)
        };
        if let Some(block) = self.blocks.iter_mut().find(covers) {
            block.ended = false;
            return Fallback::Commit(block.id, block.used + amount.get());
        }
        let free = |block: &&mut Block| block.open == 0;
        let in_pieces = self.blocks.iter_mut().filter(free).fold(false, |some, block| {
            block.ended = true;
            some || block.amount > block.used
        });
        // Blocks that were returned since the authority was asked may suffice as well.
        if in_pieces || self.returned != returned { Fallback::GiveBack } else { Fallback::Refuse }
    }
}
