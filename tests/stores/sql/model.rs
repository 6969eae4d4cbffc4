//! The ledger in memory says what is right: the same steps are answered the same.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use tollgate::account::{Allowance, Budget, CalendarUnit, ExpiredRefunds, Grant, GrantPeriod, Overage};
use tollgate::credit::{
    Adjustment, AdjustmentKind, BucketId, BucketKind, BucketTerms, BudgetDraw, Charge, CreditAdmin, Currency,
    Entry, EntryKind, EntryQuery, Refund, Settlement, SqlLedger,
};
use tollgate::{Account, CreditLedger, Credits, KeyId, MemoryLedger};

use crate::database::{Place, both};
use crate::sql::ledger::{HOUR, at, hourly, nodes, now, number};

both!(every_sequence_is_answered_as_in_memory);

#[derive(Debug, Clone)]
enum Step {
    Charge(u64, u64),
    Settle(u64, u64),
    Refund(u64),
    Adjust(u64, AdjustmentKind),
    Wait(i64),
    /// The account goes to another plan.
    Change(usize),
    Erase,
}

fn step() -> impl Strategy<Value = Step> {
    let max = Credits::MAX.get();
    let amount = prop_oneof![9 => 0_u64..120, 1 => max - 100..=max].prop_map(Credits::new);
    let bucket = prop_oneof![Just(BucketId::Main), Just(BucketId::Purchased), (0_u64..24).prop_map(bucket)];
    let kind = prop_oneof![
        4 => amount.clone().prop_map(AdjustmentKind::TopUp),
        4 => (0_u64..90, terms()).prop_map(|(amount, terms)| {
            AdjustmentKind::TopUpInto { amount: Credits::new(amount), terms }
        }),
        1 => bucket.clone().prop_map(AdjustmentKind::Expire),
        2 => (bucket, 0_u64..60, terms()).prop_map(|(from, amount, terms)| {
            AdjustmentKind::Move { from, amount: Credits::new(amount), terms }
        }),
        3 => amount.clone().prop_map(AdjustmentKind::Deduct),
        2 => amount.prop_map(AdjustmentKind::Set),
        1 => Just(AdjustmentKind::MakeUnlimited),
    ];
    prop_oneof![
        12 => (0_u64..16, 1_u64..60).prop_map(|(id, amount)| Step::Charge(id, amount)),
        5 => (0_u64..16, 0_u64..80).prop_map(|(id, cost)| Step::Settle(id, cost)),
        5 => (0_u64..16).prop_map(Step::Refund),
        10 => (0_u64..24, kind).prop_map(|(id, kind)| Step::Adjust(id, kind)),
        4 => (-HOUR..2 * HOUR).prop_map(Step::Wait),
        1 => (-40 * HOUR..40 * HOUR).prop_map(Step::Wait),
        6 => (0_usize..5).prop_map(Step::Change),
        1 => Just(Step::Erase),
    ]
}

fn bucket(id: u64) -> BucketId {
    BucketId::Of(id.to_string().parse().unwrap())
}

/// Terms with times of the first hours of a case.
fn terms() -> impl Strategy<Value = BucketTerms> {
    let time = || prop::option::of((0..12 * HOUR).prop_map(at));
    (90_u16..110, time(), time()).prop_map(|(priority, valid_from, expires)| {
        let mut terms = BucketTerms::of(BucketKind::Promotion);
        (terms.priority, terms.valid_from, terms.expires) = (priority, valid_from, expires);
        terms
    })
}

/// The ledger in memory says what is right. A charge's id is used once there too, as gates do: a ledger in a database
/// knows ids that were closed, the one in memory forgets them.
async fn every_sequence_is_answered_as_in_memory(place: Place) {
    let ledgers = nodes(&place).await;
    let mut runner = TestRunner::new(Config::default());
    let steps = prop::collection::vec(step(), 1..60);
    let grants = prop::option::of(prop_oneof![9 => 0_u64..150, 1 => Just(Credits::MAX.get())]);
    for case in 0..48 {
        let steps = steps.new_tree(&mut runner).unwrap().current();
        let grant = grants.new_tree(&mut runner).unwrap().current();
        compare(&ledgers, &Account::new(format!("case {case}"), "pro"), &steps, grant).await;
    }
    assert_eq!(ledgers[0].audit().await.unwrap(), []);
}

/// Plans of several periods, and one that grants nothing.
fn plans(grant: Option<u64>) -> [Allowance; 5] {
    let calendar = |unit, zone| GrantPeriod::calendar(unit, zone).unwrap();
    let grants = |amount, period| Allowance::Grant(Grant::new(Credits::new(amount), period));
    [
        grant.map_or(Allowance::None, hourly),
        grants(70, calendar(CalendarUnit::Day, "Australia/Lord_Howe")),
        grants(90, calendar(CalendarUnit::Month, "America/St_Johns")),
        grants(30, GrantPeriod::every(Duration::from_mins(25)).unwrap()),
        Allowance::None,
    ]
}

async fn compare(ledgers: &[SqlLedger; 2], account: &Account, steps: &[Step], grant: Option<u64>) {
    let model = MemoryLedger::with_entries(1_000);
    let plans = plans(grant);
    let mut allowance = plans[0].clone();
    let budget = Budget::new(Credits::new(90), GrantPeriod::every(Duration::from_mins(50)).unwrap());
    let (mut time, mut closed) = (0, HashSet::new());
    for (place, step) in steps.iter().enumerate() {
        let (ledger, told) = (&ledgers[place % 2], format!("{step:?} at {place} of {grant:?} {steps:#?}"));
        match step {
            Step::Charge(id, _) if closed.contains(id) => {}
            Step::Charge(id, amount) => {
                let amount = Credits::new(*amount);
                let mut charge = Charge::new(number(*id), account, amount, &allowance, now(time));
                // Every third charge is of a key with a budget.
                let key = KeyId::from_bytes([u8::try_from(id % 2).unwrap(); 16]);
                charge.budget = (id % 3 == 0).then_some(BudgetDraw { key, budget: &budget });
                let expected = model.charge(&charge).await.unwrap();
                assert_eq!(ledger.charge(&charge).await.unwrap(), expected, "{told}");
            }
            Step::Settle(id, cost) => {
                closed.insert(*id);
                let clock = now(time);
                let mut settlement = Settlement::new(account, number(*id), Credits::new(*cost), &clock);
                settlement.allowance = &allowance;
                settlement.overage = if cost % 2 == 0 { Overage::Cap } else { Overage::Debt };
                settlement.expired_refunds =
                    if cost % 3 == 0 { ExpiredRefunds::Keep } else { ExpiredRefunds::Forfeit };
                model.settle(&settlement).await.unwrap();
                ledger.settle(&settlement).await.unwrap();
            }
            Step::Refund(id) => {
                closed.insert(*id);
                let clock = now(time);
                model.refund(&Refund::new(account, number(*id), &clock)).await.unwrap();
                ledger.refund(&Refund::new(account, number(*id), &clock)).await.unwrap();
            }
            Step::Adjust(id, kind) => {
                let id = id.to_string().parse().unwrap();
                let asked = Adjustment::new(id, &account.id, kind.clone(), &allowance, at(time));
                let expected = model.adjust(&asked).await.unwrap();
                assert_eq!(ledger.adjust(&asked).await.unwrap(), expected, "{told}");
            }
            Step::Wait(millis) => time += millis,
            Step::Change(plan) => allowance = plans[*plan].clone(),
            Step::Erase => {
                closed.clear();
                model.erase_balance(&account.id).await.unwrap();
                ledger.erase_balance(&account.id).await.unwrap();
            }
        }
        let (id, credits) = (&account.id, &Currency::CREDITS);
        let expected = model.balance_of(id, credits, &allowance, at(time)).await.unwrap();
        assert_eq!(ledger.balance_of(id, credits, &allowance, at(time)).await.unwrap(), expected, "{told}");
        let expected = model.buckets_of(id, credits, &allowance, at(time)).await.unwrap();
        assert_eq!(ledger.buckets_of(id, credits, &allowance, at(time)).await.unwrap(), expected, "{told}");
    }
    let query = EntryQuery::newest(account.id.clone(), 1_000);
    // The end of a charge may leave the credits of a bucket that has expired to the next call: sums are compared.
    let sums = |entries: &[Entry]| {
        let mut sums: HashMap<(BucketId, &'static str), i128> = HashMap::new();
        for entry in entries.iter().filter(|entry| entry.kind != EntryKind::Expired) {
            *sums.entry((entry.bucket.clone(), entry.kind.name())).or_default() += i128::from(entry.amount);
        }
        sums
    };
    let (written, expected) =
        (ledgers[0].entries(&query).await.unwrap(), model.entries(&query).await.unwrap());
    assert!(written.iter().rev().zip(1..).all(|(entry, number)| entry.number == number));
    assert_eq!(sums(&written), sums(&expected), "{grant:?} {steps:#?}");
}
