//! Credits.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use tollgate::{
    Abandoned, Account, AccountId, Adjusted, Adjustment, AdjustmentKind, Allowance, Balance, Charge,
    ChargeId, Charged, CreditAdmin, CreditLedger, Credits, Entry, EntryKind, EntryQuery, Grant, GrantPeriod,
    MemoryLedger, Now, SqlLedger, StoreError, Timestamp,
};

use crate::place::{Place, both};

both!(
    every_sequence_is_answered_as_in_memory,
    case_130_two_hundred_tasks_for_fifty_credits,
    case_133_a_charge_ends_once_on_whatever_node,
    case_134_a_charge_whose_caller_left_before_it_was_posted_never_is,
    case_136_what_a_dead_node_left_open_is_closed_once,
    case_139_the_largest_amounts_do_not_wrap,
    case_142_nodes_that_grant_at_once_grant_once,
    case_143_a_clock_that_steps_back_grants_nothing_twice,
    one_adjustment_sent_by_many_nodes_is_made_once,
    an_audit_finds_what_was_tampered_with,
    what_was_closed_long_ago_is_forgotten,
    an_erased_balance_begins_anew,
    balances_outlive_the_process_that_made_them,
);

const HOUR: i64 = 3_600_000;
const START: i64 = 1_777_550_400_000;

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

fn now(millis: i64) -> Now {
    Now::new(at(millis), Duration::from_secs(1))
}

pub(crate) fn number(id: u64) -> ChargeId {
    ChargeId::from_bytes(u128::from(id).to_be_bytes())
}

fn hourly(amount: u64) -> Allowance {
    let period = GrantPeriod::every(Duration::from_hours(1)).unwrap();
    Allowance::Grant(Grant::new(Credits::new(amount), period))
}

fn posted(left: u64) -> Charged {
    Charged::Posted { balance: Some(Credits::new(left)) }
}

pub(crate) async fn charge(
    ledger: &dyn CreditLedger,
    account: &Account,
    id: u64,
    amount: u64,
) -> Result<Charged, StoreError> {
    ledger.charge(&Charge::new(number(id), account, Credits::new(amount), &Allowance::None, now(0))).await
}

pub(crate) async fn top_up(ledger: &SqlLedger, account: &str, id: &str, amount: u64) -> Adjusted {
    let (account, kind) = (AccountId::from(account), AdjustmentKind::TopUp(Credits::new(amount)));
    let asked = Adjustment::new(id.parse().unwrap(), &account, kind, &Allowance::None, at(0));
    ledger.adjust(&asked).await.unwrap()
}

pub(crate) async fn balance(ledger: &SqlLedger, account: &str) -> u64 {
    let balance = ledger.balance_of(&account.into(), &Allowance::None, at(0)).await.unwrap();
    balance.credits().unwrap().get()
}

async fn nodes(place: &Place) -> [SqlLedger; 2] {
    [SqlLedger::new(&place.open().await), SqlLedger::new(&place.open().await)]
}

#[derive(Debug, Clone)]
enum Step {
    Charge(u64, u64),
    Settle(u64, u64),
    Refund(u64),
    Adjust(u64, AdjustmentKind),
    Wait(i64),
    Erase,
}

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
    for case in 0..24 {
        let steps = steps.new_tree(&mut runner).unwrap().current();
        let grant = grants.new_tree(&mut runner).unwrap().current();
        compare(&ledgers, &Account::new(format!("case {case}"), "pro"), &steps, grant).await;
    }
    assert_eq!(ledgers[0].audit().await.unwrap(), []);
}

async fn compare(ledgers: &[SqlLedger; 2], account: &Account, steps: &[Step], grant: Option<u64>) {
    let (model, allowance) = (MemoryLedger::with_entries(1_000), grant.map_or(Allowance::None, hourly));
    let (mut time, mut closed) = (0, HashSet::new());
    for (place, step) in steps.iter().enumerate() {
        let (ledger, told) = (&ledgers[place % 2], format!("{step:?} at {place} of {grant:?} {steps:#?}"));
        match step {
            Step::Charge(id, _) if closed.contains(id) => {}
            Step::Charge(id, amount) => {
                let charge = Charge::new(number(*id), account, Credits::new(*amount), &allowance, now(time));
                let expected = model.charge(&charge).await.unwrap();
                assert_eq!(ledger.charge(&charge).await.unwrap(), expected, "{told}");
            }
            Step::Settle(id, cost) => {
                closed.insert(*id);
                model.settle(account, number(*id), Credits::new(*cost)).await.unwrap();
                ledger.settle(account, number(*id), Credits::new(*cost)).await.unwrap();
            }
            Step::Refund(id) => {
                closed.insert(*id);
                model.refund(account, number(*id)).await.unwrap();
                ledger.refund(account, number(*id)).await.unwrap();
            }
            Step::Adjust(id, kind) => {
                let id = id.to_string().parse().unwrap();
                let asked = Adjustment::new(id, &account.id, *kind, &allowance, at(time));
                let expected = model.adjust(&asked).await.unwrap();
                assert_eq!(ledger.adjust(&asked).await.unwrap(), expected, "{told}");
            }
            Step::Wait(millis) => time += millis,
            Step::Erase => {
                closed.clear();
                model.erase_balance(&account.id).await.unwrap();
                ledger.erase_balance(&account.id).await.unwrap();
            }
        }
        let expected = model.balance_of(&account.id, &allowance, at(time)).await.unwrap();
        assert_eq!(ledger.balance_of(&account.id, &allowance, at(time)).await.unwrap(), expected, "{told}");
    }
    let query = EntryQuery::newest(account.id.clone(), 1_000);
    let moves = |entries: Vec<Entry>| {
        // The end of a charge names no time: it may bear any that the account was seen at.
        let ends = |kind: &EntryKind| matches!(kind, EntryKind::Settlement(_) | EntryKind::Refund(_));
        let moved = |entry: &Entry| entry.amount != 0 || !ends(&entry.kind);
        let time = |entry: &Entry| (!ends(&entry.kind)).then_some(entry.at);
        let told = |entry: Entry| (time(&entry), entry.kind, entry.amount, entry.balance);
        entries.into_iter().filter(moved).map(told).collect::<Vec<_>>()
    };
    let (written, expected) =
        (ledgers[0].entries(&query).await.unwrap(), model.entries(&query).await.unwrap());
    assert!(written.iter().rev().zip(1..).all(|(entry, number)| entry.number == number));
    assert_eq!(moves(written), moves(expected), "{grant:?} {steps:#?}");
}

async fn case_130_two_hundred_tasks_for_fifty_credits(place: Place) {
    let ledgers = nodes(&place).await;
    let _ = top_up(&ledgers[0], "ada", "a", 50).await;
    let task = |id: u64| {
        let ledger = ledgers[usize::from(id.is_multiple_of(2))].clone();
        tokio::spawn(async move { charge(&ledger, &Account::new("ada", "pro"), id, 1).await.unwrap() })
    };
    let mut answers = Vec::new();
    for task in (0..200).map(task).collect::<Vec<_>>() {
        answers.push(task.await.unwrap());
    }
    let served = answers.iter().filter(|answer| matches!(answer, Charged::Posted { .. })).count();
    assert_eq!(served, 50);
    let refused = Charged::Insufficient { balance: Credits::ZERO };
    assert_eq!(answers.iter().filter(|answer| **answer == refused).count(), 150);
    assert_eq!(balance(&ledgers[0], "ada").await, 0);
    assert_eq!(ledgers[1].audit().await.unwrap(), []);
}

async fn case_133_a_charge_ends_once_on_whatever_node(place: Place) {
    let [one, two] = nodes(&place).await;
    let ada = Account::new("ada", "pro");
    let _ = top_up(&one, "ada", "a", 100).await;
    assert_eq!(charge(&one, &ada, 1, 30).await.unwrap(), posted(70));
    assert_eq!(charge(&two, &ada, 1, 30).await.unwrap(), posted(70), "once");
    two.refund(&ada, number(1)).await.unwrap();
    for ledger in [&one, &two] {
        ledger.refund(&ada, number(1)).await.unwrap();
        ledger.settle(&ada, number(1), Credits::new(30)).await.unwrap();
    }
    assert_eq!(balance(&one, "ada").await, 100);
    assert_eq!(charge(&one, &ada, 2, 30).await.unwrap(), posted(70));
    two.settle(&ada, number(2), Credits::new(10)).await.unwrap();
    one.refund(&ada, number(2)).await.unwrap();
    one.settle(&ada, number(2), Credits::ZERO).await.unwrap();
    assert_eq!(balance(&two, "ada").await, 90);
    assert_eq!(charge(&one, &ada, 3, 30).await.unwrap(), posted(60));
    one.settle(&ada, number(3), Credits::new(99)).await.unwrap();
    // A charge, its end, and the adjustment: an entry for each.
    let entries = one.entries(&EntryQuery::newest("ada", 10)).await.unwrap();
    let told: Vec<_> = entries.iter().map(|entry| (entry.kind.name(), entry.amount)).collect();
    let expected = [
        ("settlement", 0),
        ("charge", -30),
        ("settlement", 20),
        ("charge", -30),
        ("refund", 30),
        ("charge", -30),
        ("top-up", 100),
    ];
    assert_eq!(told, expected);
    // Whether a charge that has ended is asked for again, or another account's bears its number.
    assert!(charge(&one, &ada, 3, 30).await.is_err(), "it is known, and not taken again");
    let _ = top_up(&one, "bob", "a", 10).await;
    assert_eq!(charge(&one, &Account::new("bob", "pro"), 3, 4).await.unwrap(), posted(6));
    assert_eq!(one.audit().await.unwrap(), []);
}

async fn case_134_a_charge_whose_caller_left_before_it_was_posted_never_is(place: Place) {
    let [one, two] = nodes(&place).await;
    let ada = Account::new("ada", "pro");
    // Nothing is known of the account yet, and the end comes first.
    one.refund(&ada, number(1)).await.unwrap();
    assert!(!one.erase_balance(&ada.id).await.unwrap(), "that is no balance");
    one.refund(&ada, number(1)).await.unwrap();
    one.settle(&ada, number(2), Credits::new(5)).await.unwrap();
    let _ = top_up(&two, "ada", "a", 100).await;
    assert!(charge(&two, &ada, 1, 30).await.is_err());
    assert!(charge(&one, &ada, 2, 30).await.is_err());
    assert_eq!(balance(&one, "ada").await, 100);
    // A caller that leaves while the charge is on its way, and whose guard refunds it.
    for id in 10..60 {
        let mut asked = Box::pin(charge(&one, &ada, id, 1));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _under_way = asked.as_mut().poll(&mut context);
        drop(asked);
        let ledger = if id.is_multiple_of(2) { &one } else { &two };
        ledger.refund(&ada, number(id)).await.unwrap();
    }
    assert_eq!(charge(&one, &ada, 99, 1).await.unwrap(), posted(99));
    assert_eq!(two.close_abandoned(at(1), Abandoned::Refund).await.unwrap(), 1, "that one alone");
    assert_eq!(balance(&one, "ada").await, 100);
    assert_eq!(one.audit().await.unwrap(), []);
}

async fn case_136_what_a_dead_node_left_open_is_closed_once(place: Place) {
    let [dead, alive] = nodes(&place).await;
    let (ada, bob) = (Account::new("ada", "pro"), Account::new("bob", "pro"));
    for account in ["ada", "bob"] {
        let _ = top_up(&dead, account, "a", 1_000).await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for id in 0..300 {
        let (ledger, account) = (dead.clone(), if id < 200 { ada.clone() } else { bob.clone() });
        tasks.spawn(async move { charge(&ledger, &account, id, 2).await.unwrap() });
    }
    tasks.join_all().await;
    dead.settle(&ada, number(7), Credits::new(1)).await.unwrap();
    drop(dead);
    assert_eq!(alive.close_abandoned(at(0), Abandoned::Refund).await.unwrap(), 0, "before is before");
    let other = SqlLedger::new(&place.open().await);
    let (one, two) = tokio::join!(
        alive.close_abandoned(at(1), Abandoned::Refund),
        other.close_abandoned(at(1), Abandoned::Refund)
    );
    assert_eq!(one.unwrap() + two.unwrap(), 299);
    assert_eq!((balance(&alive, "ada").await, balance(&alive, "bob").await), (999, 1_000));
    assert_eq!(charge(&alive, &ada, 1_000, 9).await.unwrap(), posted(990));
    assert_eq!(alive.close_abandoned(at(1), Abandoned::Settle).await.unwrap(), 1);
    alive.refund(&ada, number(1_000)).await.unwrap();
    assert_eq!(balance(&alive, "ada").await, 990, "it stands");
    assert_eq!(alive.audit().await.unwrap(), []);
}

async fn case_139_the_largest_amounts_do_not_wrap(place: Place) {
    let [ledger, _] = nodes(&place).await;
    let (ada, max) = (Account::new("ada", "pro"), Credits::MAX.get());
    assert_eq!(
        charge(&ledger, &ada, 1, max).await.unwrap(),
        Charged::Insufficient { balance: Credits::ZERO }
    );
    let _ = top_up(&ledger, "ada", "a", max).await;
    assert!(matches!(top_up(&ledger, "ada", "b", 1).await, Adjusted::TooMuch { .. }));
    assert_eq!(charge(&ledger, &ada, 2, max).await.unwrap(), posted(0));
    assert!(matches!(top_up(&ledger, "ada", "c", 1).await, Adjusted::TooMuch { .. }), "it may come back");
    ledger.refund(&ada, number(2)).await.unwrap();
    assert_eq!(balance(&ledger, "ada").await, max);
    assert_eq!(ledger.audit().await.unwrap(), []);
}

async fn case_142_nodes_that_grant_at_once_grant_once(place: Place) {
    let ledgers = nodes(&place).await;
    let allowance = hourly(100);
    for turn in 0..3_i64 {
        let mut tasks = tokio::task::JoinSet::new();
        for id in 0..150_u64 {
            let (ledger, allowance) = (ledgers[usize::from(id.is_multiple_of(2))].clone(), allowance.clone());
            tasks.spawn(async move {
                let (account, id) = (Account::new("demo", "demo"), number(turn.cast_unsigned() * 1_000 + id));
                let charge = Charge::new(id, &account, Credits::new(1), &allowance, now(turn * HOUR));
                matches!(ledger.charge(&charge).await.unwrap(), Charged::Posted { .. })
            });
        }
        let served = tasks.join_all().await.into_iter().filter(|served| *served).count();
        assert_eq!(served, 100, "a hundred each hour, and not one more");
    }
    let entries = ledgers[0].entries(&EntryQuery::newest("demo", 1_000)).await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.kind == EntryKind::Grant).count(), 3);
    assert_eq!(ledgers[0].audit().await.unwrap(), []);
}

async fn case_143_a_clock_that_steps_back_grants_nothing_twice(place: Place) {
    let [one, two] = nodes(&place).await;
    let (account, allowance) = (Account::new("ada", "pro"), hourly(10));
    let times =
        [(&one, 0, 9), (&two, -5 * HOUR, 8), (&one, HOUR - 1, 7), (&two, HOUR, 9), (&one, HOUR - 1, 8)];
    let more = [
        (&two, 0, 7),
        (&one, HOUR, 6),
        (&two, 9 * HOUR + 5, 9),
        (&one, 9 * HOUR - 1, 8),
        (&two, 10 * HOUR, 9),
    ];
    for (id, (ledger, time, left)) in (0..).zip(times.into_iter().chain(more)) {
        let charge = Charge::new(number(id), &account, Credits::new(1), &allowance, now(time));
        assert_eq!(ledger.charge(&charge).await.unwrap(), posted(left), "at {time}");
    }
}

async fn one_adjustment_sent_by_many_nodes_is_made_once(place: Place) {
    let ledgers = nodes(&place).await;
    let mut tasks = tokio::task::JoinSet::new();
    for sender in 0..40_usize {
        let ledger = ledgers[sender % 2].clone();
        tasks.spawn(async move { top_up(&ledger, "ada", "invoice", 3).await });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Adjusted::Done { .. })).count(), 1);
    let balance = Balance::Limited(Credits::new(3));
    assert_eq!(answers.iter().filter(|answer| **answer == Adjusted::Repeated { balance }).count(), 39);
    let made = AdjustmentKind::TopUp(Credits::new(3));
    assert_eq!(top_up(&ledgers[0], "ada", "invoice", 4).await, Adjusted::Conflict { made });
}

async fn an_audit_finds_what_was_tampered_with(place: Place) {
    let [ledger, _] = nodes(&place).await;
    for account in 0..150 {
        let _ = top_up(&ledger, &format!("{account:03}"), "a", 10).await;
    }
    let ada = Account::new("149", "pro");
    assert_eq!(charge(&ledger, &ada, 1, 4).await.unwrap(), posted(6));
    assert_eq!(ledger.audit().await.unwrap(), []);
    let found = async |words: &str, back: &str| {
        place.say(words).await;
        let found = ledger.audit().await.unwrap();
        place.say(back).await;
        assert_eq!(ledger.audit().await.unwrap(), []);
        assert_eq!(found.len(), 1, "{words}: {found:?}");
        assert_eq!(found[0].account, ada.id);
        (found[0].balance, found[0].entries, found[0].held, found[0].open, found[0].broken)
    };
    let set = |what: &str| format!("UPDATE tollgate_balances SET {what} WHERE account = '149'");
    assert_eq!(found(&set("balance = 7"), &set("balance = 6")).await, (7, 6, 4, 4, 0));
    assert_eq!(found(&set("held = 0"), &set("held = 4")).await, (6, 6, 0, 4, 0));
    assert_eq!(found(&set("entries = 3"), &set("entries = 2")).await, (6, 6, 4, 4, 2));
    let entry =
        |what: &str| format!("UPDATE tollgate_entries SET {what} WHERE account = '149' AND kind = 'charge'");
    assert_eq!(found(&entry("amount = -5"), &entry("amount = -4")).await, (6, 5, 4, 4, 1));
    assert_eq!(found(&entry("balance = 5"), &entry("balance = 6")).await, (6, 6, 4, 4, 1));
    let charge = |what: &str| format!("UPDATE tollgate_charges SET {what} WHERE account = '149'");
    assert_eq!(found(&charge("amount = 5"), &charge("amount = 4")).await, (6, 6, 4, 5, 0));
}

async fn what_was_closed_long_ago_is_forgotten(place: Place) {
    let [ledger, _] = nodes(&place).await;
    let ada = Account::new("ada", "pro");
    let _ = top_up(&ledger, "ada", "a", 1_000).await;
    for id in 0..30 {
        let _ = charge(&ledger, &ada, id, 1).await.unwrap();
        if id >= 10 {
            ledger.settle(&ada, number(id), Credits::new(1)).await.unwrap();
        }
    }
    assert_eq!(ledger.forget_closed(Timestamp::from_millis(0)).await.unwrap(), 0);
    assert_eq!(ledger.forget_closed(Timestamp::from_millis(i64::MAX)).await.unwrap(), 20);
    assert_eq!(place.say("SELECT count(*) FROM tollgate_charges").await, "10", "open ones stay");
    assert_eq!(ledger.close_abandoned(at(1), Abandoned::Refund).await.unwrap(), 10);
    assert_eq!(balance(&ledger, "ada").await, 980);
    assert_eq!(ledger.audit().await.unwrap(), []);
}

async fn an_erased_balance_begins_anew(place: Place) {
    let [one, two] = nodes(&place).await;
    let ada = Arc::new(Account::new("ada", "pro"));
    let _ = top_up(&one, "ada", "a", 100).await;
    let _ = top_up(&one, "bob", "a", 5).await;
    assert_eq!(charge(&one, &ada, 1, 30).await.unwrap(), posted(70));
    assert!(two.erase_balance(&ada.id).await.unwrap());
    assert!(!two.erase_balance(&ada.id).await.unwrap());
    one.refund(&ada, number(1)).await.unwrap();
    assert_eq!(balance(&one, "ada").await, 0);
    assert!(one.entries(&EntryQuery::newest("ada", 9)).await.unwrap().is_empty());
    assert!(matches!(top_up(&one, "ada", "a", 7).await, Adjusted::Done { .. }), "its ids are free again");
    assert_eq!((balance(&two, "ada").await, balance(&two, "bob").await), (7, 5));
    // Charges that race with the end of an account take nothing from the one that begins anew.
    let mut tasks = tokio::task::JoinSet::new();
    for id in 100..160 {
        let (ledger, ada) = (if id % 2 == 0 { one.clone() } else { two.clone() }, Arc::clone(&ada));
        tasks.spawn(async move {
            if id % 10 == 0 {
                ledger.erase_balance(&ada.id).await.unwrap();
                let _ = top_up(&ledger, "ada", &id.to_string(), 5).await;
            } else {
                let _ = charge(&ledger, &ada, id, 1).await;
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(one.audit().await.unwrap(), []);
}

async fn balances_outlive_the_process_that_made_them(place: Place) {
    let database = place.open().await;
    let ledger = SqlLedger::new(&database);
    let _ = top_up(&ledger, "ada", "a", 100).await;
    assert_eq!(charge(&ledger, &Account::new("ada", "pro"), 1, 30).await.unwrap(), posted(70));
    database.close().await;
    assert!(charge(&ledger, &Account::new("ada", "pro"), 2, 1).await.is_err());
    let ledger = SqlLedger::new(&place.open().await);
    assert_eq!(balance(&ledger, "ada").await, 70);
    ledger.refund(&Account::new("ada", "pro"), number(1)).await.unwrap();
    assert_eq!(balance(&ledger, "ada").await, 100);
}
