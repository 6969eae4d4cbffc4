//! Credits in Redis, over a real server: against the ledger in memory, and on their own.
#![cfg(all(feature = "redis", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::services;

mod buckets;
mod closed_charges;
mod earlier_version;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use services::redis::Redis;
use tollgate::account::{Allowance, CalendarUnit, Grant, GrantPeriod};
use tollgate::clock::{Now, Timestamp};
use tollgate::credit::{
    Abandoned, Adjusted, Adjustment, AdjustmentId, AdjustmentKind, Balance, Charge, ChargeId, Charged,
    CreditAdmin, Entry, EntryQuery, RedisLedger, Refund, Settlement,
};
use tollgate::name::AccountId;
use tollgate::redis::{RedisOptions, RedisServer};
use tollgate::{Account, Credits, MemoryLedger, StoreError};

const HOUR: i64 = 3_600_000;
const MAX: u64 = Credits::MAX.get();
const NOON: i64 = 1_777_550_400_000;

/// Every node has a server handle of its own.
fn node_with(redis: &Redis, timeout: u64) -> RedisLedger {
    let mut options = RedisOptions::new("acme");
    options.response_timeout = Duration::from_millis(timeout);
    RedisLedger::new(RedisServer::with_options(&redis.url(), options).unwrap())
}

fn node(redis: &Redis) -> RedisLedger {
    node_with(redis, 3_000)
}

fn hourly(amount: u64) -> Allowance {
    let period = GrantPeriod::every(Duration::from_hours(1)).unwrap();
    Allowance::Grant(Grant::new(Credits::new(amount), period))
}

fn id(number: u64) -> ChargeId {
    ChargeId::from_bytes(u128::from(number).to_be_bytes())
}

/// One account, its terms, and the time of its calls.
#[derive(Clone)]
struct Purse<L> {
    ledger: L,
    account: Arc<Account>,
    allowance: Allowance,
    /// The plans that it goes between.
    plans: Vec<Allowance>,
    now: i64,
}

impl<L: CreditAdmin> Purse<L> {
    fn new(ledger: L, allowance: Allowance) -> Self {
        let plans = vec![allowance.clone()];
        Self { ledger, account: Arc::new(Account::new("acme", "plain")), allowance, plans, now: NOON }
    }

    async fn charge(&self, number: u64, amount: u64) -> Result<Charged, StoreError> {
        let now = Now::new(Timestamp::from_millis(self.now), Duration::ZERO);
        let charge = Charge::new(id(number), &self.account, Credits::new(amount), &self.allowance, now);
        self.ledger.charge(&charge).await
    }

    async fn takes(&self, number: u64, amount: u64) -> bool {
        matches!(self.charge(number, amount).await.unwrap(), Charged::Posted { .. })
    }

    async fn settle(&self, number: u64, cost: u64) {
        let now = Now::new(Timestamp::from_millis(self.now), Duration::ZERO);
        let settlement = Settlement::new(&self.account, id(number), Credits::new(cost), &now);
        self.ledger.settle(&settlement).await.unwrap();
    }

    async fn refund(&self, number: u64) {
        let now = Now::new(Timestamp::from_millis(self.now), Duration::ZERO);
        self.ledger.refund(&Refund::new(&self.account, id(number), &now)).await.unwrap();
    }

    async fn adjust(&self, name: &str, kind: AdjustmentKind) -> Result<Adjusted, StoreError> {
        let (id, now) = (name.parse::<AdjustmentId>().unwrap(), Timestamp::from_millis(self.now));
        self.ledger.adjust(&Adjustment::new(id, &self.account.id, kind, &self.allowance, now)).await
    }

    async fn put_in(&self, amount: u64) {
        let made = self.adjust("put-in", AdjustmentKind::TopUp(Credits::new(amount))).await.unwrap();
        assert!(matches!(made, Adjusted::Done { .. }), "{made:?}");
    }

    async fn balance(&self) -> Balance {
        let now = Timestamp::from_millis(self.now);
        self.ledger
            .balance_of(&self.account.id, &tollgate::credit::Currency::CREDITS, &self.allowance, now)
            .await
            .unwrap()
    }

    async fn left(&self) -> u64 {
        self.balance().await.credits().unwrap().get()
    }

    async fn entries(&self) -> Vec<Entry> {
        self.ledger.entries(&EntryQuery::newest(self.account.id.clone(), 2_000)).await.unwrap()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Charge(u64, u64),
    Settle(u64, u64),
    Refund(u64),
    Adjust(u64, AdjustmentKind),
    Wait(u64),
    TurnBack(i64),
    /// The clock leaps by so many hours.
    Leap(i64),
    /// The account goes to another plan.
    Change(usize),
    Erase,
}

fn amount() -> impl Strategy<Value = Credits> {
    let wide =
        (0_u64..6, -2_i64..3).prop_map(|(times, off)| (times * 1_000_000_000).saturating_add_signed(off));
    prop_oneof![9 => 0_u64..120, 2 => wide, 2 => MAX - 100..=MAX, 1 => (1 << 53) - 2..(1_u64 << 53) + 3, 1 => 999_999_999_999_990_u64..1_000_000_000_000_010]
        .prop_map(Credits::new)
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        4 => amount().prop_map(AdjustmentKind::TopUp),
        3 => amount().prop_map(AdjustmentKind::Deduct),
        2 => amount().prop_map(AdjustmentKind::Set),
        1 => Just(AdjustmentKind::MakeUnlimited),
    ];
    prop_oneof![
        12 => (0_u64..12, amount().prop_filter("nothing is not charged", |amount| !amount.is_zero()))
            .prop_map(|(id, amount)| Step::Charge(id, amount.get())),
        5 => (0_u64..12, amount()).prop_map(|(id, cost)| Step::Settle(id, cost.get())),
        5 => (0_u64..12).prop_map(Step::Refund),
        10 => (0_u64..24, kind).prop_map(|(id, kind)| Step::Adjust(id, kind)),
        4 => (0_u64..3 * 3_600).prop_map(Step::Wait),
        1 => (0_i64..2 * HOUR).prop_map(Step::TurnBack),
        1 => (-40_i64..40).prop_map(Step::Leap),
        2 => (0_usize..6).prop_map(Step::Change),
        1 => Just(Step::Erase),
    ]
}

/// Makes a step with one ledger; says what it answered. A charge that was ended is not charged again under its id.
async fn make<L: CreditAdmin>(balance_key: &mut Purse<L>, step: &Step, lives: &HashMap<u64, u64>) -> String {
    let life = |id: &u64| id + 1_000 * lives.get(id).copied().unwrap_or(0);
    match step {
        Step::Charge(id, amount) => format!("{:?}", balance_key.charge(life(id), *amount).await.unwrap()),
        Step::Settle(id, cost) => format!("{:?}", balance_key.settle(life(id), *cost).await),
        Step::Refund(id) => format!("{:?}", balance_key.refund(life(id)).await),
        Step::Adjust(id, kind) => {
            format!("{:?}", balance_key.adjust(&format!("a{id}"), kind.clone()).await.unwrap())
        }
        Step::Wait(seconds) => {
            balance_key.now += i64::try_from(*seconds).unwrap() * 1_000;
            String::new()
        }
        Step::TurnBack(millis) => {
            balance_key.now -= millis;
            String::new()
        }
        Step::Leap(hours) => {
            balance_key.now += hours * HOUR;
            String::new()
        }
        Step::Change(plan) => {
            balance_key.allowance = balance_key.plans[*plan % balance_key.plans.len()].clone();
            String::new()
        }
        Step::Erase => {
            // Whether an account that was merely asked for counts as one is each ledger's own affair.
            let _ = balance_key.ledger.erase_balance(&balance_key.account.id).await.unwrap();
            String::new()
        }
    }
}

/// Plans of other periods, in zones whose clocks change, and one that grants nothing.
fn other_plans() -> Vec<Allowance> {
    let calendar = |unit, zone| GrantPeriod::calendar(unit, zone).unwrap();
    let grant = |amount, period| Allowance::Grant(Grant::new(Credits::new(amount), period));
    vec![
        grant(70, calendar(CalendarUnit::Day, "Australia/Lord_Howe")),
        grant(90, calendar(CalendarUnit::Month, "America/St_Johns")),
        grant(20, calendar(CalendarUnit::Hour, "UTC")),
        grant(30, GrantPeriod::every(Duration::from_mins(25)).unwrap()),
        Allowance::None,
    ]
}

#[test]
fn redis_and_memory_ledgers_agree() {
    let Some(redis) = Redis::start() else { return };
    let settings = ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() };
    let grant =
        prop_oneof![Just(None), (1_u64..150).prop_map(Some), Just(Some(MAX)), Just(Some(3_000_000_000))];
    proptest!(settings, |(grant in grant, calendar: bool, steps in prop::collection::vec(step(), 1..80))| {
        let period = if calendar {
            GrantPeriod::calendar(CalendarUnit::Hour, "Europe/Berlin").unwrap()
        } else {
            GrantPeriod::every(Duration::from_hours(1)).unwrap()
        };
        let allowance = grant.map_or(Allowance::None, |amount| Allowance::Grant(Grant::new(Credits::new(amount), period)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        redis.say(&["FLUSHALL"]);
        runtime.block_on(async {
            let mut shared = Purse::new(node(&redis), allowance.clone());
            let mut memory = Purse::new(Arc::new(MemoryLedger::with_entries(2_000)), allowance);
            shared.plans.extend(other_plans());
            memory.plans.clone_from(&shared.plans);
            let mut lives = HashMap::new();
            for step in steps {
                let (ours, theirs) = (make(&mut shared, &step, &lives).await, make(&mut memory, &step, &lives).await);
                prop_assert_eq!(ours, theirs, "{:?}", step);
                if let Step::Refund(id) | Step::Settle(id, _) = step {
                    *lives.entry(id).or_default() += 1;
                }
                prop_assert_eq!(shared.balance().await, memory.balance().await, "after {:?}", step);
            }
            let (ours, theirs) = (shared.entries().await, memory.entries().await);
            prop_assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(&theirs) {
                // What ends a charge names no time.
                let timed = ours.kind.name() != "refund" && ours.kind.name() != "settlement";
                prop_assert_eq!((&ours.kind, ours.amount, ours.balance), (&theirs.kind, theirs.amount, theirs.balance));
                prop_assert_eq!((&ours.bucket, ours.left), (&theirs.bucket, theirs.left));
                prop_assert!(!timed || ours.at == theirs.at, "{:?} {:?}", ours, theirs);
            }
            Ok(())
        })?;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_spend_fifty_credits_once() {
    let Some(redis) = Redis::start() else { return };
    let nodes: Vec<_> = (0..4).map(|_| Purse::new(node(&redis), Allowance::None)).collect();
    nodes[0].put_in(50).await;
    let tasks: Vec<_> = (0..200_u64)
        .map(|task| {
            let balance_key = nodes[usize::try_from(task % 4).unwrap()].clone();
            tokio::spawn(async move { balance_key.takes(task, 1).await })
        })
        .collect();
    let mut served = 0;
    for task in tasks {
        served += u32::from(task.await.unwrap());
    }
    assert_eq!((served, nodes[1].left().await), (50, 0));
    let entries = nodes[2].entries().await;
    assert_eq!(entries.len(), 51);
    assert_eq!(entries.iter().map(|entry| entry.amount).sum::<i64>(), 0, "the entries sum to the balance");
}

#[tokio::test]
async fn refund_counts_once_even_before_charge() {
    let Some(redis) = Redis::start() else { return };
    let (balance_key, other) = (Purse::new(node(&redis), hourly(100)), Purse::new(node(&redis), hourly(100)));
    assert!(balance_key.takes(1, 30).await);
    for balance_key in [&balance_key, &other, &balance_key] {
        balance_key.refund(1).await;
        balance_key.settle(1, 10).await;
    }
    assert_eq!(balance_key.left().await, 100);
    assert!(balance_key.takes(2, 30).await);
    balance_key.settle(2, 10).await;
    other.refund(2).await;
    assert_eq!(balance_key.left().await, 90, "a refund after a settlement");
    other.refund(3).await;
    assert!(balance_key.charge(3, 30).await.is_err(), "a charge that was given back before it came");
    assert_eq!(balance_key.left().await, 90);
    let open = "acme:{a:acme}:credits:open";
    assert_ne!(redis.say(&["HLEN", open]), ":0", "it is remembered");
    assert_eq!(balance_key.ledger.sweep(Duration::ZERO, Abandoned::Refund).await.unwrap(), 0);
    assert_eq!(redis.say(&["HLEN", open]), ":0", "until it is swept");
}

#[tokio::test]
async fn charge_with_lost_answer_is_refunded() {
    let Some(redis) = Redis::start() else { return };
    let (hasty, patient) =
        (Purse::new(node_with(&redis, 150), hourly(100)), Purse::new(node(&redis), hourly(100)));
    for number in 0..4 {
        assert!(hasty.takes(number, 1).await);
    }
    redis.pause();
    for number in 10..14 {
        assert!(hasty.charge(number, 10).await.unwrap_err().is_timeout());
    }
    redis.resume();
    for number in 10..14 {
        patient.refund(number).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(patient.left().await, 96);
    let closed = patient.ledger.sweep(Duration::ZERO, Abandoned::Refund).await.unwrap();
    assert_eq!(closed, 4, "the four that were answered are open, and no other");
}

#[tokio::test]
async fn ledger_reloads_flushed_scripts() {
    let Some(redis) = Redis::start_cluster() else { return };
    let balance_key = Purse::new(node(&redis), Allowance::None);
    balance_key.put_in(10).await;
    for number in 0..3 {
        redis.say(&["SCRIPT", "FLUSH"]);
        assert!(balance_key.takes(number, 2).await);
        redis.say(&["SCRIPT", "FLUSH"]);
        balance_key.settle(number, 1).await;
    }
    assert_eq!(balance_key.left().await, 7);
    assert!(
        balance_key.ledger.erase_balance(&balance_key.account.id).await.unwrap(),
        "all of an account is in one slot"
    );
}

/// Charges from two nodes at the same moment until both are refused; says how much was taken.
async fn race(nodes: &[Purse<RedisLedger>; 2], now: i64, first: u64) -> u64 {
    let drain = |mut balance_key: Purse<RedisLedger>, first: u64| async move {
        balance_key.now = now;
        let mut taken = 0;
        for number in first..first + 200 {
            taken += u64::from(balance_key.takes(number, 1).await);
        }
        taken
    };
    let (one, two) =
        (tokio::spawn(drain(nodes[0].clone(), first)), tokio::spawn(drain(nodes[1].clone(), first + 1_000)));
    one.await.unwrap() + two.await.unwrap()
}

#[tokio::test]
async fn demo_budget_refills_once_an_hour() {
    let Some(redis) = Redis::start() else { return };
    let nodes = [Purse::new(node(&redis), hourly(100)), Purse::new(node(&redis), hourly(100))];
    assert_eq!(race(&nodes, NOON, 0).await, 100);
    assert_eq!(race(&nodes, NOON + HOUR - 1, 10_000).await, 0);
    assert_eq!(race(&nodes, NOON + HOUR, 20_000).await, 100);
    // Periods that nobody saw do not pile up, and the next one comes on time.
    assert_eq!(race(&nodes, NOON + 5 * HOUR + 60_000, 30_000).await, 100);
    assert_eq!(race(&nodes, NOON + 6 * HOUR - 1, 40_000).await, 0);
    assert_eq!(race(&nodes, NOON + 6 * HOUR, 50_000).await, 100);
}

#[tokio::test]
async fn monthly_grant_is_given_at_zone_midnight() {
    let Some(redis) = Redis::start() else { return };
    let period = GrantPeriod::calendar(CalendarUnit::Month, "Europe/Berlin").unwrap();
    let monthly = Allowance::Grant(Grant::new(Credits::new(50), period));
    let nodes = [Purse::new(node(&redis), monthly.clone()), Purse::new(node(&redis), monthly)];
    let at = |moment: &str| moment.parse::<Timestamp>().unwrap().as_millis();
    assert_eq!(race(&nodes, at("2026-04-12T08:00:00Z"), 0).await, 50);
    assert_eq!(race(&nodes, at("2026-04-30T21:59:59.999Z"), 10_000).await, 0);
    assert_eq!(race(&nodes, at("2026-04-30T22:00:00Z"), 20_000).await, 50);
    // A clock that steps back over the boundary, and forth again.
    assert_eq!(race(&nodes, at("2026-04-30T21:59:59Z"), 30_000).await, 0);
    assert_eq!(race(&nodes, at("2026-04-30T22:00:01Z"), 40_000).await, 0);
    assert_eq!(race(&nodes, at("2026-05-31T22:00:00Z"), 50_000).await, 50);
}

#[tokio::test]
async fn foreign_value_is_an_error() {
    let Some(redis) = Redis::start() else { return };
    let balance_key = Purse::new(node(&redis), hourly(100));
    assert!(balance_key.takes(1, 10).await);
    let name = "acme:{a:acme}:credits";
    let good = redis.say(&["GET", name]).split_once('\n').unwrap().1.to_owned();
    let (header, rest) = good.split_once('\n').unwrap();
    let (buckets, rest) = rest.split_once('\n').unwrap();
    let headers = [
        (1, "x"),
        (2, "1.5"),
        (3, "now"),
        (4, "maybe"),
        (5, ""),
        (5, "-1"),
        (5, "1e300"),
        (5, "inf"),
        (5, "nan"),
        (5, "99999999999999999999"),
        (6, "x"),
        (7, "-1"),
        (8, "1.5"),
        (9, "hour"),
        (10, "soon"),
        (11, "later"),
        (12, ""),
    ];
    let with = |line: &str, between: char, place: usize, garbage: &str| {
        let mut words: Vec<&str> = line.split(between).collect();
        words[place] = garbage;
        words.join(&between.to_string())
    };
    let headers = headers.map(|(place, garbage)| (with(header, ' ', place, garbage), buckets.to_owned()));
    let parts = [(0, "x"), (1, ""), (1, "-1"), (1, "99999999999999999999"), (2, "1.5"), (3, "2"), (4, "")];
    let parts = parts.map(|(place, garbage)| (header.to_owned(), with(buckets, ',', place, garbage)));
    for (header, buckets) in headers.into_iter().chain(parts) {
        let text = format!("{header}\n{buckets}\n{rest}");
        redis.say(&["SET", name, &text]);
        let error = balance_key.charge(2, 10).await.unwrap_err();
        assert!(error.is_corrupt(), "{text}: {error:?}");
    }
    for text in
        ["", "b", "b ", "x y z", &format!("{header}\n{buckets}"), &format!("{header}\n{buckets}\n-\n{{}}")]
    {
        redis.say(&["SET", name, text]);
        let mut later = balance_key.clone();
        later.now += HOUR;
        let answer = later.charge(2, 10).await;
        assert!(text.is_empty() || answer.unwrap_err().is_corrupt(), "{text}");
    }
    redis.say(&["SET", name, &good]);
    assert_eq!(balance_key.left().await, 90, "nothing was taken");
    redis.say(&["DEL", name]);
    redis.say(&["RPUSH", name, "plenty"]);
    assert!(balance_key.charge(3, 10).await.unwrap_err().is_corrupt());
    let now = Timestamp::from_millis(NOON);
    assert!(
        balance_key
            .ledger
            .balance_of(&AccountId::from("acme"), &tollgate::credit::Currency::CREDITS, &Allowance::None, now)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn grant_without_a_noted_period_waits() {
    let Some(redis) = Redis::start() else { return };
    let mut balance_key = Purse::new(node(&redis), hourly(100));
    redis.say(&["SET", "acme:{a:acme}:credits", &format!("3 0 7 {NOON} {} 0 0", NOON + HOUR)]);
    balance_key.now = NOON + HOUR - 1;
    assert_eq!((balance_key.left().await, balance_key.takes(1, 4).await), (3, false));
    balance_key.now = NOON + HOUR;
    assert_eq!(
        (balance_key.left().await, balance_key.takes(2, 100).await, balance_key.left().await),
        (100, true, 0)
    );
    balance_key.now = NOON + 2 * HOUR;
    assert_eq!(balance_key.left().await, 100);
}

#[tokio::test]
async fn last_entries_and_adjustments_are_kept() {
    let Some(redis) = Redis::start() else { return };
    let balance_key = Purse::new(node(&redis), Allowance::None);
    let one = AdjustmentKind::TopUp(Credits::new(1));
    for number in 0..1_300 {
        let made = balance_key.adjust(&format!("a{number}"), one.clone()).await.unwrap();
        assert!(matches!(made, Adjusted::Done { .. }), "{made:?}");
    }
    for number in [1_300 - 1_024, 1_299] {
        let again = balance_key.adjust(&format!("a{number}"), one.clone()).await.unwrap();
        assert_eq!(again, Adjusted::Repeated { balance: Balance::Limited(Credits::new(number + 1)) });
    }
    assert_eq!(redis.say(&["HLEN", "acme:{a:acme}:credits:made"]), ":1024");
    let entries = balance_key.entries().await;
    assert!((1_000..1_200).contains(&entries.len()), "{} are kept", entries.len());
    assert_eq!((entries[0].number, entries[999].number), (1_300, 301));
}
