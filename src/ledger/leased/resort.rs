//! What a node may still do for a request that the authority has too little for.

use tokio::sync::futures::OwnedNotified;

use super::purse::{Block, Purse, Spent, State};
use crate::{ChargeId, Credits, Now};

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
    /// What to do next for a request that the authority has too little for.
    pub(super) fn last_resort(&mut self, id: ChargeId, amount: Credits, now: Now, purse: &Purse) -> Resort {
        if let Spent::Here { balance, .. } = self.spend(id, amount, now) {
            return Resort::Spent(balance);
        }
        if let Some(trip) = self.trip_under_way(purse) {
            return Resort::Wait(trip);
        }
        let covers = |block: &&Block| block.rest() >= amount.get() && now.elapsed() < block.ends_at;
        if let Some(block) = self.blocks.iter().find(covers) {
            return Resort::Commit(block.id, block.used + amount.get());
        }
        let free = |block: &&mut Block| block.open == 0;
        let in_pieces = self.blocks.iter_mut().filter(free).fold(false, |some, block| {
            let rest = block.rest();
            block.ended = true;
            some || rest > 0
        });
        if in_pieces { Resort::GiveBack } else { Resort::Refuse }
    }
}
