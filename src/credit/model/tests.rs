//! Tests of the parts of the model that a ledger does not show.

use super::{Change, Label, Model};
use crate::account::{Allowance, CalendarUnit, Grant, GrantPeriod, Rollover};
use crate::amount::{ChargeId, Credits};
use crate::clock::Timestamp;
use crate::credit::{Adjusted, AdjustmentKind, BucketTerms};

const NOW: Timestamp = Timestamp::from_millis(1_777_550_400_000);

fn ignore(_: Change) {}

fn id(number: u128) -> ChargeId {
    ChargeId::from_bytes(number.to_be_bytes())
}

/// Returns the credits of an account with 10 credits in a bucket of its own, and 20 in the main bucket.
fn two_buckets() -> Model {
    let mut model = Model::new();
    model.open_with(Credits::new(20), NOW, &mut ignore);
    let terms = BucketTerms { priority: 7, ..BucketTerms::default() };
    let kind = AdjustmentKind::TopUpInto { amount: Credits::new(10), terms };
    let made = model.adjust(&kind, &"a".parse().unwrap(), &Allowance::None, &mut ignore);
    assert!(matches!(made, Adjusted::Done { .. }), "{made:?}");
    model
}

#[test]
fn uncommitted_part_of_the_main_bucket_is_last() {
    let mut model = two_buckets();
    let draws = model.charge(id(1), Credits::new(25), false, &mut ignore);
    let part = |committed| model.main_part_beyond(draws, id(1), committed);
    assert_eq!([0, 4, 10, 11, 24, 25, 90].map(part), [15, 15, 15, 14, 1, 0, 0]);
}

#[test]
fn charge_writes_a_change_for_each_bucket() {
    let (mut model, mut changes) = (two_buckets(), Vec::new());
    let _draws = model.charge(id(1), Credits::new(25), false, &mut |change| changes.push(change));
    let told: Vec<_> = changes.iter().map(|change| (change.amount, change.left, change.balance)).collect();
    assert_eq!(told, [(-10, 0, 20), (-15, 5, 5)]);
    assert_ne!(changes[0].bucket, Label::MAIN);
    assert_eq!(changes[1].bucket, Label::MAIN);
}

#[test]
fn refills_equal_one_refill_per_period() {
    let every = GrantPeriod::every(std::time::Duration::from_hours(1)).unwrap();
    for (least, most) in [(0, 0), (0, 7), (3, 7), (7, 7), (0, 100), (20, 45)] {
        let rollover = Rollover::new(Credits::new(least), Credits::new(most)).unwrap();
        for amount in [0, 1, 3, 10, 50] {
            let grant = Grant::new(Credits::new(amount), every.clone()).with_rollover(rollover);
            for left in [0, 1, 5, 10, 44, 46, 200] {
                let mut expected = left;
                for periods in 0..60 {
                    let found = grant.refilled(Credits::new(left), grant.amount(), periods);
                    assert_eq!(found, Credits::new(expected), "{grant:?} of {left} after {periods}");
                    expected = expected.max(amount + expected.clamp(least, most));
                }
            }
        }
    }
}

#[test]
fn missed_periods_are_counted_exactly() {
    for zone in ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu"] {
        for unit in [CalendarUnit::Hour, CalendarUnit::Day, CalendarUnit::Month] {
            let grant = Grant::new(Credits::new(1), GrantPeriod::calendar(unit, zone).unwrap());
            let due = grant.next_after("2011-11-20T12:34:56Z".parse().unwrap());
            let mut next = due;
            for periods in 1..=1_200 {
                next = grant.next_after(next);
                assert_eq!(grant.periods_between(due, next), periods, "{unit:?} in {zone}: {next}");
            }
        }
    }
}
