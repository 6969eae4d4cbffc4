//! A simple model of an account's credits, which the ledgers are compared with. It keeps nothing that can be computed,
//! and passes every period by itself.

use std::collections::HashMap;

use tollgate::Credits;
use tollgate::account::{Allowance, Budget, ExpiredRefunds, Grant, GrantPeriod, Overage};
use tollgate::clock::Timestamp;
use tollgate::credit::{
    Adjusted, AdjustmentKind, Balance, Bucket, BucketId, BucketKind, BucketTerms, Charged,
};

const MAX: u64 = Credits::MAX.get();

/// The credits of one account in one currency.
#[derive(Debug, Clone)]
pub(crate) struct Naive {
    /// All buckets that were ever made, the oldest first. The first one is the main bucket.
    buckets: Vec<Held>,
    pub(crate) debt: u64,
    pub(crate) unlimited: bool,
    /// The open charges: the amount, the draws in their order, and the budget's key and period.
    pub(crate) open: HashMap<u64, Open>,
    made: HashMap<u64, (AdjustmentKind, Balance)>,
    due: Option<Timestamp>,
    budgets: HashMap<u8, Spent>,
    /// The credits that were added, and those that were removed other than by charges.
    pub(crate) put_in: i128,
    pub(crate) spent: i128,
}

#[derive(Debug, Clone)]
struct Held {
    id: BucketId,
    terms: BucketTerms,
    left: u64,
    expired: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) amount: u64,
    draws: Vec<(usize, u64)>,
    budget: Option<(u8, u64)>,
}

/// The spent amount of a key in a period, the end of the period, and the number of the period.
#[derive(Debug, Clone)]
struct Spent(u64, Timestamp, u64);

/// A key's budget: its number, the amount and the period.
pub(crate) type KeyBudget = (u8, u64, GrantPeriod);

impl Naive {
    pub(crate) fn new() -> Self {
        let terms = BucketTerms::of(BucketKind::Balance);
        Self {
            buckets: vec![Held { id: BucketId::Main, terms, left: 0, expired: false }],
            debt: 0,
            unlimited: false,
            open: HashMap::new(),
            made: HashMap::new(),
            due: None,
            budgets: HashMap::new(),
            put_in: 0,
            spent: 0,
        }
    }

    pub(crate) fn knows(&self, id: u64) -> bool {
        self.made.contains_key(&id)
    }

    pub(crate) fn held(&self) -> u64 {
        self.open.values().flat_map(|open| &open.draws).map(|(_, amount)| amount).sum()
    }

    fn has_started(held: &Held, now: Timestamp) -> bool {
        held.terms.valid_from.is_none_or(|from| from <= now)
    }

    /// The buckets that can be drawn from, in the order of drawing.
    fn order(&self) -> Vec<usize> {
        let started = |place: &usize| self.buckets[*place].terms.valid_from.is_none();
        let mut places: Vec<usize> = (0..self.buckets.len()).filter(started).collect();
        let never = Timestamp::from_millis(i64::MAX);
        places.sort_by_key(|place| {
            let held = &self.buckets[*place];
            let expires = if *place == 0 { self.due } else { held.terms.expires };
            (held.terms.priority, expires.unwrap_or(never), *place)
        });
        places
    }

    pub(crate) fn there(&self) -> u64 {
        self.order().iter().map(|place| self.buckets[*place].left).sum()
    }

    fn all(&self) -> u64 {
        self.buckets.iter().map(|held| held.left).sum()
    }

    /// The sum of all buckets less the debt.
    pub(crate) fn total(&self) -> i128 {
        i128::from(self.all()) - i128::from(self.debt)
    }

    pub(crate) fn balance(&self) -> Balance {
        match (self.unlimited, self.debt) {
            (true, _) => Balance::Unlimited,
            (_, 0) => Balance::Limited(Credits::new(self.there())),
            (_, debt) => Balance::Owed(Credits::new(debt)),
        }
    }

    fn fill(&mut self, place: usize, amount: u64) {
        self.buckets[place].left += amount;
        let paid = self.debt.min(self.buckets[place].left);
        self.debt -= paid;
        self.buckets[place].left -= paid;
    }

    /// Makes the changes that are due but for grants.
    pub(crate) fn pass(&mut self, now: Timestamp) {
        for place in 0..self.buckets.len() {
            if self.buckets[place].terms.valid_from.is_some() && Self::has_started(&self.buckets[place], now)
            {
                self.buckets[place].terms.valid_from = None;
                self.fill(place, 0);
            }
        }
        for held in &mut self.buckets {
            if held.terms.valid_from.is_none() && held.terms.expires.is_some_and(|expires| expires <= now) {
                self.put_in -= i128::from(held.left);
                (held.left, held.expired) = (0, true);
            }
        }
    }

    /// Makes the changes that are due.
    pub(crate) fn call(&mut self, allowance: &Allowance, now: Timestamp) {
        self.pass(now);
        let Allowance::Grant(grant) = allowance else { return };
        let Some(mut due) = self.due else {
            self.due = Some(grant.next_after(now));
            return self.refill(grant, grant.amount().get().max(self.buckets[0].left));
        };
        let mut left = self.buckets[0].left;
        let mut periods = 0_u64;
        while due <= now {
            let (least, most) = (grant.rollover().least().get(), grant.rollover().most().get());
            left = left.max(grant.amount().get().saturating_add(left.clamp(least, most)).min(MAX));
            due = grant.next_after(due);
            periods += 1;
        }
        if periods > 0 {
            self.due = Some(due);
            self.refill(grant, left);
        }
    }

    fn refill(&mut self, grant: &Grant, upto: u64) {
        self.buckets[0].terms.priority = grant.priority();
        if !self.unlimited {
            let more = (upto - self.buckets[0].left).min(MAX - self.all() - self.held());
            self.put_in += i128::from(more);
            self.fill(0, more);
        }
    }

    fn draw_budget(
        &mut self,
        (key, most, period): &KeyBudget,
        amount: u64,
        now: Timestamp,
    ) -> Result<u64, Charged> {
        let grant = Grant::new(Credits::new(*most), period.clone());
        let spent = self.budgets.entry(*key).or_insert_with(|| Spent(0, grant.next_after(now), 0));
        if grant.next_after(spent.1) <= now {
            // After an unused period, the next one is counted from this charge.
            *spent = Spent(0, grant.next_after(now), spent.2 + 1);
        }
        while spent.1 <= now {
            *spent = Spent(0, grant.next_after(spent.1), spent.2 + 1);
        }
        if spent.0 + amount > *most {
            return Err(Charged::OverBudget {
                left: Credits::new(most.saturating_sub(spent.0)),
                resets: spent.1,
            });
        }
        spent.0 += amount;
        Ok(spent.2)
    }

    pub(crate) fn charge(
        &mut self,
        id: u64,
        amount: u64,
        budget: Option<&KeyBudget>,
        now: Timestamp,
    ) -> Charged {
        let balance = if self.unlimited { None } else { Some(Credits::new(self.there())) };
        if self.open.contains_key(&id) {
            return Charged::Posted { balance };
        }
        if let Some(balance) = balance
            && balance.get() < amount
        {
            return Charged::Insufficient { balance };
        }
        let budget = match budget.map(|budget| (budget.0, self.draw_budget(budget, amount, now))) {
            Some((_, Err(refused))) => return refused,
            Some((key, Ok(turn))) => Some((key, turn)),
            None => None,
        };
        if self.unlimited {
            if budget.is_some() {
                self.open.insert(id, Open { amount, draws: Vec::new(), budget });
            }
            return Charged::Posted { balance };
        }
        let draws = self.draw(amount);
        self.open.insert(id, Open { amount, draws, budget });
        Charged::Posted { balance: Some(Credits::new(self.there())) }
    }

    fn draw(&mut self, amount: u64) -> Vec<(usize, u64)> {
        let (mut rest, mut draws) = (amount, Vec::new());
        for place in self.order() {
            let taken = rest.min(self.buckets[place].left);
            if taken > 0 {
                self.buckets[place].left -= taken;
                rest -= taken;
                draws.push((place, taken));
            }
        }
        draws
    }

    /// Closes a charge; the changes that are due have been made.
    pub(crate) fn close(&mut self, id: u64, cost: u64, overage: Overage, refunds: ExpiredRefunds) {
        let Some(open) = self.open.remove(&id) else { return };
        let mut back = open.amount.saturating_sub(cost);
        let (less, more) = (back, cost.saturating_sub(open.amount));
        for (place, drawn) in open.draws.iter().rev() {
            let now = back.min(*drawn);
            back -= now;
            self.spent += i128::from(*drawn);
            if self.unlimited || now == 0 {
                continue;
            }
            self.spent -= i128::from(now);
            match (self.buckets[*place].expired, refunds) {
                (false, _) => self.fill(*place, now),
                (true, ExpiredRefunds::Keep) => {
                    let place = self.shared(BucketId::Returned, BucketTerms::of(BucketKind::Refund));
                    self.fill(place, now);
                }
                (true, _) => self.put_in -= i128::from(now),
            }
        }
        let mut charged = more;
        if more > 0 && !self.unlimited && !open.draws.is_empty() {
            let taken: u64 = self.draw(more).iter().map(|(_, taken)| taken).sum();
            let owed = if overage == Overage::Debt { (more - taken).min(MAX - self.debt) } else { 0 };
            self.debt += owed;
            charged = taken + owed;
            self.spent += i128::from(charged);
        }
        if let Some((key, turn)) = open.budget
            && let Some(spent) = self.budgets.get_mut(&key)
            && spent.2 == turn
        {
            spent.0 = (spent.0 - less.min(spent.0)).saturating_add(charged);
        }
    }

    fn shared(&mut self, id: BucketId, terms: BucketTerms) -> usize {
        let is_open =
            |place: usize| self.open.values().any(|open| open.draws.iter().any(|(drawn, _)| *drawn == place));
        let lives = |place: &usize| self.buckets[*place].left > 0 || is_open(*place);
        let known = (0..self.buckets.len()).filter(|place| self.buckets[*place].id == id).find(lives);
        known.unwrap_or_else(|| {
            self.buckets.push(Held { id, terms, left: 0, expired: false });
            self.buckets.len() - 1
        })
    }

    /// Makes an adjustment with the number `id`; the changes that are due have been made.
    pub(crate) fn adjust(&mut self, id: u64, kind: &AdjustmentKind, now: Timestamp) -> Adjusted {
        if let Some((made, balance)) = self.made.get(&id) {
            let balance = *balance;
            return if made == kind {
                Adjusted::Repeated { balance }
            } else {
                Adjusted::Conflict { made: made.clone() }
            };
        }
        let before = self.balance();
        let total = self.total();
        if let Err(refused) = self.changed(id, kind, now) {
            return refused;
        }
        self.put_in += self.total() - total;
        self.made.insert(id, (kind.clone(), self.balance()));
        Adjusted::Done { before, balance: self.balance() }
    }

    fn changed(&mut self, id: u64, kind: &AdjustmentKind, now: Timestamp) -> Result<(), Adjusted> {
        let too_much = Adjusted::TooMuch { balance: Credits::new(self.there()) };
        match kind {
            AdjustmentKind::MakeUnlimited => {
                self.empty();
                self.unlimited = true;
            }
            AdjustmentKind::Set(amount) => {
                if amount.get() > MAX - self.held() {
                    return Err(too_much);
                }
                self.empty();
                (self.unlimited, self.buckets[0].left) = (false, amount.get());
            }
            _ if self.unlimited => return Err(Adjusted::Unlimited),
            AdjustmentKind::TopUp(amount) => {
                if amount.get() > MAX - self.held() - self.all() {
                    return Err(too_much);
                }
                let place = self.shared(BucketId::Purchased, BucketTerms::default());
                self.fill(place, amount.get());
            }
            AdjustmentKind::TopUpInto { amount, terms } => {
                if amount.get() > MAX - self.held() - self.all() {
                    return Err(too_much);
                }
                self.add(id, amount.get(), *terms, now)?;
            }
            AdjustmentKind::Deduct(amount) => {
                if amount.get() > self.there() {
                    return Err(Adjusted::Insufficient { balance: Credits::new(self.there()) });
                }
                self.draw(amount.get());
            }
            AdjustmentKind::Expire(bucket) => {
                let place = self.find(bucket).ok_or(Adjusted::UnknownBucket)?;
                self.buckets[place].left = 0;
            }
            AdjustmentKind::Move { from, amount, terms } => {
                let place = self.find(from).ok_or(Adjusted::UnknownBucket)?;
                let left = self.buckets[place].left;
                if amount.get() > left {
                    return Err(Adjusted::Insufficient { balance: Credits::new(left) });
                }
                self.buckets[place].left -= amount.get();
                if let Err(refused) = self.add(id, amount.get(), *terms, now) {
                    self.buckets[place].left = left;
                    return Err(refused);
                }
            }
            kind => panic!("unknown adjustment: {kind}"),
        }
        Ok(())
    }

    fn add(&mut self, id: u64, amount: u64, mut terms: BucketTerms, now: Timestamp) -> Result<(), Adjusted> {
        let starts = terms.valid_from.unwrap_or(now).max(now);
        if terms.expires.is_some_and(|expires| expires <= starts) {
            return Err(Adjusted::Expired);
        }
        terms.valid_from = terms.valid_from.filter(|from| *from > now);
        let id = BucketId::Of(id.to_string().parse().unwrap());
        self.buckets.push(Held { id, terms, left: amount, expired: false });
        if terms.valid_from.is_none() {
            self.fill(self.buckets.len() - 1, 0);
        }
        Ok(())
    }

    fn find(&self, id: &BucketId) -> Option<usize> {
        self.buckets.iter().position(|held| held.id == *id && held.left > 0)
    }

    fn empty(&mut self) {
        self.buckets.iter_mut().for_each(|held| held.left = 0);
        self.debt = 0;
    }

    /// The buckets in the order of the listing: the id, and the amount that is left.
    pub(crate) fn listed(&self) -> Vec<(BucketId, u64)> {
        let shown = |place: &usize| self.buckets[*place].left > 0 || (*place == 0 && !self.unlimited);
        let pending = (0..self.buckets.len()).filter(|place| self.buckets[*place].terms.valid_from.is_some());
        let all = self.order().into_iter().chain(pending).filter(shown);
        all.map(|place| (self.buckets[place].id.clone(), self.buckets[place].left)).collect()
    }
}

/// The same of buckets that a ledger lists.
pub(crate) fn listed(buckets: &[Bucket]) -> Vec<(BucketId, u64)> {
    buckets.iter().map(|bucket| (bucket.id.clone(), bucket.left.get())).collect()
}

/// The budget of a key in its public form.
pub(crate) fn budget((_, amount, period): &KeyBudget) -> Budget {
    Budget::new(Credits::new(*amount), period.clone())
}
