//! The credits of one account in one currency: buckets, debt, budgets and leased credits, independent of where they are
//! stored.
//!
//! Every change of a bucket is passed to the caller as a [`Change`], from which the caller makes an entry.

mod adjust;
mod budget;
mod close;
mod draw;
mod held;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
mod stored;
#[cfg(test)]
mod tests;
#[cfg(feature = "redis")]
mod text;

use smallvec::SmallVec;

pub(super) use budget::OverBudget;
pub(super) use close::Closing;
pub(super) use draw::Draws;
pub(super) use held::{Held, Label};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
pub(super) use stored::{Numbers, StoredBudget};
#[cfg(feature = "redis")]
pub(super) use text::StateText;

use crate::account::{Allowance, BudgetStatus, Grant};
use crate::amount::Credits;
use crate::clock::Timestamp;
use crate::credit::due::Due;
use crate::credit::{Balance, Bucket, BucketId, BucketKind, BucketTerms, BudgetDraw, EntryKind};
use budget::Budgets;
use draw::Spill;
use held::MAIN;

/// The most buckets with credits of an account in one currency.
pub(super) const MOST_BUCKETS: usize = 256;

/// The credits of one account in one currency, without its charges and entries.
#[derive(Debug, Clone)]
// The fields that every charge reads come first.
#[repr(C)]
pub(super) struct Model {
    /// The period of the last grant, as returned by [`Grant::code`]; zero before a grant is named.
    period: i64,
    /// From this time until `until`, a call under a grant of this period changes nothing.
    from: Timestamp,
    until: Timestamp,
    /// The credits that can be spent. Zero while there is a debt, and if there is no limit.
    balance: u64,
    /// The credits that cannot be spent yet, minus the debt.
    beside: i64,
    /// The time of the last call that carried one.
    seen: Timestamp,
    unlimited: bool,
    /// True if a bucket starts or expires at some time. The time is in `rest`.
    has_deadline: bool,
    /// The buckets that have started, in the order of drawing. The main bucket is always one of them.
    buckets: SmallVec<[Held; 1]>,
    due: Option<Due>,
    rest: Option<Box<Rest>>,
}

/// The parts that few accounts have.
#[derive(Debug, Clone)]
struct Rest {
    /// The buckets that have not started.
    pending: Vec<Held>,
    debt: u64,
    /// The draws of open charges from buckets after the first one.
    spills: Vec<Spill>,
    /// The time when the balance was set without a plan; grant periods count from there.
    opened: Option<Timestamp>,
    /// The uncommitted part of leased blocks that was drawn from the main bucket.
    lent: u64,
    budgets: Budgets,
    /// The number of the next bucket.
    next: u32,
    /// The earliest time at which a bucket starts or expires.
    deadline: Timestamp,
}

impl Default for Rest {
    fn default() -> Self {
        let (pending, spills, budgets) = (Vec::new(), Vec::new(), Budgets::default());
        let (next, deadline) = (MAIN + 1, NEVER.1);
        Self { pending, debt: 0, spills, opened: None, lent: 0, budgets, next, deadline }
    }
}

/// A change of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) at: Timestamp,
    pub(super) kind: EntryKind,
    pub(super) bucket: Label,
    /// The difference; negative if credits were taken.
    pub(super) amount: i64,
    /// The amount in the bucket after the change. For the debt, the amount that is owed.
    pub(super) left: u64,
    /// The sum of all buckets minus the debt after the change.
    pub(super) balance: i64,
}

/// The time before all others, and the time after all others.
const NEVER: (Timestamp, Timestamp) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));

impl Model {
    /// Creates the credits of an unknown account: none.
    pub(super) fn new() -> Self {
        let mut buckets = SmallVec::new();
        buckets.push(Held::main());
        Self {
            period: 0,
            from: NEVER.0,
            until: NEVER.0,
            balance: 0,
            beside: 0,
            seen: Timestamp::from_millis(0),
            unlimited: false,
            has_deadline: false,
            buckets,
            due: None,
            rest: None,
        }
    }

    /// Returns the credits that can be spent.
    #[inline]
    pub(super) fn credits(&self) -> Credits {
        Credits::new(self.balance)
    }

    #[inline]
    pub(super) fn is_unlimited(&self) -> bool {
        self.unlimited
    }

    pub(super) fn balance(&self) -> Balance {
        match self.debt() {
            _ if self.unlimited => Balance::Unlimited,
            0 => Balance::Limited(self.credits()),
            debt => Balance::Owed(Credits::new(debt)),
        }
    }

    /// Returns the balance at a given time, after all that is due.
    pub(super) fn balance_at(&self, allowance: &Allowance, now: Timestamp) -> Balance {
        if *allowance == Allowance::Unlimited {
            return Balance::Unlimited;
        }
        self.at(allowance, now).balance()
    }

    /// Returns the buckets at a given time, after all that is due: those with credits in the order of drawing, then
    /// those that have not started.
    pub(super) fn buckets_at(&self, allowance: &Allowance, now: Timestamp) -> Vec<Bucket> {
        let then = self.at(allowance, now);
        let main = if then.due.is_some() { BucketKind::Grant } else { BucketKind::Balance };
        let kept = |held: &&Held| held.left > 0 || (held.is_main() && !then.unlimited);
        let started = then.buckets.iter().filter(kept);
        started.chain(then.pending()).map(|held| held.to_bucket(main)).collect()
    }

    /// Returns the state of a key's budget at a given time.
    pub(super) fn budget_at(&self, draw: &BudgetDraw<'_>, now: Timestamp) -> BudgetStatus {
        match &self.rest {
            Some(rest) => rest.budgets.status(draw, now),
            None => Budgets::default().status(draw, now),
        }
    }

    fn at(&self, allowance: &Allowance, now: Timestamp) -> Self {
        let mut then = self.clone();
        then.call(allowance, now, &mut |_| {});
        then
    }

    /// Records the time of a call, and makes the changes that are due: grants, and buckets that start or expire.
    #[inline]
    pub(super) fn call(&mut self, allowance: &Allowance, now: Timestamp, write: &mut impl FnMut(Change)) {
        self.seen = now;
        let nothing_is_due = match allowance {
            Allowance::Grant(grant) => self.period == grant.code() && now < self.until && now >= self.from,
            Allowance::None | Allowance::Unlimited => !self.has_deadline || now < self.deadline(),
        };
        if !nothing_is_due {
            self.turn(allowance, now, write);
        }
    }

    /// Returns true if a bucket starts or expires at some time. Otherwise the end of a charge needs no time.
    #[inline]
    pub(super) fn has_deadlines(&self) -> bool {
        self.has_deadline
    }

    /// Returns the earliest time at which a bucket starts or expires.
    fn deadline(&self) -> Timestamp {
        self.rest.as_ref().map_or(NEVER.1, |rest| rest.deadline)
    }

    /// Records the time of the end of a charge, and makes the changes that are due but for grants.
    pub(super) fn pass(&mut self, now: Timestamp, write: &mut impl FnMut(Change)) {
        self.call(&Allowance::None, now, write);
    }

    #[cold]
    fn turn(&mut self, allowance: &Allowance, now: Timestamp, write: &mut impl FnMut(Change)) {
        self.start_pending(now, write);
        self.expire(now, write);
        if let Allowance::Grant(grant) = allowance {
            self.turn_grant(grant, now, write);
        }
        self.plan_deadlines(allowance);
    }

    /// Moves the buckets that have started to those that can be spent.
    fn start_pending(&mut self, now: Timestamp, write: &mut impl FnMut(Change)) {
        let Some(rest) = &mut self.rest else { return };
        let has_started = |held: &Held| held.terms().valid_from.is_none_or(|from| from <= now);
        let started: Vec<Held> = rest.pending.extract_if(.., |held| has_started(held)).collect();
        for held in started {
            let (number, left) = (held.number, held.left);
            self.beside -= left.cast_signed();
            self.balance += left;
            self.insert(held);
            self.pay_debt(number, write);
            self.remove_if_empty(number);
        }
    }

    /// Empties the buckets that have expired.
    fn expire(&mut self, now: Timestamp, write: &mut impl FnMut(Change)) {
        for number in self.numbers(|held| held.expires_by(now)) {
            self.withdraw(number, u64::MAX, EntryKind::Expired, write);
            if let Some(held) = self.held_mut(number) {
                held.expired = true;
            }
            self.remove_if_empty(number);
        }
    }

    fn turn_grant(&mut self, grant: &Grant, now: Timestamp, write: &mut impl FnMut(Change)) {
        let opened = self.rest.as_ref().and_then(|rest| rest.opened);
        let known = self.due.or_else(|| opened.map(|opened| Due::new(grant, grant.next_after(opened))));
        let (given, due) = match known {
            Some(due) if due.is_to_come(grant, now) => (false, due),
            Some(due) => due.turn(grant, now),
            None => (true, Due::new(grant, grant.next_after(now))),
        };
        self.due = Some(due);
        if let Some(main) = self.held_mut(MAIN) {
            main.order = due.next();
        }
        if given {
            // A clock that was set back is given single periods.
            let passed =
                |known: Due| if now >= known.at { grant.periods_between(known.at, due.at) } else { 1 };
            self.refill(grant, known.map(passed), write);
        }
        self.sort();
    }

    /// Refills the main bucket. `passed` is the number of periods, or `None` for a new balance.
    fn refill(&mut self, grant: &Grant, passed: Option<u64>, write: &mut impl FnMut(Change)) {
        let uncommitted = self.rest.as_ref().map_or(0, |rest| rest.lent);
        let most = Credits::MAX.get().saturating_sub(self.sum());
        let unlimited = self.unlimited;
        let Some(main) = self.held_mut(MAIN) else { return };
        (main.amount, main.priority) = (grant.amount().get(), grant.priority());
        if unlimited {
            return;
        }
        // Uncommitted credits may be returned, so they count as part of the grant: the sum must not exceed it.
        let (left, amount) = (main.left, Credits::new(grant.amount().get().saturating_sub(uncommitted)));
        let refilled = match passed {
            Some(periods) => grant.refilled(Credits::new(left), amount, periods),
            None => Credits::new(left).max(amount),
        };
        let more = refilled.get().saturating_sub(left).min(most);
        if more > 0 {
            self.fill(MAIN, more, EntryKind::Grant, write);
        }
    }

    /// Adds credits to a bucket. They pay the debt first.
    #[inline]
    fn fill(&mut self, number: u32, amount: u64, kind: EntryKind, write: &mut impl FnMut(Change)) {
        let Some(held) = find(&mut self.buckets, number) else { return };
        held.left += amount;
        self.balance += amount;
        let (left, bucket) = (held.left, held.label.clone());
        self.tell(kind, bucket, amount.cast_signed(), left, write);
        if self.debt() > 0 {
            self.pay_debt(number, write);
        }
    }

    fn pay_debt(&mut self, number: u32, write: &mut impl FnMut(Change)) {
        let debt = self.debt();
        let Some(held) = find(&mut self.buckets, number) else { return };
        let paid = debt.min(held.left);
        if paid == 0 {
            return;
        }
        held.left -= paid;
        self.balance -= paid;
        let (left, bucket) = (held.left, held.label.clone());
        self.tell(EntryKind::DebtPaid, bucket, -paid.cast_signed(), left, write);
        self.owe(-paid.cast_signed(), EntryKind::DebtPaid, write);
    }

    /// Changes the debt.
    fn owe(&mut self, more: i64, kind: EntryKind, write: &mut impl FnMut(Change)) {
        let rest = self.rest();
        rest.debt = rest.debt.saturating_add_signed(more);
        let debt = rest.debt;
        self.beside -= more;
        self.tell(kind, Label::debt(), -more, debt, write);
    }

    /// Takes credits out of a bucket without a charge, at most what is there. Returns the amount.
    fn withdraw(&mut self, number: u32, most: u64, kind: EntryKind, write: &mut impl FnMut(Change)) -> u64 {
        let pending = |rest: &mut Box<Rest>| rest.pending.iter().any(|held| held.number == number);
        let pends = self.rest.as_mut().is_some_and(pending);
        let Some(held) = self.held_mut(number) else { return 0 };
        let taken = most.min(held.left);
        if taken == 0 {
            return 0;
        }
        held.left -= taken;
        let (left, bucket) = (held.left, held.label.clone());
        if pends {
            self.beside -= taken.cast_signed();
        } else {
            self.balance -= taken;
        }
        self.tell(kind, bucket, -taken.cast_signed(), left, write);
        taken
    }

    fn tell(&self, kind: EntryKind, bucket: Label, amount: i64, left: u64, write: &mut impl FnMut(Change)) {
        write(self.change(kind, bucket, amount, left));
    }

    #[inline]
    fn change(&self, kind: EntryKind, bucket: Label, amount: i64, left: u64) -> Change {
        let balance = self.balance.cast_signed() + self.beside;
        Change { at: self.seen, kind, bucket, amount, left, balance }
    }

    fn plan_deadlines(&mut self, allowance: &Allowance) {
        let expiries =
            self.buckets.iter().filter(|held| !held.expired).filter_map(|held| held.terms().expires);
        let starts = self.pending().filter_map(|held| held.terms().valid_from);
        let deadline = expiries.chain(starts).min().unwrap_or(NEVER.1);
        self.has_deadline = deadline != NEVER.1;
        if deadline != self.deadline() {
            self.rest().deadline = deadline;
        }
        (self.period, self.from, self.until) = match (allowance, self.due) {
            (Allowance::Grant(grant), Some(due)) => {
                (due.period, grant.calm_from(due.next()), deadline.min(due.next()))
            }
            // The next call under a grant computes these times.
            _ => (0, NEVER.0, NEVER.0),
        };
    }

    fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    pub(super) fn debt(&self) -> u64 {
        self.rest.as_ref().map_or(0, |rest| rest.debt)
    }

    fn pending(&self) -> impl Iterator<Item = &Held> {
        self.rest.iter().flat_map(|rest| &rest.pending)
    }

    /// Returns the sum of all buckets and of all open charges, which is at most [`Credits::MAX`].
    fn sum(&self) -> u64 {
        let all = self.buckets.iter().chain(self.pending());
        all.fold(0, |sum: u64, held| sum.saturating_add(held.left).saturating_add(held.open))
    }

    /// Returns the sum of the open charges.
    pub(super) fn open(&self) -> u64 {
        self.buckets.iter().map(|held| held.open).fold(0, u64::saturating_add)
    }

    /// Returns the numbers of the buckets that have started.
    fn numbers(&self, which: impl Fn(&Held) -> bool) -> Vec<u32> {
        self.buckets.iter().filter(|held| which(held)).map(|held| held.number).collect()
    }

    fn held_mut(&mut self, number: u32) -> Option<&mut Held> {
        let pending = self.rest.iter_mut().flat_map(|rest| &mut rest.pending);
        self.buckets.iter_mut().chain(pending).find(|held| held.number == number)
    }

    fn insert(&mut self, held: Held) {
        let place = self.buckets.partition_point(|other| other.rank() < held.rank());
        self.buckets.insert(place, held);
    }

    fn sort(&mut self) {
        self.buckets.sort_unstable_by_key(Held::rank);
    }

    /// Removes a bucket without credits from which no open charge was drawn. The main bucket stays.
    #[inline]
    fn remove_if_empty(&mut self, number: u32) {
        if number != MAIN {
            self.remove_other_if_empty(number);
        }
    }

    fn remove_other_if_empty(&mut self, number: u32) {
        let is_empty = |held: &Held| held.left == 0 && held.open == 0;
        if let Some(place) = self.buckets.iter().position(|held| held.number == number) {
            if is_empty(&self.buckets[place]) {
                self.buckets.remove(place);
            }
        } else if let Some(rest) = &mut self.rest {
            rest.pending.retain(|held| held.number != number || !is_empty(held));
        }
    }
}

/// Returns the bucket of this number. Most charges are drawn from the first one.
#[inline]
fn find(buckets: &mut [Held], number: u32) -> Option<&mut Held> {
    buckets.iter_mut().find(|held| held.number == number)
}
