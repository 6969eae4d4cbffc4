//! The last resort for a request that the authority has too little for: the node's own blocks, and what is on its way back.

use tokio::sync::futures::OwnedNotified;

use super::purse::{Block, Purse, Spent, State};
use crate::amount::{ChargeId, Credits};
use crate::clock::Now;

/// What may be done for a request that the authority has too little for.
#[derive(Debug)]
pub(super) enum Resort {
    /// It is paid for; so much is left.
    Spent(Credits),
    /// A round trip is under way: it may bring something.
    Wait(OwnedNotified),
    /// So much of this block is to be committed.
    Commit(ChargeId, u64),
    /// What is ended is to be given back, and the authority asked again.
    GiveBack,
    /// Nothing.
    Refuse,
}

impl State {
    /// The next thing to do for a request that the authority had too little for. It was asked when so many blocks had been
    /// `returned`.
    pub(super) fn last_resort(
        &mut self,
        id: ChargeId,
        amount: Credits,
        now: Now,
        (purse, returned): (&Purse, u64),
    ) -> Resort {
        if let Spent::Here { balance, .. } = self.spend(id, amount, now) {
            return Resort::Spent(balance);
        }
        if let Some(trip) = self.trip_under_way(purse) {
            return Resort::Wait(trip);
        }
        // One that waits for its open charges may be spent from until then.
        let covers = |block: &&mut Block| {
            block.amount - block.used >= amount.get()
                && now.elapsed() < block.ends_at
                && (!block.ended || block.open > 0)
        };
        if let Some(block) = self.blocks.iter_mut().find(covers) {
            block.ended = false;
            return Resort::Commit(block.id, block.used + amount.get());
        }
        let free = |block: &&mut Block| block.open == 0;
        let in_pieces = self.blocks.iter_mut().filter(free).fold(false, |some, block| {
            block.ended = true;
            some || block.amount > block.used
        });
        // What came back since the authority was asked may do as well.
        if in_pieces || self.returned != returned { Resort::GiveBack } else { Resort::Refuse }
    }
}
