//! The credits that keys have spent of their budgets.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::account::{BudgetStatus, Grant};
use crate::amount::{ChargeId, Credits};
use crate::clock::Timestamp;
use crate::credit::BudgetDraw;
use crate::credit::due::Due;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
use crate::credit::model::StoredBudget;
use crate::key::KeyId;

/// The spent amounts of the keys of one account.
#[derive(Debug, Clone, Default)]
pub(in crate::credit) struct Budgets {
    places: HashMap<KeyId, u32, FixedState>,
    spent: Vec<Spent>,
    /// The open charges that were drawn from a budget.
    open: HashMap<ChargeId, BudgetShare, FixedState>,
}

/// The credits that a key has spent in the current period of its budget.
#[derive(Debug, Clone, Copy)]
struct Spent {
    key: KeyId,
    due: Due,
    /// From this time, the next charge starts a new period, whatever `due` is.
    idle_from: Timestamp,
    amount: u64,
    /// The number of periods so far.
    turn: u32,
    /// The number of open charges.
    open: u32,
}

/// The part of a charge that counts against a budget: the place of the key, and the period.
#[derive(Debug, Clone, Copy)]
struct BudgetShare {
    place: u32,
    turn: u32,
}

/// The reason for which a charge does not fit a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::credit) struct OverBudget {
    pub(in crate::credit) left: u64,
    pub(in crate::credit) resets: Timestamp,
}

impl Budgets {
    /// Takes an amount out of a budget, if it fits.
    pub(super) fn draw(
        &mut self,
        id: ChargeId,
        draw: &BudgetDraw<'_>,
        amount: u64,
        now: Timestamp,
    ) -> Result<(), OverBudget> {
        let place = self.place(draw, now);
        let Some(spent) = self.spent.get_mut(place as usize) else {
            return Err(OverBudget { left: 0, resets: now });
        };
        spent.pass(draw, now);
        let most = draw.budget.amount().get();
        if spent.amount.checked_add(amount).is_none_or(|sum| sum > most) {
            let left = most.saturating_sub(spent.amount);
            return Err(OverBudget { left, resets: spent.due.next() });
        }
        spent.amount += amount;
        spent.open += 1;
        self.open.insert(id, BudgetShare { place, turn: spent.turn });
        Ok(())
    }

    /// Corrects the spent amount by the end of a charge, if its period is still the current one.
    pub(super) fn close(&mut self, id: ChargeId, back: u64, more: u64) {
        let Some(share) = self.open.remove(&id) else { return };
        let Some(spent) = self.spent.get_mut(share.place as usize) else { return };
        spent.open = spent.open.saturating_sub(1);
        if spent.turn == share.turn {
            spent.amount = spent.amount.saturating_sub(back).saturating_add(more);
        }
    }

    /// Returns the state of a budget at a given time.
    pub(super) fn status(&self, draw: &BudgetDraw<'_>, now: Timestamp) -> BudgetStatus {
        let (most, turns) = (draw.budget.amount(), draw.budget.turns());
        let known = self.places.get(&draw.key).and_then(|place| self.spent.get(*place as usize));
        let Some(mut spent) = known.filter(|spent| now < spent.idle_from).copied() else {
            // A period of a fixed length starts with the next charge.
            return BudgetStatus::new(most, most, turns.every().is_none().then(|| turns.next_after(now)));
        };
        spent.pass(draw, now);
        let left = Credits::new(most.get().saturating_sub(spent.amount));
        BudgetStatus::new(most, left, Some(spent.due.next()))
    }

    /// Adds what was read of a key's budget.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
    pub(in crate::credit) fn restore(&mut self, key: KeyId, stored: &StoredBudget) {
        let place = u32::try_from(self.spent.len()).unwrap_or(u32::MAX);
        let StoredBudget { spent: amount, turn, open, due, idle_from } = *stored;
        self.spent.push(Spent { key, due, idle_from, amount, turn, open });
        self.places.insert(key, place);
    }

    /// Adds an open charge that was drawn from a budget, which was restored before.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
    pub(in crate::credit) fn restore_share(&mut self, id: ChargeId, key: KeyId, turn: u32) {
        if let Some(place) = self.places.get(&key) {
            self.open.insert(id, BudgetShare { place: *place, turn });
        }
    }

    /// Returns the key and the period of an open charge.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
    pub(in crate::credit) fn share_of(&self, id: ChargeId) -> Option<(KeyId, u32)> {
        let share = self.open.get(&id)?;
        Some((self.spent.get(share.place as usize)?.key, share.turn))
    }

    /// Returns the budget of a key to store.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
    pub(in crate::credit) fn stored_of(&self, key: KeyId) -> Option<StoredBudget> {
        self.stored().find(|(of, _)| *of == key).map(|(_, stored)| stored)
    }

    /// Returns the budgets to store.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
    pub(in crate::credit) fn stored(&self) -> impl Iterator<Item = (KeyId, StoredBudget)> {
        self.spent.iter().map(|spent| {
            let Spent { key, due, idle_from, amount, turn, open } = *spent;
            (key, StoredBudget { spent: amount, turn, open, due, idle_from })
        })
    }

    /// Returns the place of a key. A new key may take the place of a key that is idle.
    fn place(&mut self, draw: &BudgetDraw<'_>, now: Timestamp) -> u32 {
        if let Some(place) = self.places.get(&draw.key) {
            return *place;
        }
        let grant = draw.budget.turns();
        let due = Due::new(grant, grant.next_after(now));
        let idle_from = idle_from(grant, due);
        let free = self.spent.iter().position(|spent| spent.open == 0 && spent.idle_from <= now);
        let place = free.unwrap_or(self.spent.len());
        let number = u32::try_from(place).unwrap_or(u32::MAX);
        match self.spent.get_mut(place) {
            Some(spent) => {
                self.places.remove(&spent.key);
                let turn = spent.turn.wrapping_add(1);
                *spent = Spent { key: draw.key, due, idle_from, amount: 0, turn, open: 0 };
            }
            None => self.spent.push(Spent { key: draw.key, due, idle_from, amount: 0, turn: 0, open: 0 }),
        }
        self.places.insert(draw.key, number);
        number
    }
}

impl Spent {
    /// Starts the periods that are due. As for grants, clocks that are set back start no period twice.
    fn pass(&mut self, draw: &BudgetDraw<'_>, now: Timestamp) {
        let grant = draw.budget.turns();
        if self.due.is_to_come(grant, now) {
            return;
        }
        let is_idle = now >= self.idle_from;
        let (given, due) =
            if is_idle { (true, Due::new(grant, grant.next_after(now))) } else { self.due.turn(grant, now) };
        (self.due, self.idle_from) = (due, idle_from(grant, due));
        if given {
            self.amount = 0;
            self.turn = self.turn.wrapping_add(1);
        }
    }
}

/// Returns the time from which a key is idle: a whole period after the end of its period. A clock that is set back by up to
/// a period does not reach the period that has ended.
fn idle_from(grant: &Grant, due: Due) -> Timestamp {
    Timestamp::from_millis(due.next().as_millis().saturating_add(grant.mean()))
}
