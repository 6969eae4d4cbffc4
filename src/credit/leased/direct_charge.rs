//! A charge at the authority, for a request that no block of the node covers.
//!
//! If the authority has too few credits, the node's own blocks and credits that are being returned may still suffice.

use std::sync::Arc;

use tokio::sync::futures::OwnedNotified;

use super::Shared;
use super::leased_balance::{Block, LeasedBalance, Spent, State};
use crate::account::Allowance;
use crate::amount::{ChargeId, Credits};
use crate::clock::Now;
use crate::credit::{Charge, Charged, CreditLeasing};
use crate::error::StoreError;

/// The maximum number of times that the authority is asked again for a request that it had too few credits for. It is
/// asked again because credits were being returned at the time.
const ASKED_AGAIN: u32 = 3;

/// A charge that no block covered, to be made at the authority.
pub(super) struct DirectCharge<T> {
    shared: Arc<Shared<T>>,
    leased_balance: Arc<LeasedBalance>,
    id: ChargeId,
    amount: Credits,
    allowance: Allowance,
    now: Now,
    /// The number of returned blocks at the time when the authority was asked.
    returned: u64,
    /// True if the account is used often enough for leasing to pay off.
    pub(super) frequent: bool,
}

impl<T: CreditLeasing> DirectCharge<T> {
    pub(super) fn new(
        shared: &Arc<Shared<T>>,
        leased_balance: &Arc<LeasedBalance>,
        charge: &Charge<'_>,
        returned: u64,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            leased_balance: Arc::clone(leased_balance),
            id: charge.id,
            amount: charge.amount,
            allowance: charge.allowance.clone(),
            now: charge.now,
            returned,
            frequent: false,
        }
    }

    /// Charges out of the credits that have just arrived, or asks the authority.
    pub(super) async fn charge(mut self) -> Result<Charged, StoreError> {
        let leased_balance = Arc::clone(&self.leased_balance);
        let charge = Charge::new(self.id, &leased_balance.account, self.amount, &self.allowance, self.now);
        let spent = {
            let mut state = leased_balance.lock();
            let spent = state.spend(self.id, self.amount, self.now);
            self.returned = state.returned;
            if spent == Spent::Elsewhere {
                self.frequent = state.record_direct_charge(&charge, &self.shared.terms);
            }
            spent
        };
        match spent {
            Spent::Here { balance, low } => {
                if low {
                    self.shared.start_work(&leased_balance);
                }
                Ok(Charged::Posted { balance: Some(balance) })
            }
            Spent::Elsewhere => {
                let asked = self.shared.authority.charge(&charge);
                self.handle_answer(asked.await).await
            }
        }
    }

    pub(super) async fn handle_answer(
        mut self,
        answer: Result<Charged, StoreError>,
    ) -> Result<Charged, StoreError> {
        self.shared.note_answer(&answer);
        match answer? {
            Charged::Posted { balance: Some(balance) } => {
                let mut state = self.leased_balance.lock();
                let surplus = state.record_balance(balance, &self.shared.terms);
                let balance = Credits::new(balance.get().saturating_add(state.unspent()));
                drop(state);
                if self.frequent || surplus {
                    self.shared.start_work(&self.leased_balance);
                }
                Ok(Charged::Posted { balance: Some(balance) })
            }
            charged @ (Charged::Posted { balance: None } | Charged::OverBudget { .. }) => Ok(charged),
            Charged::Insufficient { balance } => {
                {
                    let mut state = self.leased_balance.lock();
                    state.balance = balance.get();
                    state.remove_charge(self.id);
                }
                self.spend_remainder(balance).await
            }
        }
    }

    /// Spends the credits that this node has, or is about to receive, before the request is denied.
    ///
    /// The authority has too few credits at this point.
    async fn spend_remainder(&mut self, mut balance: Credits) -> Result<Charged, StoreError> {
        let mut asked = 0;
        loop {
            let from = (&*self.leased_balance, self.returned);
            let next = self.leased_balance.lock().fallback(self.id, self.amount, self.now, from);
            match next {
                Fallback::Spent(balance) => return Ok(Charged::Posted { balance: Some(balance) }),
                Fallback::Wait(trip) => trip.await,
                Fallback::Commit(id, upto) => drop(self.shared.commit(&self.leased_balance, id, upto).await?),
                Fallback::ReturnBlocks if asked < ASKED_AGAIN => {
                    asked += 1;
                    match self.ask_again().await? {
                        Charged::Insufficient { balance: less } => balance = less,
                        charged => return Ok(charged),
                    }
                }
                Fallback::ReturnBlocks | Fallback::Deny => {
                    // The blocks left here are too small for this request, but another node may need their credits.
                    if self.leased_balance.lock().record_balance(balance, &self.shared.terms) {
                        self.shared.start_work(&self.leased_balance);
                    }
                    return Ok(Charged::Insufficient { balance });
                }
            }
        }
    }

    /// Returns ended blocks and asks the authority again.
    ///
    /// The credits were spread over several blocks, or were returned in the meantime, so their sum at the authority may
    /// suffice.
    async fn ask_again(&mut self) -> Result<Charged, StoreError> {
        self.shared.return_ended(&self.leased_balance).await?;
        self.returned = self.leased_balance.lock().returned;
        let account = &self.leased_balance.account;
        let again = Charge::new(self.id, account, self.amount, &self.allowance, self.now);
        let answer = self.shared.authority.charge(&again).await?;
        if let Charged::Posted { .. } = answer {
            self.leased_balance.lock().record_direct_charge(&again, &self.shared.terms);
        }
        Ok(answer)
    }
}

/// The next action for a request that the authority has too few credits for.
#[derive(Debug)]
enum Fallback {
    /// The request is charged; the value is the remaining balance.
    Spent(Credits),
    /// A round trip is in progress and may bring credits.
    Wait(OwnedNotified),
    /// The block must be committed up to this amount.
    Commit(ChargeId, u64),
    /// The ended blocks must be returned, and the authority asked again.
    ReturnBlocks,
    /// The request must be denied.
    Deny,
}

impl State {
    /// Returns the next action for a request that the authority has too few credits for.
    ///
    /// `returned` is the number of returned blocks at the time when the authority was asked.
    fn fallback(
        &mut self,
        id: ChargeId,
        amount: Credits,
        now: Now,
        (leased_balance, returned): (&LeasedBalance, u64),
    ) -> Fallback {
        if let Spent::Here { balance, .. } = self.spend(id, amount, now) {
            return Fallback::Spent(balance);
        }
        if let Some(trip) = self.trip_in_progress(leased_balance) {
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
        if in_pieces || self.returned != returned { Fallback::ReturnBlocks } else { Fallback::Deny }
    }
}
