//! Buckets, budgets and late costs over a real server: races, round trips, faults, and large amounts.

use std::sync::Arc;
use std::time::Duration;

use tollgate::account::{Allowance, Budget, Overage};
use tollgate::clock::{Now, Timestamp};
use tollgate::credit::{
    Abandoned, Adjusted, AdjustmentKind, Balance, BucketKind, BucketTerms, BudgetDraw, Charge, Charged,
    CreditAdmin, Currency, EntryQuery, RedisLedger, Settlement,
};
use tollgate::{CreditLedger, Credits, KeyId};

use crate::redis_ledger::{HOUR, MAX, NOON, Purse, hourly, id, node, node_with};
use crate::services::redis::Redis;

fn terms(priority: u16) -> BucketTerms {
    let mut terms = BucketTerms::of(BucketKind::Promotion);
    terms.priority = priority;
    terms
}

async fn top_up_into(purse: &Purse<RedisLedger>, name: &str, amount: u64, terms: BucketTerms) {
    let kind = AdjustmentKind::TopUpInto { amount: Credits::new(amount), terms };
    assert!(matches!(purse.adjust(name, kind).await.unwrap(), Adjusted::Done { .. }));
}

async fn lefts(purse: &Purse<RedisLedger>) -> Vec<u64> {
    let now = Timestamp::from_millis(purse.now);
    let listed = purse.ledger.buckets_of(&purse.account.id, &Currency::CREDITS, &purse.allowance, now);
    listed.await.unwrap().iter().map(|bucket| bucket.left.get()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn race_over_three_buckets_serves_fifty() {
    let Some(redis) = Redis::start() else { return };
    for round in 0..10 {
        redis.say(&["FLUSHALL"]);
        let nodes: Vec<_> = (0..4).map(|_| Purse::new(node(&redis), Allowance::None)).collect();
        top_up_into(&nodes[0], "a", 7, terms(1)).await;
        top_up_into(&nodes[0], "b", 30, terms(2)).await;
        nodes[0].put_in(13).await;
        let tasks: Vec<_> = (0..200_u64)
            .map(|task| {
                let purse = nodes[usize::try_from(task % 4).unwrap()].clone();
                tokio::spawn(async move { purse.takes(task, 1).await })
            })
            .collect();
        let mut served = 0;
        for task in tasks {
            served += u32::from(task.await.unwrap());
        }
        assert_eq!((served, nodes[1].left().await), (50, 0), "round {round}");
        assert_eq!(nodes[2].ledger.audit().await.unwrap(), []);
        assert_eq!(nodes[2].ledger.sweep(Duration::ZERO, Abandoned::Refund).await.unwrap(), 50);
        assert_eq!(lefts(&nodes[3]).await, [7, 30, 0, 13], "each credit is returned to its bucket");
    }
}

#[tokio::test]
async fn call_over_buckets_is_one_round_trip() {
    let Some(redis) = Redis::start() else { return };
    let purse = Purse::new(node(&redis), hourly(10));
    top_up_into(&purse, "a", 5, terms(1)).await;
    top_up_into(&purse, "b", 1_000, terms(200)).await;
    let budget = Budget::new(
        Credits::new(900),
        tollgate::account::GrantPeriod::every(Duration::from_hours(1)).unwrap(),
    );
    let now = Now::new(Timestamp::from_millis(NOON), Duration::ZERO);
    let charge = |number| {
        let mut charge = Charge::new(id(number), &purse.account, Credits::new(20), &purse.allowance, now);
        charge.budget = Some(BudgetDraw { key: KeyId::from_bytes([7; 16]), budget: &budget });
        charge
    };
    let settle = |number, cost| {
        let mut settlement = Settlement::new(&purse.account, id(number), Credits::new(cost), &now);
        (settlement.allowance, settlement.overage) = (&purse.allowance, Overage::Debt);
        settlement
    };
    assert!(matches!(purse.ledger.charge(&charge(1)).await.unwrap(), Charged::Posted { .. }));
    purse.ledger.settle(&settle(1, 20)).await.unwrap();
    redis.say(&["CONFIG", "RESETSTAT"]);
    for number in 2..12 {
        assert!(matches!(purse.ledger.charge(&charge(number)).await.unwrap(), Charged::Posted { .. }));
        purse.ledger.settle(&settle(number, 10 + 2 * number)).await.unwrap();
    }
    let stats = redis.say(&["INFO", "commandstats"]);
    assert!(stats.contains("cmdstat_evalsha:calls=20,"), "{stats}");
    assert!(!stats.contains("cmdstat_eval:"), "{stats}");
    let spent: u64 = 20 + (2..12).map(|number| 10 + 2 * number).sum::<u64>();
    assert_eq!(purse.left().await, 1_015 - spent);
    let mut over = charge(99);
    over.amount = Credits::new(900 - spent + 1);
    let over = purse.ledger.charge(&over).await.unwrap();
    let (left, resets) = (Credits::new(900 - spent), Timestamp::from_millis(NOON + HOUR));
    assert_eq!(over, Charged::OverBudget { left, resets });
    assert_eq!(purse.ledger.audit().await.unwrap(), []);
}

#[tokio::test]
async fn large_amounts_of_buckets_stay_exact() {
    let Some(redis) = Redis::start() else { return };
    let purse = Purse::new(node(&redis), Allowance::None);
    let parts = [(1 << 53) + 1, (1 << 60) + 3, 999_999_999_999_999_u64];
    for (place, part) in parts.into_iter().enumerate() {
        top_up_into(&purse, &format!("a{place}"), part, terms(u16::try_from(place).unwrap())).await;
    }
    let sum: u64 = parts.iter().sum();
    assert!(purse.takes(1, sum - 1).await);
    assert_eq!(lefts(&purse).await.iter().sum::<u64>(), 1);
    purse.settle(1, parts[0] + 2).await;
    assert_eq!(lefts(&purse).await, [parts[1] - 2, parts[2], 0]);
    assert_eq!(purse.ledger.audit().await.unwrap(), []);
    // A debt of the greatest amount, which a top-up then pays.
    assert!(purse.takes(2, parts[1] - 2 + parts[2]).await);
    let now = Now::new(Timestamp::from_millis(NOON), Duration::ZERO);
    let mut settlement = Settlement::new(&purse.account, id(2), Credits::MAX, &now);
    settlement.overage = Overage::Debt;
    purse.ledger.settle(&settlement).await.unwrap();
    let debt = MAX - (parts[1] - 2 + parts[2]);
    assert_eq!(purse.balance().await, Balance::Owed(Credits::new(debt)));
    assert!(matches!(purse.charge(3, 1).await.unwrap(), Charged::Insufficient { balance: Credits::ZERO }));
    top_up_into(&purse, "b", debt + 5, terms(1)).await;
    assert_eq!(purse.left().await, 5);
    assert_eq!(purse.ledger.audit().await.unwrap(), []);
}

/// Charges and settlements of other tasks overtake an adjustment, which then gets a moment of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_account_can_be_adjusted() {
    let Some(redis) = Redis::start() else { return };
    let purse = Purse::new(node(&redis), Allowance::None);
    purse.put_in(1_000_000).await;
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let tasks: Vec<_> = (0..16_u64)
        .map(|task| {
            let (purse, done) = (purse.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut number = task * 1_000_000;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    assert!(purse.takes(number, 2).await);
                    purse.settle(number, 1).await;
                    number += 1;
                }
                number - task * 1_000_000
            })
        })
        .collect();
    for number in 0..50 {
        top_up_into(&purse, &format!("t{number}"), 10, terms(50)).await;
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut spent = 0;
    for task in tasks {
        spent += task.await.unwrap();
    }
    assert_eq!(purse.left().await, 1_000_500 - spent);
    assert_eq!(purse.ledger.audit().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buckets_survive_a_killed_and_paused_server() {
    let Some(mut redis) = Redis::start_durable() else { return };
    let purse = Purse::new(node_with(&redis, 200), Allowance::None);
    top_up_into(&purse, "a", 300, terms(1)).await;
    top_up_into(&purse, "b", 300, terms(2)).await;
    purse.put_in(300).await;
    let mut number = 0;
    let mut unknown = Vec::new();
    for round in 0..6 {
        let tasks: Vec<_> = (0..8_u64)
            .map(|task| {
                let (purse, first) = (purse.clone(), number + task * 10);
                tokio::spawn(async move {
                    let mut answers = Vec::new();
                    for id in first..first + 10 {
                        answers.push((id, purse.charge(id, 7).await));
                    }
                    answers
                })
            })
            .collect();
        number += 80;
        tokio::time::sleep(Duration::from_millis(3)).await;
        if round % 2 == 0 {
            redis.kill();
            redis.restart();
        } else {
            redis.pause();
            tokio::time::sleep(Duration::from_millis(250)).await;
            redis.resume();
        }
        for task in tasks {
            for (id, answer) in task.await.unwrap() {
                match answer {
                    Ok(Charged::Posted { .. }) => unknown.push((id, true)),
                    Ok(_) => {}
                    Err(_) => unknown.push((id, false)),
                }
            }
        }
        // A call that failed is undone, as a gate does it; of the others, half are settled below.
        let calm = Purse::new(node_with(&redis, 3_000), Allowance::None);
        for (id, posted) in unknown.drain(..) {
            if posted && id % 2 == 0 { calm.settle(id, 3).await } else { calm.refund(id).await }
        }
        assert_eq!(calm.ledger.audit().await.unwrap(), [], "round {round}");
    }
    let calm = Purse::new(node(&redis), Allowance::None);
    calm.ledger.sweep(Duration::ZERO, Abandoned::Refund).await.unwrap();
    let query = EntryQuery::newest("acme", 1_000);
    let settled = calm.ledger.entries(&query).await.unwrap();
    let spent: i64 =
        settled.iter().filter(|entry| entry.kind.charge().is_some()).map(|entry| entry.amount).sum();
    assert_eq!(i64::try_from(calm.left().await).unwrap(), 900 + spent);
    assert_eq!(calm.ledger.audit().await.unwrap(), []);
}

#[tokio::test]
async fn erasure_removes_every_currency() {
    let Some(redis) = Redis::start() else { return };
    let purse = Purse::new(node(&redis), hourly(100));
    let tokens: Currency = "tokens".parse().unwrap();
    let now = Now::new(Timestamp::from_millis(NOON), Duration::ZERO);
    let mut charge = Charge::new(id(1), &purse.account, Credits::new(20), &purse.allowance, now);
    charge.currency = &tokens;
    assert!(matches!(purse.ledger.charge(&charge).await.unwrap(), Charged::Posted { .. }));
    assert!(purse.takes(1, 30).await, "the same id in another currency");
    let audited = purse.ledger.audit().await.unwrap();
    assert_eq!(audited, []);
    assert_eq!(purse.ledger.sweep(Duration::ZERO, Abandoned::Refund).await.unwrap(), 2);
    let name = "acme:{a:acme}:credits:in:tokens";
    let text = redis.say(&["GET", name]).split_once('\n').unwrap().1.replace(" 100 0 0 0 ", " 99 0 0 0 ");
    redis.say(&["SET", name, &text]);
    let audited = purse.ledger.audit().await.unwrap();
    assert_eq!((audited.len(), &audited[0].account, &audited[0].currency), (1, &purse.account.id, &tokens));
    assert!(purse.ledger.erase_balance(&purse.account.id).await.unwrap());
    assert_eq!(redis.say(&["KEYS", "*"]), "*0");
}
