//! Credits.

use std::time::Duration;

use tollgate::account::{Allowance, Grant, GrantPeriod};
use tollgate::clock::{Now, Timestamp};
use tollgate::credit::{
    Abandoned, Adjusted, Adjustment, AdjustmentKind, Balance, Charge, ChargeId, Charged, CreditAdmin,
    EntryKind, EntryQuery, SqlLedger,
};
use tollgate::name::AccountId;
use tollgate::{Account, CreditLedger, Credits, StoreError};

use crate::database::{Place, both};

both!(
    two_hundred_tasks_spend_fifty_credits,
    charge_ends_once_on_any_node,
    charge_left_before_posting_is_not_posted,
    largest_amounts_do_not_wrap,
    concurrent_nodes_give_one_grant,
    clock_set_back_gives_no_second_grant,
    repeated_adjustment_is_made_once,
    balances_survive_a_restart,
);

pub(crate) const HOUR: i64 = 3_600_000;
const START: i64 = 1_777_550_400_000;

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

pub(crate) fn now(millis: i64) -> Now {
    Now::new(at(millis), Duration::from_secs(1))
}

pub(crate) fn number(id: u64) -> ChargeId {
    ChargeId::from_bytes(u128::from(id).to_be_bytes())
}

pub(crate) fn hourly(amount: u64) -> Allowance {
    let period = GrantPeriod::every(Duration::from_hours(1)).unwrap();
    Allowance::Grant(Grant::new(Credits::new(amount), period))
}

pub(crate) fn posted(left: u64) -> Charged {
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
    let balance = ledger
        .balance_of(&account.into(), &tollgate::credit::Currency::CREDITS, &Allowance::None, at(0))
        .await
        .unwrap();
    balance.credits().unwrap().get()
}

pub(crate) async fn nodes(place: &Place) -> [SqlLedger; 2] {
    [SqlLedger::new(&place.open().await), SqlLedger::new(&place.open().await)]
}

async fn two_hundred_tasks_spend_fifty_credits(place: Place) {
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

async fn charge_ends_once_on_any_node(place: Place) {
    let [one, two] = nodes(&place).await;
    let ada = Account::new("ada", "pro");
    let _ = top_up(&one, "ada", "a", 100).await;
    assert_eq!(charge(&one, &ada, 1, 30).await.unwrap(), posted(70));
    assert_eq!(charge(&two, &ada, 1, 30).await.unwrap(), posted(70), "once");
    two.refund(&crate::support::refund(&ada, number(1))).await.unwrap();
    for ledger in [&one, &two] {
        ledger.refund(&crate::support::refund(&ada, number(1))).await.unwrap();
        ledger.settle(&crate::support::settlement(&ada, number(1), Credits::new(30))).await.unwrap();
    }
    assert_eq!(balance(&one, "ada").await, 100);
    assert_eq!(charge(&one, &ada, 2, 30).await.unwrap(), posted(70));
    two.settle(&crate::support::settlement(&ada, number(2), Credits::new(10))).await.unwrap();
    one.refund(&crate::support::refund(&ada, number(2))).await.unwrap();
    one.settle(&crate::support::settlement(&ada, number(2), Credits::ZERO)).await.unwrap();
    assert_eq!(balance(&two, "ada").await, 90);
    assert_eq!(charge(&one, &ada, 3, 30).await.unwrap(), posted(60));
    one.settle(&crate::support::settlement(&ada, number(3), Credits::new(99))).await.unwrap();
    // A cost above the charge takes what is there.
    let entries = one.entries(&EntryQuery::newest("ada", 10)).await.unwrap();
    let told: Vec<_> = entries.iter().map(|entry| (entry.kind.name(), entry.amount)).collect();
    let expected = [
        ("overage", -60),
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

async fn charge_left_before_posting_is_not_posted(place: Place) {
    let [one, two] = nodes(&place).await;
    let ada = Account::new("ada", "pro");
    // Nothing is known of the account yet, and the end comes first.
    one.refund(&crate::support::refund(&ada, number(1))).await.unwrap();
    assert!(!one.erase_balance(&ada.id).await.unwrap(), "that is no balance");
    one.refund(&crate::support::refund(&ada, number(1))).await.unwrap();
    one.settle(&crate::support::settlement(&ada, number(2), Credits::new(5))).await.unwrap();
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
        ledger.refund(&crate::support::refund(&ada, number(id))).await.unwrap();
    }
    assert_eq!(charge(&one, &ada, 99, 1).await.unwrap(), posted(99));
    assert_eq!(two.close_abandoned(Duration::ZERO, Abandoned::Refund).await.unwrap(), 1, "that one alone");
    assert_eq!(balance(&one, "ada").await, 100);
    assert_eq!(one.audit().await.unwrap(), []);
}

/// A charge that finds the writer's queue full is never sent. Its refund would otherwise leave a row that bars it.
#[tokio::test]
async fn charge_without_room_leaves_nothing() {
    let place = Place::sqlite();
    let ledger = SqlLedger::new(&place.open().await);
    let ada = Account::new("ada", "pro");
    let _ = top_up(&ledger, "ada", "a", 10).await;
    // On this runtime of one thread, the writer's task does not run before this task waits.
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let (mut waiting, mut refused) = (Vec::new(), 0);
    for id in 1_000.. {
        let mut asked = Box::pin(charge(&ledger, &ada, id, 11));
        match asked.as_mut().poll(&mut context) {
            std::task::Poll::Pending => waiting.push(asked),
            std::task::Poll::Ready(answer) => {
                answer.unwrap_err();
                refused = id;
                break;
            }
        }
    }
    for asked in waiting {
        assert_eq!(asked.await.unwrap(), Charged::Insufficient { balance: Credits::new(10) });
    }
    ledger.refund(&crate::support::refund(&ada, number(refused))).await.unwrap();
    assert_eq!(ledger.forget_closed(Duration::ZERO).await.unwrap(), 0, "no row");
    // The same id may be charged later, and is then refunded like any other.
    assert_eq!(charge(&ledger, &ada, refused, 4).await.unwrap(), posted(6));
    ledger.refund(&crate::support::refund(&ada, number(refused))).await.unwrap();
    assert_eq!(balance(&ledger, "ada").await, 10);
    assert_eq!(ledger.forget_closed(Duration::ZERO).await.unwrap(), 1);
}

async fn largest_amounts_do_not_wrap(place: Place) {
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
    ledger.refund(&crate::support::refund(&ada, number(2))).await.unwrap();
    assert_eq!(balance(&ledger, "ada").await, max);
    assert_eq!(ledger.audit().await.unwrap(), []);
}

async fn concurrent_nodes_give_one_grant(place: Place) {
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

async fn clock_set_back_gives_no_second_grant(place: Place) {
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

async fn repeated_adjustment_is_made_once(place: Place) {
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

async fn balances_survive_a_restart(place: Place) {
    let database = place.open().await;
    let ledger = SqlLedger::new(&database);
    let _ = top_up(&ledger, "ada", "a", 100).await;
    assert_eq!(charge(&ledger, &Account::new("ada", "pro"), 1, 30).await.unwrap(), posted(70));
    database.close().await;
    assert!(charge(&ledger, &Account::new("ada", "pro"), 2, 1).await.is_err());
    let ledger = SqlLedger::new(&place.open().await);
    assert_eq!(balance(&ledger, "ada").await, 70);
    ledger.refund(&crate::support::refund(&Account::new("ada", "pro"), number(1))).await.unwrap();
    assert_eq!(balance(&ledger, "ada").await, 100);
}
