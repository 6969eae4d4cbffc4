//! Balances changed by hand while they are spent, against sums kept by hand: credits are conserved, never negative, and
//! the entries say how they moved.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future as _;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tollgate::account::{Allowance, ExpiredRefunds, Grant, GrantPeriod, Overage};
use tollgate::clock::Timestamp;
use tollgate::credit::{
    Adjusted, Adjustment, AdjustmentId, AdjustmentKind, Balance, Charge, ChargeId, Charged, CreditAdmin,
    Entry, EntryQuery,
};
use tollgate::name::AccountId;
use tollgate::{Account, Clock, CreditLedger, Credits, ManualClock, MemoryLedger, StoreFuture};

use crate::support::naive_credits::Naive;

const MAX: u64 = Credits::MAX.get();

#[derive(Debug, Clone)]
enum Step {
    Charge(u64, u64),
    Settle(u64, u64),
    Refund(u64),
    Adjust(u64, AdjustmentKind),
    Wait(u64),
    Erase,
}

fn amount() -> impl Strategy<Value = Credits> {
    prop_oneof![9 => 0_u64..120, 1 => MAX - 100..=MAX].prop_map(Credits::new)
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        4 => amount().prop_map(AdjustmentKind::TopUp),
        3 => amount().prop_map(AdjustmentKind::Deduct),
        2 => amount().prop_map(AdjustmentKind::Set),
        1 => Just(AdjustmentKind::MakeUnlimited),
    ];
    prop_oneof![
        12 => (0_u64..12, 1_u64..60).prop_map(|(id, amount)| Step::Charge(id, amount)),
        5 => (0_u64..12, 0_u64..80).prop_map(|(id, cost)| Step::Settle(id, cost)),
        5 => (0_u64..12).prop_map(Step::Refund),
        10 => (0_u64..24, kind).prop_map(|(id, kind)| Step::Adjust(id, kind)),
        4 => (0_u64..2 * 3_600).prop_map(Step::Wait),
        1 => Just(Step::Erase),
    ]
}

fn shown(balance: Option<u64>) -> Balance {
    balance.map_or(Balance::Unlimited, |balance| Balance::Limited(Credits::new(balance)))
}

fn number(id: u64) -> ChargeId {
    ChargeId::from_bytes(u128::from(id).to_be_bytes())
}

fn id(text: &str) -> AdjustmentId {
    text.parse().unwrap()
}

/// A ledger in memory answers at once.
fn ready<T>(future: StoreFuture<T>) -> T {
    assert!(future.is_ready());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(answer) => answer.unwrap(),
        std::task::Poll::Pending => unreachable!("a ready answer is there"),
    }
}

fn hourly(amount: u64) -> Allowance {
    let period = GrantPeriod::every(Duration::from_hours(1)).unwrap();
    Allowance::Grant(Grant::new(Credits::new(amount), period))
}

fn entries(ledger: &MemoryLedger, account: &AccountId) -> Vec<Entry> {
    ready(ledger.entries(&EntryQuery::newest(account.clone(), usize::MAX)))
}

/// Each entry's balance is the one before plus its amount, and the last one is what there is.
fn check_chain(entries: &[Entry], balance: Balance) {
    let sum = |balance: Balance| i128::from(balance.credits().map_or(0, Credits::get));
    let mut before = 0_i128;
    for (place, entry) in entries.iter().rev().enumerate() {
        assert_eq!(entry.number, place as u64 + 1);
        assert_eq!(before + i128::from(entry.amount), sum(entry.balance), "{entry:?}");
        before = sum(entry.balance);
    }
    assert_eq!(entries.first().map_or(0, |last| sum(last.balance)), sum(balance));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn charges_and_adjustments_match_the_model(
        steps in prop::collection::vec(step(), 1..100),
        grant in prop::option::of(prop_oneof![9 => 0_u64..150, 1 => Just(MAX)]),
        shared in any::<bool>(),
    ) {
        let clock = ManualClock::starting_at("2026-04-30T12:00:00Z".parse().unwrap());
        let (ledger, account) = (MemoryLedger::with_entries(1_000), Account::new("ada", "pro"));
        let allowance = grant.map_or(Allowance::None, hourly);
        let mut model = Naive::new();
        for step in steps {
            // A record that was read anew has none of the pointers that a ledger keeps.
            let fresh = account.clone();
            let account = if shared { &account } else { &fresh };
            let (now, wall) = (clock.now(), clock.now().wall());
            match step {
                Step::Charge(id, amount) => {
                    let amount_of = Credits::new(amount);
                    let charge = Charge::new(number(id), account, amount_of, &allowance, now);
                    model.call(&allowance, wall);
                    prop_assert_eq!(ready(ledger.charge(&charge)), model.charge(id, amount, None, wall));
                }
                Step::Settle(id, cost) => {
                    ready(ledger.settle(&crate::support::settlement(account, number(id), Credits::new(cost))));
                    model.close(id, cost, Overage::Cap, ExpiredRefunds::Forfeit);
                }
                Step::Refund(id) => {
                    ready(ledger.refund(&crate::support::refund(account, number(id))));
                    model.close(id, 0, Overage::Cap, ExpiredRefunds::Forfeit);
                }
                Step::Adjust(number, kind) => {
                    if !model.knows(number) {
                        model.call(&allowance, wall);
                    }
                    let expected = model.adjust(number, &kind, wall);
                    let asked = Adjustment::new(id(&number.to_string()), &account.id, kind, &allowance, wall);
                    prop_assert_eq!(ready(ledger.adjust(&asked)), expected);
                }
                Step::Wait(seconds) => clock.advance(Duration::from_secs(seconds)),
                Step::Erase => {
                    ready(ledger.erase_balance(&account.id));
                    model = Naive::new();
                }
            }
            let open = i128::from(model.held());
            prop_assert_eq!(
                model.put_in,
                model.total() + open + model.spent,
                "the model conserves"
            );
            prop_assert_eq!(ledger.open_charges("ada"), model.open.len());
            let written = entries(&ledger, &account.id);
            check_chain(&written, model.balance());
            let wall = clock.now().wall();
            let mut later = model.clone();
            later.call(&allowance, wall);
            prop_assert_eq!(ready(ledger.balance_of(&account.id, &tollgate::credit::Currency::CREDITS, &allowance, wall)), later.balance());
            prop_assert_eq!(entries(&ledger, &account.id), written, "a look writes nothing");
        }
    }
}

const START: Timestamp = Timestamp::from_millis(1_777_550_400_000);

fn adjust(ledger: &MemoryLedger, account: &AccountId, number: &str, kind: AdjustmentKind) -> Adjusted {
    ready(ledger.adjust(&Adjustment::new(id(number), account, kind, &Allowance::None, START)))
}

#[test]
fn old_entries_and_adjustments_are_dropped() {
    let (ledger, ada) = (MemoryLedger::with_entries(32), AccountId::from("ada"));
    let one = AdjustmentKind::TopUp(Credits::new(1));
    for number in 0..1_024 {
        assert!(matches!(adjust(&ledger, &ada, &number.to_string(), one.clone()), Adjusted::Done { .. }));
    }
    let first = Balance::Limited(Credits::new(1));
    assert_eq!(adjust(&ledger, &ada, "0", one.clone()), Adjusted::Repeated { balance: first });
    assert!(matches!(adjust(&ledger, &ada, "1024", one.clone()), Adjusted::Done { .. }));
    assert!(
        matches!(adjust(&ledger, &ada, "0", one.clone()), Adjusted::Done { .. }),
        "the oldest is forgotten"
    );
    let written = entries(&ledger, &ada);
    assert_eq!((written.len(), written[0].number, written[31].number), (32, 1_026, 995));
    let mut query = EntryQuery::newest("ada", 10);
    query.before = Some(1_000);
    let page: Vec<u64> = ready(ledger.entries(&query)).iter().map(|entry| entry.number).collect();
    assert_eq!(page, [999, 998, 997, 996, 995]);
    let none = MemoryLedger::with_entries(0);
    assert!(matches!(adjust(&none, &ada, "0", one.clone()), Adjusted::Done { .. }));
    assert!(entries(&none, &ada).is_empty());
}

#[test]
fn accounts_share_the_room_for_entries() {
    let ledger = MemoryLedger::with_entries(8);
    let one = AdjustmentKind::TopUp(Credits::new(1));
    let [ada, bob] = ["ada", "bob"].map(AccountId::from);
    for number in 0..5 {
        for account in [&ada, &bob] {
            assert!(matches!(
                adjust(&ledger, account, &number.to_string(), one.clone()),
                Adjusted::Done { .. }
            ));
        }
    }
    for account in [&ada, &bob] {
        let numbers: Vec<u64> = entries(&ledger, account).iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, [5, 4, 3, 2], "the last four of each, newest first");
    }
    assert!(ready(ledger.erase_balance(&ada)));
    assert!(entries(&ledger, &ada).is_empty());
    assert_eq!(entries(&ledger, &bob).len(), 4);
    assert_eq!(ready(ledger.forget_entries(Timestamp::from_millis(i64::MAX))), 3);
    assert_eq!(entries(&ledger, &bob).len(), 1);
}

#[test]
fn refund_while_unlimited_adds_nothing() {
    let (ledger, account) = (MemoryLedger::new(), Account::new("ada", "pro"));
    let clock = ManualClock::starting_at(START);
    let charge = |number: u64| {
        let charge =
            Charge::new(self::number(number), &account, Credits::new(5), &Allowance::None, clock.now());
        ready(ledger.charge(&charge))
    };
    let _ = adjust(&ledger, &account.id, "a", AdjustmentKind::TopUp(Credits::new(20)));
    let posted = |left: Option<u64>| Charged::Posted { balance: left.map(Credits::new) };
    assert_eq!((charge(1), charge(2)), (posted(Some(15)), posted(Some(10))));
    let _ = adjust(&ledger, &account.id, "b", AdjustmentKind::MakeUnlimited);
    assert_eq!(charge(3), posted(None));
    assert_eq!(ledger.balance("ada"), None);
    ready(ledger.refund(&crate::support::refund(&account, number(1))));
    let _ = adjust(&ledger, &account.id, "c", AdjustmentKind::Set(Credits::new(50)));
    ready(ledger.refund(&crate::support::refund(&account, number(1))));
    ready(ledger.refund(&crate::support::refund(&account, number(3))));
    assert_eq!(ledger.balance("ada"), Some(Credits::new(50)));
    ready(ledger.refund(&crate::support::refund(&account, number(2))));
    assert_eq!(ledger.balance("ada"), Some(Credits::new(55)));
    check_chain(&entries(&ledger, &account.id), shown(Some(55)));
}

#[test]
fn unlimited_plan_keeps_the_balance() {
    let (ledger, ada) = (MemoryLedger::new(), AccountId::from("ada"));
    let _ = adjust(&ledger, &ada, "a", AdjustmentKind::TopUp(Credits::new(20)));
    assert_eq!(
        ready(ledger.balance_of(&ada, &tollgate::credit::Currency::CREDITS, &Allowance::Unlimited, START)),
        Balance::Unlimited
    );
    assert_eq!(
        ready(ledger.balance_of(&ada, &tollgate::credit::Currency::CREDITS, &Allowance::None, START)),
        shown(Some(20))
    );
    let nobody = AccountId::from("nobody");
    assert_eq!(
        ready(ledger.balance_of(&nobody, &tollgate::credit::Currency::CREDITS, &hourly(7), START)),
        shown(Some(7))
    );
    assert!(!ready(ledger.erase_balance(&nobody)), "a look opens no balance");
}

#[test]
fn concurrent_adjustments_keep_the_sum() {
    let ledger = Arc::new(MemoryLedger::with_entries(1_600_000));
    let account = Arc::new(Account::new("ada", "pro"));
    let clock = ManualClock::starting_at(START);
    let worker = |worker: u64| {
        let (ledger, account, clock) = (Arc::clone(&ledger), Arc::clone(&account), clock.clone());
        std::thread::spawn(move || {
            let (mut added, mut spent) = (0_i128, 0_i128);
            for turn in 0..2_000_u64 {
                let charge_id = number(worker * 10_000 + turn);
                let amount = Credits::new(turn % 7 + 1);
                let charge = Charge::new(charge_id, &account, amount, &Allowance::None, clock.now());
                if matches!(ready(ledger.charge(&charge)), Charged::Posted { .. }) {
                    if turn % 3 == 0 {
                        ready(ledger.refund(&crate::support::refund(&account, charge_id)));
                    } else {
                        spent += i128::from(amount.get());
                        ready(ledger.settle(&crate::support::settlement(&account, charge_id, amount)));
                    }
                }
                // Both of two workers make the same adjustment: it is made once.
                let up = turn % 2 == 0;
                let kind = if up { AdjustmentKind::TopUp(amount) } else { AdjustmentKind::Deduct(amount) };
                if turn % 4 < 3 {
                    let done = adjust(&ledger, &account.id, &format!("{}-{turn}", worker / 2), kind);
                    let signed = i128::from(amount.get());
                    if matches!(done, Adjusted::Done { .. }) {
                        added += if up { signed } else { -signed };
                    }
                }
            }
            (added, spent)
        })
    };
    let workers: Vec<_> = (0..4).map(worker).collect();
    let sums: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
    let (added, spent) = sums.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let balance = ledger.balance("ada").unwrap();
    assert_eq!(added, i128::from(balance.get()) + spent);
    assert_eq!(ledger.open_charges("ada"), 0);
    check_chain(&entries(&ledger, &account.id), Balance::Limited(balance));
}

#[test]
fn repeated_adjustment_is_made_once() {
    let ledger = Arc::new(MemoryLedger::new());
    for round in 0..200 {
        let ada = AccountId::from("ada");
        let send = |_| {
            let (ledger, ada) = (Arc::clone(&ledger), ada.clone());
            std::thread::spawn(move || {
                adjust(&ledger, &ada, &round.to_string(), AdjustmentKind::TopUp(Credits::new(3)))
            })
        };
        let senders: Vec<_> = (0..8).map(send).collect();
        let answers: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
        let done = answers.iter().filter(|answer| matches!(answer, Adjusted::Done { .. })).count();
        let repeated = answers.iter().filter(|answer| matches!(answer, Adjusted::Repeated { .. })).count();
        assert_eq!((done, repeated), (1, 7));
    }
    assert_eq!(ledger.balance("ada"), Some(Credits::new(600)));
}

/// The trait is used behind pointers.
#[test]
fn credit_admin_is_dyn_safe_and_forwarded() {
    let shared: Arc<dyn CreditAdmin> = Arc::new(MemoryLedger::new());
    let admin = Arc::clone(&shared).admin().unwrap();
    let ada = AccountId::from("ada");
    let kind = AdjustmentKind::Set(Credits::new(9));
    let asked = Adjustment::new(id("a"), &ada, kind, &Allowance::None, START);
    assert!(matches!(ready(admin.adjust(&asked)), Adjusted::Done { .. }));
    assert_eq!(
        ready(shared.balance_of(&ada, &tollgate::credit::Currency::CREDITS, &Allowance::None, START)),
        shown(Some(9))
    );
    let _: Arc<dyn CreditLedger> = shared;
}

#[test]
fn a_full_history_is_folded() {
    let (ledger, acme) = (MemoryLedger::with_entries(4), AccountId::from("acme"));
    let put = |number: i64| {
        let kind = AdjustmentKind::TopUp(Credits::new(1));
        let at = Timestamp::from_millis(number);
        let id = format!("a-{number}").parse().unwrap();
        let _ = ready(ledger.adjust(&Adjustment::new(id, &acme, kind, &Allowance::None, at)));
    };
    let told = || -> Vec<(u64, i64, &str)> {
        let entries = ready(ledger.entries(&EntryQuery::newest("acme", 9)));
        entries.iter().map(|entry| (entry.number, entry.amount, entry.kind.name())).collect()
    };
    // Wherever in its ring the oldest entry stands.
    let mut newest = 0;
    for more in [6, 1, 2, 3, 4, 5] {
        for _ in 0..more {
            newest += 1;
            put(newest);
        }
        let there = told().len() as u64;
        let before = told();
        assert_eq!(ready(ledger.forget_entries(Timestamp::from_millis(i64::MIN))), 0);
        assert_eq!(told(), before, "none is older than that");
        assert_eq!(ready(ledger.forget_entries(Timestamp::from_millis(newest))), there.saturating_sub(2));
        let last = newest.cast_unsigned();
        let kind = if there > 2 { "folded" } else { before[1].2 };
        let amount = if there > 2 { newest - 1 } else { before[1].1 };
        assert_eq!(told(), [(last, 1, "top-up"), (last - 1, amount, kind)]);
    }
}
