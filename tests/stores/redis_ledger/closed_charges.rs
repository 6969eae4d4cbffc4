//! Charges that were ended, by whoever it is, and those that nobody ends.

use std::sync::Arc;
use std::time::Duration;

use tollgate::Account;
use tollgate::account::Allowance;
use tollgate::clock::Timestamp;
use tollgate::credit::{Abandoned, CreditAdmin, EntryQuery, RedisLedger};
use tollgate::guard::Resilient;
use tollgate::redis::{RedisOptions, RedisServer};

use crate::redis_ledger::{HOUR, NOON, Purse, node};
use crate::services::redis::Redis;

/// The Redis key of an account's open charges.
const OPEN: &str = "acme:{a:acme}:credits:open";

/// Makes an open charge so much older than it is.
fn age(redis: &Redis, open: &str, id: &str, by: Duration) {
    let kept = redis.say(&["HGET", open, id]);
    let mut words: Vec<String> = kept.lines().last().unwrap().split(' ').map(str::to_owned).collect();
    words[1] = (words[1].parse::<u128>().unwrap() - by.as_millis()).to_string();
    redis.say(&["HSET", open, id, &words.join(" ")]);
}

#[tokio::test]
async fn sweep_closes_charges_of_a_dead_node() {
    let Some(redis) = Redis::start() else { return };
    let mut balance_key = Purse::new(node(&redis), Allowance::None);
    balance_key.put_in(100).await;
    assert!(balance_key.takes(1, 10).await);
    // Clocks of nodes say nothing.
    balance_key.now += HOUR;
    assert!(balance_key.takes(2, 20).await);
    balance_key.now -= 1_000 * HOUR;
    assert!(balance_key.takes(4, 1).await);
    balance_key.now += 1_000 * HOUR;
    balance_key.refund(4).await;
    let mut other = Purse::new(node(&redis), Allowance::None);
    // Letters that stand for others in a pattern stand for themselves in a name.
    other.account = Arc::new(Account::new("*?[a]\\", "plain"));
    other.put_in(100).await;
    assert!(other.takes(1, 30).await);
    let hour = Duration::from_hours(1);
    assert_eq!(balance_key.ledger.sweep(hour, Abandoned::Refund).await.unwrap(), 0, "they are still young");
    for open in [OPEN, "acme:{a:*?[a]\\}:credits:open"] {
        age(&redis, open, "00000000000000000000000000000001", hour);
    }
    let nodes = [node(&redis), node(&redis)];
    let (one, two) =
        tokio::join!(nodes[0].sweep(hour, Abandoned::Refund), nodes[1].sweep(hour, Abandoned::Refund));
    assert_eq!(one.unwrap() + two.unwrap(), 2, "each is closed once");
    assert_eq!((balance_key.left().await, other.left().await), (80, 100), "what is younger stays open");
    assert_eq!(nodes[0].sweep(hour, Abandoned::Refund).await.unwrap(), 0);
    balance_key.refund(1).await;
    assert_eq!(nodes[0].sweep(Duration::ZERO, Abandoned::Settle).await.unwrap(), 1);
    assert_eq!(balance_key.left().await, 80);
    let kinds: Vec<_> =
        balance_key.entries().await.iter().map(|entry| (entry.kind.name(), entry.amount)).collect();
    assert_eq!(
        kinds,
        [("refund", 10), ("refund", 1), ("charge", -1), ("charge", -20), ("charge", -10), ("top-up", 100),]
    );
    // A sweep sees no other gate's charges on the same server.
    let mut options = RedisOptions::new("acme");
    options.prefix = "ac*".to_owned();
    let stranger = RedisLedger::new(RedisServer::with_options(&redis.url(), options).unwrap());
    assert!(balance_key.takes(3, 20).await);
    assert_eq!(stranger.sweep(Duration::ZERO, Abandoned::Refund).await.unwrap(), 0);
}

#[tokio::test]
async fn ended_charge_is_not_taken_again() {
    let Some(redis) = Redis::start() else { return };
    let balance_key = Purse::new(node(&redis), Allowance::None);
    balance_key.put_in(100).await;
    for number in 0..3 {
        assert!(balance_key.takes(number, 10).await);
    }
    balance_key.settle(0, 4).await;
    balance_key.settle(1, 10).await;
    balance_key.refund(2).await;
    for number in 0..3 {
        // Asked for again by somebody who has not heard of it.
        balance_key.refund(number).await;
        balance_key.settle(number, 1).await;
        assert!(balance_key.charge(number, 10).await.is_err(), "{number}");
    }
    assert_eq!(balance_key.left().await, 86);
    assert_eq!(redis.say(&["HLEN", OPEN]), ":0", "what has ended is not barred besides");
    // It is known for as long as a charge may be on its way, and not for ever.
    let closed = "acme:{a:acme}:credits:closed";
    let left: i64 = redis.say(&["PTTL", closed]).trim_start_matches(':').parse().unwrap();
    assert!((200_000..=300_000).contains(&left), "{left}");
    let ended = |number: u64, ago: u32| {
        let id = format!("{number:032x}");
        let said = redis.say(&["ZSCORE", closed, &id]);
        let at =
            said.lines().last().unwrap().trim_start_matches(',').parse::<f64>().unwrap() - f64::from(ago);
        redis.say(&["ZADD", closed, &at.to_string(), &id]);
    };
    ended(0, 299_000);
    ended(1, 300_000);
    assert!(balance_key.takes(7, 10).await);
    balance_key.settle(7, 10).await;
    for number in [0, 2, 7] {
        assert!(balance_key.charge(number, 10).await.unwrap_err().is_rejected(), "{number}");
    }
    assert_eq!(redis.say(&["ZCARD", closed]), ":3", "it is not known any more");
    assert!(balance_key.ledger.erase_balance(&balance_key.account.id).await.unwrap());
    assert_eq!(redis.say(&["KEYS", "*"]), "*0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_entries_are_folded_into_one() {
    let Some(redis) = Redis::start() else { return };
    let balance_key = Purse::new(node(&redis), Allowance::None);
    balance_key.put_in(1_000).await;
    for number in 0..5 {
        assert!(balance_key.takes(number, 10).await);
    }
    let moment = Timestamp::from_millis;
    assert_eq!(balance_key.ledger.forget_entries(moment(NOON)).await.unwrap(), 0, "none is older than that");
    let mut later = balance_key.clone();
    later.now += 1;
    assert!(later.takes(5, 10).await);
    assert_eq!(balance_key.ledger.forget_entries(moment(NOON + 1)).await.unwrap(), 5);
    assert_eq!(balance_key.ledger.forget_entries(moment(NOON + 1)).await.unwrap(), 0);
    let mut query = EntryQuery::newest("acme", 9);
    query.before = Some(7);
    let entries = balance_key.ledger.entries(&query).await.unwrap();
    let told: Vec<_> = entries.iter().map(|entry| (entry.number, entry.kind.name(), entry.amount)).collect();
    assert_eq!(told, [(6, "folded", 950)]);
    assert_eq!(balance_key.ledger.forget_entries(moment(NOON + 2)).await.unwrap(), 1);
    assert_eq!(balance_key.left().await, 940);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweep_racing_settlements_counts_its_own() {
    let Some(redis) = Redis::start() else { return };
    let balance_key = Purse::new(node(&redis), Allowance::None);
    balance_key.put_in(10_000).await;
    for round in 0..20_u64 {
        for number in 0..20 {
            assert!(balance_key.takes(round * 100 + number, 10).await);
        }
        let before = balance_key.left().await;
        let settling = balance_key.clone();
        let settled = tokio::spawn(async move {
            for number in 0..20 {
                settling.settle(round * 100 + number, 10).await;
            }
        });
        let (one, two) = (node(&redis), node(&redis));
        let (one, two) = tokio::join!(
            one.sweep(Duration::ZERO, Abandoned::Refund),
            two.sweep(Duration::ZERO, Abandoned::Refund)
        );
        settled.await.unwrap();
        let back = balance_key.left().await - before;
        assert_eq!(10 * (one.unwrap() + two.unwrap()), back, "round {round}");
        assert_eq!(redis.say(&["HLEN", OPEN]), ":0");
    }
}

#[tokio::test]
async fn unreadable_charge_does_not_stop_a_sweep() {
    let Some(redis) = Redis::start() else { return };
    let balance_key = Purse::new(node(&redis), Allowance::None);
    balance_key.put_in(100).await;
    for number in 0..3 {
        assert!(balance_key.takes(number, 10).await);
    }
    let mut other = Purse::new(node(&redis), Allowance::None);
    other.account = Arc::new(Account::new("bob", "plain"));
    other.put_in(100).await;
    assert!(other.takes(1, 30).await);
    redis.say(&["HSET", OPEN, "00000000000000000000000000000001", "plenty"]);
    redis.say(&["HSET", OPEN, "nobody's", "10 5"]);
    assert!(
        balance_key.ledger.sweep(Duration::ZERO, Abandoned::Refund).await.unwrap_err().is_corrupt(),
        "it is told"
    );
    assert_eq!((balance_key.left().await, other.left().await), (90, 100), "all others are closed");
}

/// A rejected call says nothing about the health of the server.
#[tokio::test]
async fn charge_closed_early_opens_no_circuit() {
    let Some(redis) = Redis::start() else { return };
    let guarded =
        Arc::new(Resilient::new(RedisLedger::new(RedisServer::open(&redis.url(), "acme").unwrap())));
    let balance_key = Purse::new(Arc::clone(&guarded), Allowance::None);
    balance_key.put_in(100).await;
    for number in 0..20 {
        balance_key.refund(number).await;
    }
    for number in 0..20 {
        assert!(balance_key.charge(number, 1).await.unwrap_err().is_rejected());
    }
    assert!(!guarded.health().open);
    assert!(balance_key.takes(100, 1).await);
}
