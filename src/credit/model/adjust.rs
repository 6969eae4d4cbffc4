//! Manual changes of an account's credits.

use super::{Change, Held, Label, MAIN, MOST_BUCKETS, Model};
use crate::account::Allowance;
use crate::amount::Credits;
use crate::clock::Timestamp;
use crate::credit::{Adjusted, AdjustmentId, AdjustmentKind, BucketId, BucketTerms, EntryKind};

impl Model {
    /// Makes an adjustment, or refuses it and changes nothing. The caller has made the changes that are due.
    pub(in crate::credit) fn adjust(
        &mut self,
        kind: &AdjustmentKind,
        id: &AdjustmentId,
        allowance: &Allowance,
        write: &mut impl FnMut(Change),
    ) -> Adjusted {
        let before = self.balance();
        let entry = EntryKind::of(kind, id.clone());
        let done = match kind {
            AdjustmentKind::MakeUnlimited => {
                self.make_unlimited(&entry, write);
                Ok(())
            }
            AdjustmentKind::Set(amount) => self.set(*amount, &entry, write),
            _ if self.unlimited => Err(Adjusted::Unlimited),
            AdjustmentKind::TopUp(amount) => self.purchase(*amount, entry, write),
            AdjustmentKind::TopUpInto { amount, terms } => self.top_up(*amount, *terms, id, entry, write),
            AdjustmentKind::Deduct(amount) => self.deduct(*amount, &entry, write),
            AdjustmentKind::Expire(bucket) => self.expire_bucket(bucket, entry, write),
            AdjustmentKind::Move { from, amount, terms } => {
                self.move_credits(from, *amount, *terms, id, &entry, write)
            }
        };
        self.plan_deadlines(allowance);
        done.map_or_else(|refused| refused, |()| Adjusted::Done { before, balance: self.balance() })
    }

    /// Sets the balance when a ledger is set up, at a given time.
    pub(in crate::credit) fn open_with(
        &mut self,
        balance: Credits,
        now: Timestamp,
        write: &mut impl FnMut(Change),
    ) {
        self.seen = now;
        self.due = None;
        if let Some(main) = self.held_mut(MAIN) {
            main.order = super::NEVER.1;
        }
        self.rest().opened = Some(now);
        self.replace_all(balance.get(), &EntryKind::Opening, write);
        self.plan_deadlines(&Allowance::None);
    }

    fn too_much(&self) -> Adjusted {
        Adjusted::TooMuch { balance: self.credits() }
    }

    fn set(
        &mut self,
        amount: Credits,
        entry: &EntryKind,
        write: &mut impl FnMut(Change),
    ) -> Result<(), Adjusted> {
        // Open charges may be returned, so they need room below the maximum too.
        if amount.get().saturating_add(self.open()) > Credits::MAX.get() {
            return Err(self.too_much());
        }
        self.replace_all(amount.get(), entry, write);
        Ok(())
    }

    /// Empties all buckets but the main one, cancels the debt, and sets the main bucket.
    fn replace_all(&mut self, amount: u64, entry: &EntryKind, write: &mut impl FnMut(Change)) {
        self.unlimited = false;
        self.empty_others(entry, write);
        self.cancel_debt(entry, write);
        let Some(main) = self.held_mut(MAIN) else { return };
        let difference = amount.cast_signed() - main.left.cast_signed();
        (main.left, main.amount) = (amount, amount);
        self.balance = self.balance.saturating_add_signed(difference);
        self.tell(entry.clone(), Label::MAIN, difference, amount, write);
        self.sort();
    }

    fn make_unlimited(&mut self, entry: &EntryKind, write: &mut impl FnMut(Change)) {
        self.cancel_debt(entry, write);
        let all = self.buckets.iter().chain(self.pending()).filter(|held| held.left > 0);
        let all: Vec<u32> = all.map(|held| held.number).collect();
        for number in &all {
            self.withdraw(*number, u64::MAX, entry.clone(), write);
            self.remove_if_empty(*number);
        }
        self.unlimited = true;
        if all.is_empty() {
            self.tell(entry.clone(), Label::MAIN, 0, 0, write);
        }
    }

    fn empty_others(&mut self, entry: &EntryKind, write: &mut impl FnMut(Change)) {
        let all = self.buckets.iter().chain(self.pending()).map(|held| held.number);
        let others: Vec<u32> = all.filter(|number| *number != MAIN).collect();
        for number in others {
            self.withdraw(number, u64::MAX, entry.clone(), write);
            self.remove_if_empty(number);
        }
    }

    fn cancel_debt(&mut self, entry: &EntryKind, write: &mut impl FnMut(Change)) {
        let debt = self.debt();
        if debt > 0 {
            self.owe(-debt.cast_signed(), entry.clone(), write);
        }
    }

    /// Adds to the bucket of purchases without terms.
    fn purchase(
        &mut self,
        amount: Credits,
        entry: EntryKind,
        write: &mut impl FnMut(Change),
    ) -> Result<(), Adjusted> {
        if self.sum().saturating_add(amount.get()) > Credits::MAX.get() {
            return Err(self.too_much());
        }
        let number = self.shared_bucket(&BucketId::Purchased, BucketTerms::default(), amount.get());
        self.fill(number, amount.get(), entry, write);
        self.remove_if_empty(number);
        Ok(())
    }

    /// Returns the number of a bucket that several calls fill, to which `more` is added. It is made if there is none.
    pub(super) fn shared_bucket(&mut self, id: &BucketId, terms: BucketTerms, more: u64) -> u32 {
        if let Some(held) = self.buckets.iter_mut().find(|held| held.is(id)) {
            held.amount = held.amount.saturating_add(more);
            return held.number;
        }
        let number = self.next_number();
        let mut held = Held::new(number, Label::new(id.clone(), terms), more);
        held.left = 0;
        self.insert(held);
        number
    }

    fn top_up(
        &mut self,
        amount: Credits,
        terms: BucketTerms,
        id: &AdjustmentId,
        entry: EntryKind,
        write: &mut impl FnMut(Change),
    ) -> Result<(), Adjusted> {
        if self.sum().saturating_add(amount.get()) > Credits::MAX.get() {
            return Err(self.too_much());
        }
        let label = self.label_of(id, terms)?;
        self.add(amount.get(), label, entry, write);
        Ok(())
    }

    /// Returns the label of a new bucket, if there may be one.
    fn label_of(&self, id: &AdjustmentId, terms: BucketTerms) -> Result<Label, Adjusted> {
        if terms.is_void() || terms.expires.is_some_and(|expires| expires <= self.seen) {
            return Err(Adjusted::Expired);
        }
        let all = self.buckets.iter().chain(self.pending());
        if all.filter(|held| held.left > 0).count() >= MOST_BUCKETS {
            return Err(Adjusted::TooManyBuckets);
        }
        Ok(Label::new(BucketId::Of(id.clone()), terms))
    }

    /// Adds a bucket.
    fn add(&mut self, amount: u64, label: Label, entry: EntryKind, write: &mut impl FnMut(Change)) {
        let number = self.next_number();
        let mut held = Held::new(number, label, amount);
        if held.terms().valid_from.is_some_and(|from| from > self.seen) {
            self.beside += amount.cast_signed();
            let label = held.label.clone();
            self.rest().pending.push(held);
            self.tell(entry, label, amount.cast_signed(), amount, write);
        } else {
            held.left = 0;
            self.insert(held);
            self.fill(number, amount, entry, write);
        }
        self.remove_if_empty(number);
    }

    fn deduct(
        &mut self,
        amount: Credits,
        entry: &EntryKind,
        write: &mut impl FnMut(Change),
    ) -> Result<(), Adjusted> {
        if amount.get() > self.balance {
            return Err(Adjusted::Insufficient { balance: self.credits() });
        }
        if amount.is_zero() {
            // Every adjustment writes an entry.
            let left = self.held_mut(MAIN).map_or(0, |main| main.left);
            self.tell(entry.clone(), Label::MAIN, 0, left, write);
        }
        self.spend(amount.get(), entry, write);
        Ok(())
    }

    fn expire_bucket(
        &mut self,
        bucket: &BucketId,
        entry: EntryKind,
        write: &mut impl FnMut(Change),
    ) -> Result<(), Adjusted> {
        let (number, _) = self.find_id(bucket).ok_or(Adjusted::UnknownBucket)?;
        self.withdraw(number, u64::MAX, entry, write);
        self.remove_if_empty(number);
        Ok(())
    }

    fn move_credits(
        &mut self,
        from: &BucketId,
        amount: Credits,
        terms: BucketTerms,
        id: &AdjustmentId,
        entry: &EntryKind,
        write: &mut impl FnMut(Change),
    ) -> Result<(), Adjusted> {
        let (number, left) = self.find_id(from).ok_or(Adjusted::UnknownBucket)?;
        if amount.get() > left {
            return Err(Adjusted::Insufficient { balance: Credits::new(left) });
        }
        let label = self.label_of(id, terms)?;
        self.withdraw(number, amount.get(), entry.clone(), write);
        self.remove_if_empty(number);
        self.add(amount.get(), label, entry.clone(), write);
        Ok(())
    }

    /// Returns the number and the amount of a bucket with credits.
    fn find_id(&self, id: &BucketId) -> Option<(u32, u64)> {
        let mut all = self.buckets.iter().chain(self.pending());
        let found = all.find(|held| held.is(id) && held.left > 0)?;
        Some((found.number, found.left))
    }
}
