//! The ledger in memory says what is right: the same steps are answered the same.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use tollgate::account::{Allowance, CalendarUnit, Grant, GrantPeriod};
use tollgate::credit::{
    Adjustment, AdjustmentKind, Charge, Charged, CreditAdmin, Entry, EntryKind, EntryQuery, SqlLedger,
};
use tollgate::{Account, CreditLedger, Credits, MemoryLedger};

use crate::database::{Place, both};
use crate::sql::ledger::{HOUR, at, hourly, nodes, now, number};
use crate::support::merged;

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

impl Step {
    /// The step of a case with top-ups, or with grants.
    fn comparable(self, tops_up: bool) -> Self {
        match self {
            Self::Adjust(id, AdjustmentKind::TopUp(amount)) if !tops_up => {
                Self::Adjust(id, AdjustmentKind::Set(amount))
            }
            Self::Change(_) if tops_up => Self::Change(NO_GRANT),
            step => step,
        }
    }
}

/// The place of the plan that grants nothing.
const NO_GRANT: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let max = Credits::MAX.get();
    let amount = prop_oneof![9 => 0_u64..120, 1 => max - 100..=max].prop_map(Credits::new);
    let kind = prop_oneof![
        4 => amount.clone().prop_map(AdjustmentKind::TopUp),
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

/// The ledger in memory says what is right. A charge's id is used once there too, as gates do: a ledger in a database
/// knows ids that were closed, the one in memory forgets them.
async fn every_sequence_is_answered_as_in_memory(place: Place) {
    let ledgers = nodes(&place).await;
    let mut runner = TestRunner::new(Config::default());
    let steps = prop::collection::vec(step(), 1..60);
    let grants = prop::option::of(prop_oneof![9 => 0_u64..150, 1 => Just(Credits::MAX.get())]);
    // The ledger in memory has purchases in a bucket that a grant does not count: a case has grants or top-ups.
    for case in 0..48 {
        let tops_up = case % 2 == 0;
        let steps = steps.new_tree(&mut runner).unwrap().current();
        let grant = grants.new_tree(&mut runner).unwrap().current().filter(|_| !tops_up);
        let steps: Vec<Step> = steps.into_iter().map(|step| step.comparable(tops_up)).collect();
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
    let (mut time, mut closed, mut amounts) = (0, HashSet::new(), HashMap::new());
    for (place, step) in steps.iter().enumerate() {
        let (ledger, told) = (&ledgers[place % 2], format!("{step:?} at {place} of {grant:?} {steps:#?}"));
        match step {
            Step::Charge(id, _) if closed.contains(id) => {}
            Step::Charge(id, amount) => {
                let charge = Charge::new(number(*id), account, Credits::new(*amount), &allowance, now(time));
                let expected = model.charge(&charge).await.unwrap();
                if matches!(expected, Charged::Posted { .. }) {
                    amounts.entry(*id).or_insert(*amount);
                }
                assert_eq!(ledger.charge(&charge).await.unwrap(), expected, "{told}");
            }
            Step::Settle(id, cost) => {
                closed.insert(*id);
                // The ledger in a database takes no cost above the charge.
                let most = amounts.remove(id).map_or(*cost, |amount| amount.min(*cost));
                model
                    .settle(&crate::support::settlement(account, number(*id), Credits::new(most)))
                    .await
                    .unwrap();
                ledger
                    .settle(&crate::support::settlement(account, number(*id), Credits::new(*cost)))
                    .await
                    .unwrap();
            }
            Step::Refund(id) => {
                closed.insert(*id);
                model.refund(&crate::support::refund(account, number(*id))).await.unwrap();
                ledger.refund(&crate::support::refund(account, number(*id))).await.unwrap();
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
                amounts.clear();
                model.erase_balance(&account.id).await.unwrap();
                ledger.erase_balance(&account.id).await.unwrap();
            }
        }
        let expected = model
            .balance_of(&account.id, &tollgate::credit::Currency::CREDITS, &allowance, at(time))
            .await
            .unwrap();
        assert_eq!(
            ledger
                .balance_of(&account.id, &tollgate::credit::Currency::CREDITS, &allowance, at(time))
                .await
                .unwrap(),
            expected,
            "{told}"
        );
    }
    let query = EntryQuery::newest(account.id.clone(), 1_000);
    let moves = |entries: Vec<Entry>| {
        // The end of a charge names no time: it may bear any that the account was seen at.
        let ends = |kind: &EntryKind| matches!(kind, EntryKind::Settlement(_) | EntryKind::Refund(_));
        let moved = |entry: &Entry| entry.amount != 0 || !ends(&entry.kind);
        let time = |entry: &Entry| (!ends(&entry.kind)).then_some(entry.at);
        let told = |entry: Entry| (time(&entry), entry.kind, entry.amount, entry.balance);
        merged(entries).into_iter().filter(moved).map(told).collect::<Vec<_>>()
    };
    let (written, expected) =
        (ledgers[0].entries(&query).await.unwrap(), model.entries(&query).await.unwrap());
    assert!(written.iter().rev().zip(1..).all(|(entry, number)| entry.number == number));
    assert_eq!(moves(written), moves(expected), "{grant:?} {steps:#?}");
}
