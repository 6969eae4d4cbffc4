//! The buckets of the ledgers in memory and in Redis, against a simple model: the same steps are answered the same, and the entries
//! recompute every bucket.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tollgate::account::{Allowance, CalendarUnit, ExpiredRefunds, Grant, GrantPeriod, Overage, Rollover};
use tollgate::clock::{Now, Timestamp};
use tollgate::credit::{
    Adjusted, Adjustment, AdjustmentId, AdjustmentKind, Balance, BucketId, BucketKind, BucketTerms,
    BudgetDraw, Charge, ChargeId, CreditAdmin, Currency, Entry, EntryQuery, Refund, Settlement,
};
use tollgate::{Account, Credits, KeyId, MemoryLedger, StoreFuture};

#[cfg(feature = "redis")]
use crate::services::redis::Redis;
use crate::support::naive_credits::{KeyBudget, Naive, budget, listed};

const HOUR: i64 = 3_600_000;

#[derive(Debug, Clone)]
enum Step {
    Charge {
        id: u64,
        amount: u64,
        key: Option<u8>,
    },
    Settle {
        id: u64,
        cost: u64,
        debt: bool,
        keep: bool,
    },
    Refund {
        id: u64,
        keep: bool,
    },
    Adjust(u64, Change),
    Wait(i64),
    /// Until the next time at which the model changes by itself, or a millisecond before it.
    WaitForChange {
        before: bool,
    },
    Erase,
}

#[derive(Debug, Clone)]
enum Change {
    Plain(AdjustmentKind),
    TopUp(u64, Terms),
    Expire(u64),
    Move(u64, u64, Terms),
}

/// The terms of a bucket, with times relative to the call.
#[derive(Debug, Clone, Copy)]
struct Terms {
    priority: u16,
    valid_from: Option<i64>,
    expires: Option<i64>,
}

impl Terms {
    fn at(self, now: i64) -> BucketTerms {
        let mut terms = BucketTerms::of(BucketKind::Promotion);
        let moment = |offset: i64| Timestamp::from_millis(now + offset);
        terms.priority = self.priority;
        (terms.valid_from, terms.expires) = (self.valid_from.map(moment), self.expires.map(moment));
        terms
    }
}

fn terms() -> impl Strategy<Value = Terms> {
    let from = prop::option::weighted(0.2, -HOUR..5 * HOUR);
    let expires = prop::option::weighted(0.6, -HOUR / 4..200 * HOUR);
    (98_u16..103, from, expires).prop_map(|(priority, valid_from, expires)| Terms {
        priority,
        valid_from,
        expires,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let amount = prop_oneof![9 => 0_u64..120, 1 => Credits::MAX.get() - 100..=Credits::MAX.get()];
    let credits = amount.clone().prop_map(Credits::new);
    let change = prop_oneof![
        4 => credits.clone().prop_map(|amount| Change::Plain(AdjustmentKind::TopUp(amount))),
        8 => (amount, terms()).prop_map(|(amount, terms)| Change::TopUp(amount, terms)),
        3 => credits.clone().prop_map(|amount| Change::Plain(AdjustmentKind::Deduct(amount))),
        1 => credits.prop_map(|amount| Change::Plain(AdjustmentKind::Set(amount))),
        1 => Just(Change::Plain(AdjustmentKind::MakeUnlimited)),
        2 => (0_u64..8).prop_map(Change::Expire),
        3 => (0_u64..8, 0_u64..80, terms()).prop_map(|(from, amount, terms)| Change::Move(from, amount, terms)),
    ];
    let (id, any) = (0_u64..12, any::<bool>);
    prop_oneof![
        14 => (id.clone(), 1_u64..90, prop::option::weighted(0.3, 0_u8..3))
            .prop_map(|(id, amount, key)| Step::Charge { id, amount, key }),
        7 => (id.clone(), 0_u64..160, any(), any())
            .prop_map(|(id, cost, debt, keep)| Step::Settle { id, cost, debt, keep }),
        5 => (id, any()).prop_map(|(id, keep)| Step::Refund { id, keep }),
        12 => (0_u64..60, change).prop_map(|(id, change)| Step::Adjust(id, change)),
        3 => (0..3 * HOUR).prop_map(Step::Wait),
        1 => (0..40 * 24 * HOUR).prop_map(Step::Wait),
        4 => any().prop_map(|before| Step::WaitForChange { before }),
        1 => Just(Step::Erase),
    ]
}

/// Plans of fixed periods and of calendars in zones whose clocks change, with and without a rollover.
fn plans() -> impl Strategy<Value = Allowance> {
    let calendar = |unit, zone| GrantPeriod::calendar(unit, zone).unwrap();
    let periods = vec![
        GrantPeriod::every(Duration::from_hours(1)).unwrap(),
        GrantPeriod::every(Duration::from_mins(25)).unwrap(),
        calendar(CalendarUnit::Hour, "Europe/Berlin"),
        calendar(CalendarUnit::Day, "America/St_Johns"),
        calendar(CalendarUnit::Month, "Europe/Berlin"),
        calendar(CalendarUnit::Month, "UTC"),
    ];
    let rollover = (0_u64..40, 0_u64..200)
        .prop_map(|(least, more)| Rollover::new(Credits::new(least), Credits::new(least + more)).unwrap());
    let grant = (prop::sample::select(periods), 0_u64..150, 99_u16..102, prop::option::of(rollover));
    let grant = grant.prop_map(|(period, amount, priority, rollover)| {
        let grant = Grant::new(Credits::new(amount), period).with_priority(priority);
        Allowance::Grant(grant.with_rollover(rollover.unwrap_or_default()))
    });
    prop_oneof![1 => Just(Allowance::None), 6 => grant]
}

/// Moments before the end of February of a leap year and of another year, and before clocks change.
const STARTS: [&str; 5] = [
    "2028-02-28T21:30:00Z",
    "2027-02-27T22:00:00Z",
    "2026-03-29T00:10:00Z",
    "2026-10-25T00:20:00Z",
    "2026-12-31T22:59:59.999Z",
];

/// The budgets of three keys.
fn key_budget(key: u8) -> KeyBudget {
    let period = match key {
        0 => GrantPeriod::every(Duration::from_hours(2)).unwrap(),
        1 => GrantPeriod::calendar(CalendarUnit::Day, "Europe/Berlin").unwrap(),
        _ => GrantPeriod::calendar(CalendarUnit::Hour, "UTC").unwrap(),
    };
    (key, 60 + 50 * u64::from(key), period)
}

fn number(id: u64) -> ChargeId {
    ChargeId::from_bytes(u128::from(id).to_be_bytes())
}

fn policies(debt: bool, keep: bool) -> (Overage, ExpiredRefunds) {
    (
        if debt { Overage::Debt } else { Overage::Cap },
        if keep { ExpiredRefunds::Keep } else { ExpiredRefunds::Forfeit },
    )
}

/// Checks that each entry follows from the one before, and that the entries of each bucket sum to what is in it.
fn check_entries(entries: &[Entry], model: &Naive) {
    let mut before = 0_i128;
    let mut sums: HashMap<BucketId, i128> = HashMap::new();
    for (place, entry) in entries.iter().rev().enumerate() {
        assert_eq!(entry.number, place as u64 + 1);
        let balance = match entry.balance {
            Balance::Owed(debt) => -i128::from(debt.get()),
            balance => i128::from(balance.credits().map_or(0, Credits::get)),
        };
        assert_eq!(before + i128::from(entry.amount), balance, "{entry:?}");
        before = balance;
        let sum = sums.entry(entry.bucket.clone()).or_default();
        *sum += i128::from(entry.amount);
        let left = i128::from(entry.left.get());
        assert_eq!(*sum, if entry.bucket == BucketId::Debt { -left } else { left }, "{entry:?}");
    }
    assert_eq!(before, if model.unlimited { 0 } else { model.total() });
    assert_eq!(-sums.remove(&BucketId::Debt).unwrap_or(0), i128::from(model.debt));
    let listed: HashMap<BucketId, u64> = model.listed().into_iter().filter(|(_, left)| *left > 0).collect();
    sums.retain(|_, sum| *sum != 0);
    assert_eq!(sums, listed.into_iter().map(|(id, left)| (id, i128::from(left))).collect());
}

/// A ledger and the model, with the time of their calls.
struct Pair<L> {
    ledger: L,
    runtime: tokio::runtime::Runtime,
    /// Returns the number of open charges, if the ledger tells it.
    open_charges: fn(&L) -> Option<usize>,
    /// The number of times that each charge was closed, for a ledger that remembers closed charges.
    lives: Option<HashMap<u64, u64>>,
    account: Arc<Account>,
    model: Naive,
    allowance: Allowance,
    now: i64,
    /// The times at which buckets start or expire.
    times: Vec<Timestamp>,
}

impl<L: CreditAdmin> Pair<L> {
    fn new(ledger: L, open_charges: fn(&L) -> Option<usize>, allowance: Allowance, start: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (account, model) = (Arc::new(Account::new("ada", "pro")), Naive::new());
        let now = start.parse::<Timestamp>().unwrap().as_millis();
        Self { ledger, runtime, open_charges, lives: None, account, model, allowance, now, times: Vec::new() }
    }

    fn ready<T>(&self, future: StoreFuture<T>) -> T {
        self.runtime.block_on(future).unwrap()
    }

    /// Returns the id of a charge that was not closed, for a ledger that remembers closed charges.
    fn life(&self, id: u64) -> u64 {
        self.lives.as_ref().map_or(id, |lives| id + 1_000 * lives.get(&id).copied().unwrap_or(0))
    }

    fn close(&mut self, id: u64) {
        if let Some(lives) = &mut self.lives {
            *lives.entry(id).or_default() += 1;
        }
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    fn make(&mut self, step: &Step) {
        let (at, now) = (self.at(), Now::new(self.at(), Duration::ZERO));
        match step {
            Step::Charge { id, amount, key } => {
                let id = &self.life(*id);
                let key = key.map(key_budget);
                let limit = key.as_ref().map(budget);
                let mut charge =
                    Charge::new(number(*id), &self.account, Credits::new(*amount), &self.allowance, now);
                if let (Some((key, ..)), Some(budget)) = (&key, &limit) {
                    charge.budget = Some(BudgetDraw { key: KeyId::from_bytes([*key; 16]), budget });
                }
                self.model.call(&self.allowance, at);
                let expected = self.model.charge(*id, *amount, key.as_ref(), at);
                assert_eq!(self.ready(self.ledger.charge(&charge)), expected);
            }
            Step::Settle { id, cost, debt, keep } => {
                let (first, id) = (*id, &self.life(*id));
                let (overage, refunds) = policies(*debt, *keep);
                let mut settlement = Settlement::new(&self.account, number(*id), Credits::new(*cost), &now);
                settlement.allowance = &self.allowance;
                (settlement.overage, settlement.expired_refunds) = (overage, refunds);
                self.ready(self.ledger.settle(&settlement));
                if self.model.open.get(id).is_some_and(|open| *cost > open.amount) {
                    self.model.call(&self.allowance, at);
                } else if self.model.open.contains_key(id) {
                    self.model.pass(at);
                }
                self.model.close(*id, *cost, overage, refunds);
                self.close(first);
                self.pass();
            }
            Step::Refund { id, keep } => {
                let (first, id) = (*id, &self.life(*id));
                let refunds = policies(false, *keep).1;
                let mut refund = Refund::new(&self.account, number(*id), &now);
                refund.expired_refunds = refunds;
                self.ready(self.ledger.refund(&refund));
                if self.model.open.contains_key(id) {
                    self.model.pass(at);
                }
                self.model.close(*id, 0, Overage::Cap, refunds);
                self.close(first);
                self.pass();
            }
            Step::Adjust(id, change) => self.adjust(*id, change),
            Step::Wait(millis) => self.now += millis,
            Step::WaitForChange { before } => {
                let due = match &self.allowance {
                    Allowance::Grant(grant) => Some(grant.next_after(at)),
                    _ => None,
                };
                let next = self.times.iter().copied().chain(due).filter(|time| *time > at).min();
                self.now = next.map_or(self.now, |next| next.as_millis() - i64::from(*before));
            }
            Step::Erase => {
                self.ready(self.ledger.erase_balance(&self.account.id));
                self.model = Naive::new();
            }
        }
    }

    /// Makes a call that is refused. It empties the buckets that have expired: the end of a charge may leave them.
    fn pass(&mut self) {
        self.model.pass(self.at());
        let id: AdjustmentId = "refused".parse().unwrap();
        let kind = AdjustmentKind::Expire(BucketId::Of(id.clone()));
        let asked = Adjustment::new(id, &self.account.id, kind, &Allowance::None, self.at());
        assert!(!matches!(self.ready(self.ledger.adjust(&asked)), Adjusted::Done { .. }));
    }

    fn adjust(&mut self, id: u64, change: &Change) {
        let at = self.at();
        let of = |id: &u64| match id {
            0 => BucketId::Main,
            1 => BucketId::Purchased,
            id => BucketId::Of(id.to_string().parse().unwrap()),
        };
        let kind = match change {
            Change::Plain(kind) => kind.clone(),
            Change::TopUp(amount, terms) => {
                AdjustmentKind::TopUpInto { amount: Credits::new(*amount), terms: terms.at(self.now) }
            }
            Change::Expire(bucket) => AdjustmentKind::Expire(of(bucket)),
            Change::Move(from, amount, terms) => AdjustmentKind::Move {
                from: of(from),
                amount: Credits::new(*amount),
                terms: terms.at(self.now),
            },
        };
        if let AdjustmentKind::TopUpInto { terms, .. } | AdjustmentKind::Move { terms, .. } = &kind {
            self.times.extend(terms.valid_from.into_iter().chain(terms.expires));
        }
        if !self.model.knows(id) {
            self.model.call(&self.allowance, at);
        }
        let expected = self.model.adjust(id, &kind, at);
        let asked =
            Adjustment::new(id.to_string().parse().unwrap(), &self.account.id, kind, &self.allowance, at);
        assert_eq!(self.ready(self.ledger.adjust(&asked)), expected);
    }

    fn check(&self) {
        let (account, credits) = (&self.account.id, &Currency::CREDITS);
        let entries = self.ready(self.ledger.entries(&EntryQuery::newest(account.clone(), 4_000)));
        check_entries(&entries, &self.model);
        assert!((self.open_charges)(&self.ledger).is_none_or(|open| open == self.model.open.len()));
        let (held, model) = (i128::from(self.model.held()), &self.model);
        assert_eq!(model.put_in, model.total() + held + model.spent, "the model conserves");
        let mut later = self.model.clone();
        later.call(&self.allowance, self.at());
        let read = self.ready(self.ledger.balance_of(account, credits, &self.allowance, self.at()));
        assert_eq!(read, later.balance());
        let buckets = self.ready(self.ledger.buckets_of(account, credits, &self.allowance, self.at()));
        assert_eq!(listed(&buckets), later.listed());
        let after = self.ready(self.ledger.entries(&EntryQuery::newest(account.clone(), 4_000)));
        assert_eq!(after, entries, "a look writes nothing");
    }
}

/// Steps, a plan and a time to start at.
fn case() -> impl Strategy<Value = (Vec<Step>, Allowance, &'static str)> {
    (prop::collection::vec(step(), 1..90), plans(), prop::sample::select(STARTS.to_vec()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn buckets_match_the_simple_model((steps, allowance, start) in case()) {
        let open = |ledger: &MemoryLedger| Some(ledger.open_charges("ada"));
        let mut pair = Pair::new(MemoryLedger::with_entries(4_000), open, allowance, start);
        for step in &steps {
            pair.make(step);
            pair.check();
        }
    }
}

/// Returns the number of cases of a run over a server: `TOLLGATE_CREDIT_CASES`, or as many as take a few seconds.
#[cfg(feature = "redis")]
fn cases() -> u32 {
    std::env::var("TOLLGATE_CREDIT_CASES").map_or(60, |number| number.parse().unwrap())
}

#[cfg(feature = "redis")]
#[test]
fn buckets_in_redis_match_the_simple_model() {
    use tollgate::credit::RedisLedger;
    use tollgate::redis::RedisServer;

    let Some(redis) = Redis::start() else { return };
    let settings = ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() };
    proptest!(settings, |((steps, allowance, start) in case())| {
        redis.say(&["FLUSHALL"]);
        let ledger = RedisLedger::new(RedisServer::open(&redis.url(), "acme").unwrap());
        let mut pair = Pair::new(ledger, |_| None, allowance, start);
        pair.lives = Some(HashMap::new());
        for step in &steps {
            pair.make(step);
            pair.check();
        }
        let audited = pair.runtime.block_on(pair.ledger.audit()).unwrap();
        assert!(audited.is_empty(), "{audited:?}");
    });
}
