//! One account's balance, and what is done to it: each call under the account's lock.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasherDefault;

use super::history::{Adjustments, History, Written};
#[cfg(feature = "fleet")]
use super::lease::Block;
use crate::credit::ByNumber;
use crate::{
    Adjusted, Adjustment, AdjustmentKind, Allowance, Balance, Charge, ChargeId, Charged, Credits, EntryKind,
    Grant, Timestamp,
};

#[derive(Debug)]
pub(super) struct State {
    /// What is left; zero where there is no limit.
    balance: Credits,
    unlimited: bool,
    /// Whether the balance was removed for good: whoever still points here looks again.
    pub(super) erased: bool,
    /// When the plan's grant is given next; unknown until a call names the grant.
    due: Option<Timestamp>,
    /// When the balance was opened by hand; a grant counts from there.
    opened: Option<Timestamp>,
    pub(super) open: HashMap<ChargeId, Credits, BuildHasherDefault<ByNumber>>,
    /// What nodes hold, to spend it by themselves.
    #[cfg(feature = "fleet")]
    pub(super) blocks: Vec<Block>,
    /// The sum of what is open, blocks included.
    held: Credits,
    /// The time of the last call that named one.
    seen: Timestamp,
    pub(super) history: History,
    /// Few accounts are adjusted by hand.
    adjustments: Option<Box<Adjustments>>,
}

impl State {
    pub(super) fn keeping(entries: usize) -> Self {
        Self {
            balance: Credits::ZERO,
            unlimited: false,
            erased: false,
            due: None,
            opened: None,
            open: HashMap::default(),
            #[cfg(feature = "fleet")]
            blocks: Vec::new(),
            held: Credits::ZERO,
            seen: Timestamp::from_millis(0),
            history: History::keeping(entries),
            adjustments: None,
        }
    }

    pub(super) fn balance(&self) -> Balance {
        if self.unlimited { Balance::Unlimited } else { Balance::Limited(self.balance) }
    }

    pub(super) fn open_charges(&self) -> usize {
        self.open.len()
    }

    /// The balance at a moment, a grant that has come due counted in.
    pub(super) fn balance_at(&self, allowance: &Allowance, now: Timestamp) -> Balance {
        match (self.balance(), allowance) {
            (_, Allowance::Unlimited) => Balance::Unlimited,
            (Balance::Limited(_), Allowance::Grant(grant)) if self.turn(grant, now).0 => {
                Balance::Limited(self.granted(grant))
            }
            (balance, _) => balance,
        }
    }

    /// Sets the balance as of a moment.
    pub(super) fn open_with(&mut self, balance: Credits, now: Timestamp) {
        self.due = None;
        self.opened = Some(now);
        self.seen = now;
        self.unlimited = false;
        self.move_to(balance, EntryKind::Opening);
    }

    pub(super) fn charge(&mut self, charge: &Charge<'_>) -> Charged {
        self.call(charge.allowance, charge.now.wall());
        if self.unlimited {
            return Charged::Posted { balance: None };
        }
        #[cfg(feature = "fleet")]
        if self.blocks.iter().any(|block| block.id == charge.id) {
            return Charged::Posted { balance: Some(self.balance) };
        }
        // One look-up tells whether the charge is open and where it goes.
        let Entry::Vacant(place) = self.open.entry(charge.id) else {
            return Charged::Posted { balance: Some(self.balance) };
        };
        let Some(rest) = self.balance.checked_sub(charge.amount) else {
            return Charged::Insufficient { balance: self.balance };
        };
        place.insert(charge.amount);
        self.held = self.held.checked_add(charge.amount).unwrap_or(Credits::MAX);
        self.move_to(rest, EntryKind::Charge(charge.id));
        Charged::Posted { balance: Some(rest) }
    }

    /// Closes a charge at its cost; what the cost leaves goes back.
    pub(super) fn close(&mut self, id: ChargeId, cost: Credits, kind: fn(ChargeId) -> EntryKind) {
        let taken = self.open.remove(&id);
        #[cfg(feature = "fleet")]
        let taken = taken.or_else(|| {
            let place = self.blocks.iter().position(|block| block.id == id)?;
            Some(self.blocks.swap_remove(place).amount)
        });
        let Some(taken) = taken else { return };
        self.held = self.held.checked_sub(taken).unwrap_or_default();
        let back = taken.checked_sub(cost).unwrap_or_default();
        if !self.unlimited && !back.is_zero() {
            self.move_to(self.balance.checked_add(back).unwrap_or(Credits::MAX), kind(id));
        }
    }

    pub(super) fn adjust(&mut self, asked: &Adjustment<'_>) -> Adjusted {
        match self.adjustments.as_ref().and_then(|adjustments| adjustments.made(&asked.id)) {
            Some((made, balance)) if made == asked.kind => return Adjusted::Repeated { balance },
            Some((made, _)) => return Adjusted::Conflict { made },
            None => {}
        }
        self.call(asked.allowance, asked.now);
        let (before, id) = (self.balance(), asked.id.clone());
        match self.decide(asked.kind) {
            Err(refused) => return refused,
            Ok(Balance::Limited(balance)) => {
                self.unlimited = false;
                self.move_to(balance, entry_kind(asked.kind, id));
            }
            Ok(Balance::Unlimited) => {
                self.unlimited = true;
                self.move_to(Credits::ZERO, entry_kind(asked.kind, id));
            }
        }
        let balance = self.balance();
        self.adjustments.get_or_insert_default().remember(&asked.id, asked.kind, balance);
        Adjusted::Done { before, balance }
    }

    /// What an adjustment makes of the balance. Open charges may come back: they need room too.
    fn decide(&self, kind: AdjustmentKind) -> Result<Balance, Adjusted> {
        let balance = self.balance;
        let with_room = |sum: Option<Credits>| {
            let fits = sum.filter(|sum| sum.checked_add(self.held).is_some());
            fits.map(Balance::Limited).ok_or(Adjusted::TooMuch { balance })
        };
        match kind {
            AdjustmentKind::MakeUnlimited => Ok(Balance::Unlimited),
            AdjustmentKind::Set(amount) => with_room(Some(amount)),
            _ if self.unlimited => Err(Adjusted::Unlimited),
            AdjustmentKind::TopUp(amount) => with_room(balance.checked_add(amount)),
            AdjustmentKind::Deduct(amount) => {
                let rest = balance.checked_sub(amount).map(Balance::Limited);
                rest.ok_or(Adjusted::Insufficient { balance })
            }
        }
    }

    /// Notes the time of a call, and gives the grant that has come due.
    fn call(&mut self, allowance: &Allowance, now: Timestamp) {
        self.seen = now;
        let Allowance::Grant(grant) = allowance else { return };
        if self.due.is_some_and(|due| now < due) {
            return;
        }
        let (given, due) = self.turn(grant, now);
        self.due = Some(due);
        let granted = self.granted(grant);
        if given && !self.unlimited && granted != self.balance {
            self.move_to(granted, EntryKind::Grant);
        }
    }

    /// Whether a grant has come due, and when it does next.
    fn turn(&self, grant: &Grant, now: Timestamp) -> (bool, Timestamp) {
        let due = match (self.due, self.opened) {
            (Some(due), _) => due,
            (None, Some(opened)) => grant.next_after(opened),
            (None, None) => return (true, grant.next_after(now)),
        };
        if now < due { (false, due) } else { (true, grant.next_due(due, now)) }
    }

    /// What a grant raises the balance to, with room for what is open.
    fn granted(&self, grant: &Grant) -> Credits {
        let room = Credits::MAX.checked_sub(self.held).unwrap_or_default();
        let amount = grant.amount();
        // What may come back from a node is in the amount: it does not pile up.
        #[cfg(feature = "fleet")]
        let amount = self
            .blocks
            .iter()
            .fold(amount, |amount, block| amount.checked_sub(block.uncommitted()).unwrap_or_default());
        self.balance.max(amount.min(room))
    }

    /// Moves the balance, and writes down what moved it.
    #[inline]
    fn move_to(&mut self, balance: Credits, kind: EntryKind) {
        let amount = balance.get().cast_signed() - self.balance.get().cast_signed();
        self.balance = balance;
        self.history.write(Written { at: self.seen, kind, amount, balance });
    }
}

fn entry_kind(kind: AdjustmentKind, id: crate::AdjustmentId) -> EntryKind {
    match kind {
        AdjustmentKind::TopUp(_) => EntryKind::TopUp(id),
        AdjustmentKind::Deduct(_) => EntryKind::Deduction(id),
        AdjustmentKind::Set(_) => EntryKind::Set(id),
        AdjustmentKind::MakeUnlimited => EntryKind::Unlimited(id),
    }
}
