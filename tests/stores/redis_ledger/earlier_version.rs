//! Credits that a version without buckets stored: they are the main bucket.

use std::time::Duration;

use tollgate::account::Allowance;
use tollgate::credit::{
    Abandoned, Adjusted, AdjustmentKind, Balance, BucketId, Charge, Commitment, CreditAdmin, CreditLeasing,
    Currency, EntryKind,
};
use tollgate::{CreditLedger, Credits};

use crate::redis_ledger::{HOUR, NOON, Purse, hourly, id, node};
use crate::services::redis::Redis;

const NAME: &str = "acme:{a:acme}:credits";

/// Stores 40 credits with three open charges and a leased block of 20, of which 5 are committed, as such a version did.
fn store(redis: &Redis, rest: &str) {
    redis.say(&["SET", NAME, &format!("40 60 7 {NOON} {rest}")]);
    let open = format!("{NAME}:open");
    for (number, kept) in [(1, "10 1777550000000"), (2, "10 1777550000000"), (3, "20 1777550000000")] {
        redis.say(&["HSET", &open, &format!("{number:032x}"), kept]);
    }
    redis.say(&["HSET", &open, &format!("{:032x}", 4), "20 1777550000000 5"]);
    redis.say(&["HSET", &open, &format!("{:032x}", 5), "void 1777550000000"]);
    let made = format!("{NAME}:made");
    redis.say(&["HSET", &made, "a", "top-up 100 100", "b", "deduction 0 100", "c", "unlimited 0 unlimited"]);
    let entries = format!("{NAME}:entries");
    for entry in [
        format!("1 top-up a 100 100 {NOON}"),
        format!("2 deduction b 0 100 {NOON}"),
        format!("3 charge {:032x} -10 90 {NOON}", 1),
        format!("4 charge {:032x} -10 80 {NOON}", 2),
        format!("5 charge {:032x} -20 60 {NOON}", 3),
        format!("6 charge {:032x} -20 40 {NOON}", 4),
        format!("7 grant - 0 40 {NOON}"),
    ] {
        redis.say(&["LPUSH", &entries, &entry]);
    }
}

#[tokio::test]
async fn balance_without_buckets_goes_on() {
    let Some(redis) = Redis::start() else { return };
    let due = NOON + HOUR;
    let hour = 3_600_000;
    for rest in [
        format!("{due} 0 15"),
        format!("{due} 0 15 {hour} none"),
        format!("{due} 0 15 {hour} none {}", NOON - HOUR),
        format!("{due} 0 15 {hour} none {}/2", NOON - HOUR),
    ] {
        redis.say(&["FLUSHALL"]);
        store(&redis, &rest);
        let mut purse = Purse::new(node(&redis), hourly(100));
        assert_eq!(purse.balance().await, Balance::Limited(Credits::new(40)), "{rest}");
        let now = tollgate::clock::Timestamp::from_millis(purse.now);
        let listed = purse.ledger.buckets_of(&purse.account.id, &Currency::CREDITS, &purse.allowance, now);
        let listed: Vec<_> =
            listed.await.unwrap().into_iter().map(|bucket| (bucket.id, bucket.left)).collect();
        assert_eq!(listed, [(BucketId::Main, Credits::new(40))]);
        // Each kind of call may be the first one.
        purse.settle(1, 4).await;
        assert_eq!(purse.left().await, 46);
        purse.refund(2).await;
        assert!(purse.takes(6, 1).await);
        assert!(purse.charge(5, 1).await.is_err(), "a charge that was returned before it arrived");
        assert!(purse.ledger.commit(&Commitment::new(&purse.account, id(4), Credits::new(8))).await.unwrap());
        let kind = AdjustmentKind::TopUp(Credits::new(100));
        let repeated = purse.adjust("a", kind.clone()).await.unwrap();
        assert_eq!(repeated, Adjusted::Repeated { balance: Balance::Limited(Credits::new(100)) });
        let repeated = purse.adjust("b", AdjustmentKind::Deduct(Credits::ZERO)).await.unwrap();
        assert_eq!(repeated, Adjusted::Repeated { balance: Balance::Limited(Credits::new(100)) });
        let made = AdjustmentKind::MakeUnlimited;
        assert_eq!(purse.adjust("c", kind).await.unwrap(), Adjusted::Conflict { made });
        assert_eq!(purse.left().await, 55);
        // The uncommitted part of the block counts as a part of the grant.
        purse.now += HOUR;
        assert_eq!(purse.left().await, 88);
        assert_eq!(purse.ledger.sweep(Duration::ZERO, Abandoned::Refund).await.unwrap(), 3);
        assert_eq!(purse.left().await, 100, "{rest}");
        assert_eq!(purse.ledger.audit().await.unwrap(), []);
        let entries = purse.entries().await;
        assert!(entries.iter().rev().zip(1..).all(|(entry, number)| entry.number == number));
        assert!(entries.iter().all(|entry| entry.bucket == BucketId::Main));
        purse.ledger.forget_entries(tollgate::clock::Timestamp::from_millis(NOON + 1)).await.unwrap();
        assert_eq!(purse.entries().await.last().unwrap().kind, EntryKind::Folded);
    }
}

#[tokio::test]
async fn any_first_call_reads_the_earlier_form() {
    let Some(redis) = Redis::start() else { return };
    for call in 0..6 {
        redis.say(&["FLUSHALL"]);
        store(&redis, &format!("{} 0 15 3600000 none", NOON + HOUR));
        let purse = Purse::new(node(&redis), hourly(100));
        let expected = match call {
            0 => purse.takes(9, 7).await.then_some(33),
            1 => {
                purse.settle(3, 2).await;
                Some(58)
            }
            2 => {
                purse.refund(3).await;
                Some(60)
            }
            3 => purse
                .ledger
                .commit(&Commitment::new(&purse.account, id(4), Credits::new(6)))
                .await
                .unwrap()
                .then_some(40),
            4 => {
                let _made = purse.adjust("new", AdjustmentKind::Set(Credits::new(9))).await.unwrap();
                Some(9)
            }
            _ => {
                assert_eq!(purse.ledger.sweep(Duration::ZERO, Abandoned::Settle).await.unwrap(), 4);
                Some(55)
            }
        };
        assert_eq!(Some(purse.left().await), expected, "call {call}");
        assert_eq!(purse.ledger.audit().await.unwrap(), [], "call {call}");
        assert!(purse.ledger.erase_balance(&purse.account.id).await.unwrap());
        assert_eq!(redis.say(&["KEYS", "*"]), "*0");
    }
    redis.say(&["SET", NAME, &format!("0 0 1 {NOON} none 1 0 0 none")]);
    let purse = Purse::new(node(&redis), Allowance::None);
    assert_eq!(purse.balance().await, Balance::Unlimited);
    let now = tollgate::clock::Now::new(tollgate::clock::Timestamp::from_millis(NOON), Duration::ZERO);
    let charge = Charge::new(id(1), &purse.account, Credits::new(5), &purse.allowance, now);
    let posted = tollgate::credit::Charged::Posted { balance: None };
    assert_eq!(purse.ledger.charge(&charge).await.unwrap(), posted);
}
