//! A ledger that breaks one rule of its contract.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tollgate::account::{
    Allowance, Budget, BudgetStatus, ExpiredRefunds, Grant, GrantPeriod, Overage, Rollover,
};
use tollgate::clock::Timestamp;
use tollgate::credit::{
    Adjusted, Adjustment, AdjustmentId, AdjustmentKind, Balance, Bucket, BucketId, BudgetDraw, Charge,
    ChargeId, Charged, CreditAdmin, Currency, Entry, EntryKind, EntryQuery, Refund, Settlement,
};
use tollgate::name::AccountId;
use tollgate::{Account, CreditLedger, Credits, KeyId, MemoryLedger, StoreFuture};

use super::broken_store::ready;

rules! {
    TellsWhatWasThereBefore,
    ChargesNothing,
    KeepsTheLastCredit,
    TakesWhatThereIs,
    Lends,
    KeepsOnePurse,
    ReadsThenCharges,
    ChargesAgain,
    GoesByPointers,
    RefundsNothing,
    SettlesInFull,
    SettlesByRefunding,
    PaysEveryRefund,
    PaysEverySettlement,
    PaysForUnknownCharges,
    RefundsAll,
    GrantsNothing,
    AddsGrants,
    LowersToGrants,
    CountsGrantsFromTheCall,
    GrantsWheneverThePeriodIsAnother,
    LooksThenGrants,
    GrantsEarly,
    ForgetsBalancesOfOtherPlans,
    ForgetsTheTurnWithoutAGrant,
    KeepsTheFirstPeriod,
    GrantsAtEveryChangeOfPeriod,
    WaitsForTheLatestClock,
    ReadsNothing,
    GivesGrantsWhenRead,
    AdjustsNothing,
    DeductsWhatThereIs,
    AddsWhatIsSet,
    AdjustsWithoutGrants,
    AdjustsAgain,
    RepeatsWithThePresentBalance,
    RemembersRefusals,
    SharesIds,
    RemembersAHundred,
    ReadsThenSets,
    FillsUpToTheMost,
    KnowsNoUnlimited,
    IsUnlimitedForGood,
    InventsEntries,
    WritesNoEntries,
    WritesEntriesTwice,
    IgnoresTheCursor,
    IgnoresTheLimit,
    ListsTheOldestFirst,
    LosesBalances,
    LosesTimes,
    ErasesNothing,
    ErasesTheBalanceAlone,
    FoldsNothing,
    FoldsAll,
    DropsWhatIsFolded,
    OffersNoWriteSide,
    KeepsOneBucket,
    KeepsGrantsAndPurchasesTogether,
    IgnoresPriorities,
    IgnoresExpiries,
    ExpiresLate,
    IgnoresStarts,
    DropsRollovers,
    RollsOverWithoutBound,
    ForfeitsReturns,
    KeepsReturns,
    RefundsAsPurchases,
    ListsNoBuckets,
    KeepsBucketsThatAreExpired,
    MovesNothing,
    InventsBuckets,
    TakesExpiredBuckets,
    TakesAnyNumberOfBuckets,
    LosesBuckets,
    IgnoresBudgets,
    SharesBudgets,
    NeverResetsBudgets,
    TakesNoMoreThanTheCharge,
    CapsDebts,
    OwesAll,
    SettlesWithoutGrants,
    KeepsOneCurrency,
}

#[derive(Debug)]
pub(crate) struct Broken {
    inner: MemoryLedger,
    rule: Rule,
    /// The posted charges: the account and the amount.
    posted: Mutex<HashMap<ChargeId, (AccountId, Credits)>>,
    closed: Mutex<Vec<ChargeId>>,
    /// The times at which an account was opened and at which a grant was last due.
    grants: Mutex<HashMap<AccountId, (Timestamp, i64)>>,
    refused: Mutex<HashMap<AdjustmentId, Adjusted>>,
    made: Mutex<Vec<AdjustmentId>>,
    /// The first and the last allowance of an account, and its latest time.
    seen: Mutex<HashMap<AccountId, (Allowance, Allowance, Timestamp)>>,
}

const HOUR: i64 = 3_600_000;

impl Broken {
    pub(crate) fn new(rule: Rule) -> Self {
        Self {
            inner: MemoryLedger::new(),
            rule,
            posted: Mutex::default(),
            closed: Mutex::default(),
            grants: Mutex::default(),
            refused: Mutex::default(),
            made: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    fn breaks(&self, rule: Rule) -> bool {
        self.rule == rule
    }

    fn account(&self, account: &Account) -> Account {
        let id = match self.rule {
            Rule::KeepsOnePurse => "one".into(),
            Rule::GoesByPointers => format!("{}-{account:p}", account.id).into(),
            _ => account.id.clone(),
        };
        Account::new(id, account.plan.clone())
    }

    fn make(&self, account: &AccountId, kind: AdjustmentKind, now: Timestamp) -> Adjusted {
        let adjustment = Adjustment::new(Self::new_id(), account, kind, &Allowance::None, now);
        ready(self.inner.adjust(&adjustment))
    }

    fn new_id() -> AdjustmentId {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        format!("broken-{}", NEXT.fetch_add(1, Ordering::Relaxed)).parse().unwrap()
    }

    fn pay(&self, account: &AccountId, amount: Credits) {
        let _paid = self.make(account, AdjustmentKind::TopUp(amount), Timestamp::from_millis(0));
    }

    fn there(&self, account: &AccountId) -> Credits {
        self.inner.balance(account.as_str()).unwrap_or_default()
    }

    /// Gives grants, wrongly.
    fn grant(&self, account: &AccountId, grant: &Grant, now: Timestamp) {
        let known = self.grants.lock().unwrap().get(account).copied();
        if self.breaks(Rule::LooksThenGrants) {
            std::thread::sleep(Duration::from_millis(3));
        }
        let Some((opened, last)) = known else {
            self.grants.lock().unwrap().insert(account.clone(), (now, 0));
            return self.pay(account, grant.amount());
        };
        let period = (now.as_millis() - opened.as_millis()) / HOUR;
        let passed = u64::try_from(period - last).unwrap_or(0);
        let mut opening = opened;
        let kind = match self.rule {
            Rule::AddsGrants => AdjustmentKind::TopUp(grant.amount().checked_mul(passed).unwrap()),
            Rule::GrantsWheneverThePeriodIsAnother if period != last => AdjustmentKind::Set(grant.amount()),
            Rule::CountsGrantsFromTheCall if passed > 0 => {
                opening = Timestamp::from_millis(now.as_millis() - period * HOUR);
                AdjustmentKind::Set(grant.amount().max(self.there(account)))
            }
            Rule::LooksThenGrants if passed > 0 => AdjustmentKind::TopUp(grant.amount()),
            _ if passed > 0 => AdjustmentKind::Set(grant.amount()),
            _ => return,
        };
        let _granted = self.make(account, kind, now);
        self.grants.lock().unwrap().insert(account.clone(), (opening, period));
    }

    fn allowance(&self, account: &AccountId, allowance: &Allowance, now: Timestamp) -> Allowance {
        match (self.rule, allowance) {
            (Rule::GrantsNothing, _) => Allowance::None,
            (
                Rule::AddsGrants
                | Rule::LowersToGrants
                | Rule::CountsGrantsFromTheCall
                | Rule::GrantsWheneverThePeriodIsAnother
                | Rule::LooksThenGrants,
                Allowance::Grant(grant),
            ) => {
                self.grant(account, grant, now);
                Allowance::None
            }
            (Rule::ForgetsBalancesOfOtherPlans, Allowance::None) => {
                let _forgotten = self.make(account, AdjustmentKind::Set(Credits::ZERO), now);
                Allowance::None
            }
            (Rule::ForgetsTheTurnWithoutAGrant, _) => {
                let last = self.see(account, allowance, now).1;
                if matches!(allowance, Allowance::Grant(_)) && !matches!(last, Allowance::Grant(_)) {
                    let there = self.there(account);
                    ready(self.inner.erase_balance(account));
                    self.pay(account, there);
                }
                allowance.clone()
            }
            (Rule::KeepsTheFirstPeriod, Allowance::Grant(_)) => self.see(account, allowance, now).0,
            (Rule::GrantsAtEveryChangeOfPeriod, Allowance::Grant(grant)) => {
                if self.see(account, allowance, now).1 != *allowance {
                    let amount = grant.amount().max(self.there(account));
                    let _given = self.make(account, AdjustmentKind::Set(amount), now);
                }
                allowance.clone()
            }
            (_, allowance) => self.rolled(allowance),
        }
    }

    /// The allowance with another rollover, if the rule is about it.
    fn rolled(&self, allowance: &Allowance) -> Allowance {
        let rollover = match self.rule {
            Rule::DropsRollovers => Rollover::default(),
            Rule::RollsOverWithoutBound => Rollover::new(Credits::ZERO, Credits::MAX).unwrap(),
            _ => return allowance.clone(),
        };
        match allowance {
            Allowance::Grant(grant) if grant.rollover() != Rollover::default() => {
                Allowance::Grant(grant.clone().with_rollover(rollover))
            }
            allowance => allowance.clone(),
        }
    }

    /// Notes a call; tells the first and the last allowance before it, and the latest time.
    fn see(
        &self,
        account: &AccountId,
        allowance: &Allowance,
        now: Timestamp,
    ) -> (Allowance, Allowance, Timestamp) {
        let mut seen = self.seen.lock().unwrap();
        let first = || (allowance.clone(), allowance.clone(), now);
        let known = seen.entry(account.clone()).or_insert_with(first);
        known.2 = known.2.max(now);
        let told = known.clone();
        known.1 = allowance.clone();
        told
    }

    fn currency<'a>(&self, currency: &'a Currency) -> &'a Currency {
        if self.breaks(Rule::KeepsOneCurrency) { &Currency::CREDITS } else { currency }
    }

    /// A budget of the same amount that lasts for a hundred years.
    fn century(charge: &Charge<'_>) -> Option<Budget> {
        let century = GrantPeriod::every(Duration::from_hours(24 * 36_500)).unwrap();
        charge.budget.map(|draw| Budget::new(draw.budget.amount(), century))
    }

    /// The amount of a charge that was posted.
    fn charged(&self, id: ChargeId) -> Credits {
        self.posted.lock().unwrap().get(&id).map_or(Credits::ZERO, |(_, amount)| *amount)
    }

    fn close(&self, account: &Account, id: ChargeId, cost: Credits, pays: bool) {
        let known = self.posted.lock().unwrap().get(&id).cloned();
        let before = self.closed.lock().unwrap().contains(&id);
        match known {
            None if self.breaks(Rule::PaysForUnknownCharges) => self.pay(&account.id, Credits::new(1)),
            Some((owner, amount)) if before && pays => {
                self.pay(&owner, amount.checked_sub(cost).unwrap_or_default());
            }
            _ => {}
        }
        self.closed.lock().unwrap().push(id);
    }
}

impl CreditLedger for Broken {
    fn charge(&self, charge: &Charge<'_>) -> StoreFuture<Charged> {
        let account = self.account(charge.account);
        let mut now = charge.now;
        if self.breaks(Rule::GrantsEarly) {
            now =
                tollgate::clock::Now::new(Timestamp::from_millis(now.wall().as_millis() + 2), now.elapsed());
        }
        if self.breaks(Rule::WaitsForTheLatestClock) {
            let latest = self.see(&account.id, charge.allowance, now.wall()).2;
            now = tollgate::clock::Now::new(latest, now.elapsed());
        }
        let allowance = self.allowance(&account.id, charge.allowance, now.wall());
        let before = ready(self.inner.balance_of(&account.id, charge.currency, &allowance, now.wall()));
        if self.breaks(Rule::ReadsThenCharges) {
            std::thread::sleep(Duration::from_millis(3));
        }
        let mut id = charge.id;
        if self.breaks(Rule::ChargesAgain) {
            let fresh = Self::new_id().to_string().trim_start_matches("broken-").parse::<u128>().unwrap();
            id = ChargeId::from_bytes(fresh.to_be_bytes());
        }
        let mut made = Charge::new(id, &account, charge.amount, &allowance, now);
        made.currency = self.currency(charge.currency);
        let always = Self::century(charge);
        made.budget = match (self.rule, charge.budget) {
            (Rule::IgnoresBudgets, _) => None,
            (Rule::SharesBudgets, Some(draw)) => Some(BudgetDraw { key: KeyId::from_bytes([7; 16]), ..draw }),
            (Rule::NeverResetsBudgets, Some(draw)) => {
                always.as_ref().map(|budget| BudgetDraw { budget, ..draw })
            }
            (_, budget) => budget,
        };
        if self.breaks(Rule::ChargesNothing) {
            return StoreFuture::ready(Charged::Posted { balance: Some(Credits::new(90)) });
        }
        let mut charged = ready(self.inner.charge(&made));
        if matches!(charged, Charged::Posted { .. }) {
            self.posted.lock().unwrap().insert(charge.id, (account.id.clone(), charge.amount));
        }
        match (self.rule, &mut charged) {
            (Rule::TellsWhatWasThereBefore, Charged::Posted { balance: Some(balance) }) => {
                *balance = balance.checked_add(charge.amount).unwrap_or(Credits::MAX);
            }
            (Rule::KeepsTheLastCredit, Charged::Posted { balance: Some(Credits::ZERO) }) => {
                drop(self.inner.refund(&Refund::new(&account, id, &now)));
                charged = Charged::Insufficient { balance: charge.amount };
            }
            (Rule::TakesWhatThereIs, Charged::Insufficient { balance }) if !balance.is_zero() => {
                drop(self.inner.charge(&Charge::new(id, &account, *balance, &allowance, now)));
            }
            (Rule::Lends, Charged::Insufficient { .. }) if *charge.allowance == Allowance::None => {
                charged = Charged::Posted { balance: Some(Credits::ZERO) };
            }
            (Rule::ReadsThenCharges, Charged::Insufficient { .. })
                if before.credits() >= Some(charge.amount) =>
            {
                charged = Charged::Posted { balance: Some(Credits::ZERO) };
            }
            _ => {}
        }
        StoreFuture::ready(charged)
    }

    fn settle(&self, settlement: &Settlement<'_>) -> StoreFuture<()> {
        let (account, id) = (self.account(settlement.account), settlement.id);
        self.close(&account, id, settlement.cost, self.breaks(Rule::PaysEverySettlement));
        let mut made = *settlement;
        (made.account, made.currency) = (&account, self.currency(settlement.currency));
        match self.rule {
            Rule::TakesNoMoreThanTheCharge => made.cost = made.cost.min(self.charged(id)),
            Rule::CapsDebts => made.overage = Overage::Cap,
            Rule::OwesAll => made.overage = Overage::Debt,
            Rule::SettlesWithoutGrants => made.allowance = &Allowance::None,
            _ => {}
        }
        if self.breaks(Rule::SettlesByRefunding) {
            return self.inner.refund(&Refund::new(&account, id, settlement.clock));
        }
        if self.breaks(Rule::SettlesInFull) {
            made.cost = self.charged(id);
        }
        self.inner.settle(&made)
    }

    fn refund(&self, refund: &Refund<'_>) -> StoreFuture<()> {
        let (account, id) = (self.account(refund.account), refund.id);
        self.close(&account, id, Credits::ZERO, self.breaks(Rule::PaysEveryRefund));
        if self.breaks(Rule::RefundsNothing) {
            return self.inner.settle(&Settlement::new(&account, id, self.charged(id), refund.clock));
        }
        if self.breaks(Rule::RefundsAll) {
            let posted = self.posted.lock().unwrap();
            let others = posted.iter().filter(|(_, (owner, _))| *owner == account.id);
            let refund = |other| Refund::new(&account, other, refund.clock);
            others.for_each(|(other, _)| drop(self.inner.refund(&refund(*other))));
        }
        let mut made = *refund;
        (made.account, made.currency) = (&account, self.currency(refund.currency));
        match self.rule {
            Rule::ForfeitsReturns => made.expired_refunds = ExpiredRefunds::Forfeit,
            Rule::KeepsReturns => made.expired_refunds = ExpiredRefunds::Keep,
            Rule::RefundsAsPurchases => {
                let open = self.inner.open_charges(account.id.as_str());
                let full = self.charged(id);
                drop(self.inner.settle(&Settlement::new(&account, id, full, refund.clock)));
                if self.inner.open_charges(account.id.as_str()) < open {
                    let paid = AdjustmentKind::TopUp(full);
                    let _paid = self.make(&account.id, paid, refund.clock.now().wall());
                }
                return StoreFuture::ready(());
            }
            _ => {}
        }
        self.inner.refund(&made)
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn CreditAdmin>> {
        if self.breaks(Rule::OffersNoWriteSide) { None } else { Some(self) }
    }
}

impl CreditAdmin for Broken {
    fn balance_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        allowance: &Allowance,
        now: Timestamp,
    ) -> StoreFuture<Balance> {
        match self.rule {
            Rule::ReadsNothing => return StoreFuture::ready(Balance::Limited(Credits::ZERO)),
            Rule::GivesGrantsWhenRead => {
                let set = AdjustmentKind::TopUp(Credits::ZERO);
                let given = Adjustment::new(Self::new_id(), account, set, allowance, now);
                let _given = ready(self.inner.adjust(&given));
            }
            _ => {}
        }
        let account = self.account(&Account::new(account.clone(), "any")).id;
        let (currency, allowance) = (self.currency(currency), self.rolled(allowance));
        self.inner.balance_of(&account, currency, &allowance, now)
    }

    fn buckets_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        allowance: &Allowance,
        now: Timestamp,
    ) -> StoreFuture<Vec<Bucket>> {
        let account = self.account(&Account::new(account.clone(), "any")).id;
        if self.breaks(Rule::ListsNoBuckets) {
            return StoreFuture::ready(Vec::new());
        }
        self.inner.buckets_of(&account, self.currency(currency), allowance, now)
    }

    fn budget_of(
        &self,
        account: &AccountId,
        currency: &Currency,
        draw: &BudgetDraw<'_>,
        now: Timestamp,
    ) -> StoreFuture<Option<BudgetStatus>> {
        let account = self.account(&Account::new(account.clone(), "any")).id;
        self.inner.budget_of(&account, self.currency(currency), draw, now)
    }

    fn entries(&self, query: &EntryQuery) -> StoreFuture<Vec<Entry>> {
        let mut query = query.clone();
        query.account = self.account(&Account::new(query.account, "any")).id;
        query.currency = self.currency(&query.currency).clone();
        match self.rule {
            Rule::WritesNoEntries => return StoreFuture::ready(Vec::new()),
            Rule::IgnoresTheCursor => query.before = None,
            Rule::IgnoresTheLimit => query.limit = usize::MAX,
            _ => {}
        }
        let mut entries = ready(self.inner.entries(&query));
        match self.rule {
            Rule::InventsEntries if entries.is_empty() => {
                let charge = tollgate::credit::EntryKind::Grant;
                let none = Balance::Limited(Credits::ZERO);
                entries.push(Entry::new(1, Timestamp::from_millis(0), charge, 0, none));
            }
            Rule::WritesEntriesTwice => {
                entries = entries.into_iter().flat_map(|entry| [entry.clone(), entry]).collect();
            }
            Rule::ListsTheOldestFirst => entries.reverse(),
            Rule::DropsWhatIsFolded => entries.retain(|entry| entry.kind != EntryKind::Folded),
            Rule::LosesBalances => {
                for entry in &mut entries {
                    entry.balance = Balance::Limited(Credits::ZERO);
                }
            }
            Rule::LosesBuckets => {
                for entry in &mut entries {
                    entry.bucket = BucketId::Main;
                }
            }
            Rule::LosesTimes => {
                for entry in &mut entries {
                    entry.at = Timestamp::from_millis(0);
                }
            }
            _ => {}
        }
        StoreFuture::ready(entries)
    }

    fn adjust(&self, adjustment: &Adjustment<'_>) -> StoreFuture<Adjusted> {
        let account = self.account(&Account::new(adjustment.account.clone(), "any")).id;
        let (mut asked, none) = (adjustment.clone(), Allowance::None);
        (asked.account, asked.currency) = (&account, self.currency(adjustment.currency));
        let zero = Balance::Limited(Credits::ZERO);
        if let AdjustmentKind::TopUpInto { terms, .. } = &mut asked.kind {
            match self.rule {
                Rule::IgnoresPriorities => terms.priority = 100,
                Rule::IgnoresExpiries => terms.expires = None,
                Rule::ExpiresLate => {
                    let later = |time: Timestamp| Timestamp::from_millis(time.as_millis() + 1);
                    terms.expires = terms.expires.map(later);
                }
                Rule::IgnoresStarts => terms.valid_from = None,
                Rule::TakesExpiredBuckets
                    if terms.expires <= Some(asked.now) || terms.expires <= terms.valid_from =>
                {
                    (terms.valid_from, terms.expires) = (None, None);
                }
                _ => {}
            }
        }
        match (self.rule, asked.kind.clone()) {
            (Rule::AdjustsNothing, _)
            | (Rule::KeepsBucketsThatAreExpired, AdjustmentKind::Expire(_))
            | (Rule::MovesNothing, AdjustmentKind::Move { .. }) => {
                return StoreFuture::ready(Adjusted::Done { before: zero, balance: zero });
            }
            (Rule::KeepsOneBucket, AdjustmentKind::TopUpInto { amount, .. }) => {
                asked.kind = AdjustmentKind::TopUp(amount);
            }
            (Rule::KeepsGrantsAndPurchasesTogether, AdjustmentKind::TopUp(amount)) => {
                let there =
                    ready(self.inner.balance_of(&account, asked.currency, asked.allowance, asked.now));
                if let Some(sum) = there.credits().and_then(|there| there.checked_add(amount)) {
                    asked.kind = AdjustmentKind::Set(sum);
                }
            }
            (Rule::AddsWhatIsSet, AdjustmentKind::Set(amount)) => asked.kind = AdjustmentKind::TopUp(amount),
            (Rule::KnowsNoUnlimited, AdjustmentKind::MakeUnlimited) => {
                asked.kind = AdjustmentKind::Set(Credits::MAX);
            }
            (Rule::IsUnlimitedForGood, AdjustmentKind::Set(_))
                if ready(self.inner.balance_of(&account, asked.currency, &none, asked.now))
                    == Balance::Unlimited =>
            {
                return StoreFuture::ready(Adjusted::Unlimited);
            }
            (Rule::AdjustsWithoutGrants, _) => asked.allowance = &none,
            (Rule::AdjustsAgain, _) => asked.id = Self::new_id(),
            (Rule::RemembersRefusals, _) => {
                if let Some(refused) = self.refused.lock().unwrap().get(&asked.id) {
                    return StoreFuture::ready(refused.clone());
                }
            }
            (Rule::SharesIds, _) => {
                let mut made = self.made.lock().unwrap();
                if made.contains(&asked.id) {
                    return StoreFuture::ready(Adjusted::Repeated { balance: zero });
                }
                made.push(asked.id.clone());
            }
            (Rule::RemembersAHundred, _) => {
                let mut made = self.made.lock().unwrap();
                if made.iter().rev().skip(100).any(|old| *old == asked.id) {
                    asked.id = Self::new_id();
                }
                made.push(asked.id.clone());
            }
            (Rule::ReadsThenSets, AdjustmentKind::TopUp(amount)) => {
                let there = self.there(&account);
                std::thread::sleep(Duration::from_millis(3));
                asked.kind = AdjustmentKind::Set(there.checked_add(amount).unwrap_or(Credits::MAX));
            }
            _ => {}
        }
        let adjusted = ready(self.inner.adjust(&asked));
        let there = Balance::Limited(self.there(&account));
        StoreFuture::ready(match (self.rule, adjusted) {
            (Rule::DeductsWhatThereIs, Adjusted::Insufficient { balance }) => {
                let _emptied = self.make(&account, AdjustmentKind::Set(Credits::ZERO), asked.now);
                Adjusted::Done { before: Balance::Limited(balance), balance: zero }
            }
            (Rule::TakesAnyNumberOfBuckets, Adjusted::TooManyBuckets)
            | (Rule::InventsBuckets, Adjusted::UnknownBucket)
            | (Rule::FillsUpToTheMost, Adjusted::TooMuch { .. }) => {
                Adjusted::Done { before: there, balance: there }
            }
            (Rule::RepeatsWithThePresentBalance, Adjusted::Repeated { .. }) => {
                Adjusted::Repeated { balance: there }
            }
            (Rule::RemembersRefusals, refused @ Adjusted::Insufficient { .. }) => {
                self.refused.lock().unwrap().insert(asked.id, refused.clone());
                refused
            }
            (_, adjusted) => adjusted,
        })
    }

    fn erase_balance(&self, account: &AccountId) -> StoreFuture<bool> {
        let account = self.account(&Account::new(account.clone(), "any")).id;
        match self.rule {
            Rule::ErasesNothing => StoreFuture::ready(true),
            Rule::ErasesTheBalanceAlone => {
                let _emptied =
                    self.make(&account, AdjustmentKind::Set(Credits::ZERO), Timestamp::from_millis(0));
                StoreFuture::ready(true)
            }
            _ => self.inner.erase_balance(&account),
        }
    }

    fn forget_entries(&self, before: Timestamp) -> StoreFuture<u64> {
        match self.rule {
            Rule::FoldsNothing => StoreFuture::ready(0),
            Rule::FoldsAll => self.inner.forget_entries(Timestamp::from_millis(i64::MAX)),
            _ => self.inner.forget_entries(before),
        }
    }
}
