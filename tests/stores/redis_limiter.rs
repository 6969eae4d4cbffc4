//! Rate limits in Redis, over a real server.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::services;

use std::sync::Arc;
use std::time::Duration;

use services::redis::Redis;
use tollgate::account::{NetworkCut, QuotaOrigin, QuotaPolicy, QuotaScope, Quotas, WindowStatus};
use tollgate::clock::{Now, Timestamp};
use tollgate::key::KeyHasher;
use tollgate::limit::{Draw, LimitDecision, RedisLimiter};
use tollgate::redis::{RedisOptions, RedisServer};
use tollgate::{Account, KeyId, KeyRecord, RateLimiter, StoreError};

/// Every node has a server handle of its own.
fn node(redis: &Redis) -> RedisLimiter {
    let mut options = RedisOptions::new("acme");
    options.response_timeout = Duration::from_secs(2);
    RedisLimiter::new(RedisServer::with_options(&redis.url(), options).unwrap())
}

fn hasty_node(redis: &Redis) -> RedisLimiter {
    let mut options = RedisOptions::new("acme");
    options.response_timeout = Duration::from_millis(200);
    RedisLimiter::new(RedisServer::with_options(&redis.url(), options).unwrap())
}

fn record(key: u128, account: &str) -> KeyRecord {
    let hash = KeyHasher::sha256().hash(&key.to_be_bytes());
    KeyRecord::new(KeyId::from_bytes(key.to_be_bytes()), hash, Arc::new(Account::new(account, "plain")))
}

fn now() -> Now {
    Now::new(Timestamp::from_millis(0), Duration::ZERO)
}

fn per_hour(quota: u32, counts: QuotaScope) -> QuotaPolicy {
    QuotaPolicy::new(quota, Duration::from_hours(1)).unwrap().counting(counts)
}

async fn draw(
    limiter: &RedisLimiter,
    record: &KeyRecord,
    quotas: &Quotas,
) -> Result<LimitDecision, StoreError> {
    limiter.draw(&Draw::new(record, quotas, now())).await
}

async fn admits(limiter: &RedisLimiter, record: &KeyRecord, quotas: &Quotas) -> bool {
    matches!(draw(limiter, record, quotas).await.unwrap(), LimitDecision::Within(_))
}

/// The names of all that is kept.
fn names(redis: &Redis) -> Vec<String> {
    let answer = redis.say(&["KEYS", "*"]);
    answer.lines().filter(|line| line.starts_with("acme")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_load_admits_at_most_the_quota() {
    let Some(redis) = Redis::start() else { return };
    let quotas = Arc::new(Quotas::new([per_hour(300, QuotaScope::Key), per_hour(500, QuotaScope::Account)]));
    let tasks = (0..4_u128).flat_map(|node_number| {
        let limiter = Arc::new(node(&redis));
        let tasks =
            (0..64_u128).map(move |task| (Arc::clone(&limiter), record((node_number + task) % 2, "acme")));
        tasks.collect::<Vec<_>>()
    });
    let tasks = tasks.map(|(limiter, record)| {
        let quotas = Arc::clone(&quotas);
        tokio::spawn(async move {
            let mut admitted = [0; 2];
            for _ in 0..8 {
                if admits(&limiter, &record, &quotas).await {
                    admitted[usize::from(record.id.as_bytes()[15])] += 1;
                }
            }
            admitted
        })
    });
    let mut admitted = [0; 2];
    for task in tasks.collect::<Vec<_>>() {
        let [first, second] = task.await.unwrap();
        admitted = [admitted[0] + first, admitted[1] + second];
    }
    assert_eq!(admitted[0] + admitted[1], 500, "the account's window is drawn to its last cell");
    assert!(admitted.iter().all(|key| *key <= 300), "{admitted:?}");
}

#[tokio::test]
async fn refused_window_spends_no_other_window() {
    let Some(redis) = Redis::start() else { return };
    let limiter = node(&redis);
    let wide = per_hour(5, QuotaScope::Key);
    let both = Quotas::new([
        wide.clone(),
        per_hour(2, QuotaScope::Account),
        per_hour(9, QuotaScope::Pool("demo".into())),
    ]);
    let key = record(1, "acme");
    for _ in 0..2 {
        assert!(admits(&limiter, &key, &both).await);
    }
    for _ in 0..6 {
        let LimitDecision::Exceeded { window_status, .. } = draw(&limiter, &key, &both).await.unwrap() else {
            panic!("admitted")
        };
        assert_eq!(window_status.policy, 1, "it is the account's window that refuses");
    }
    let window_statuses = limiter.peek(&Draw::new(&key, &both, now())).await.unwrap();
    assert_eq!(
        window_statuses.iter().map(|window_status| window_status.remaining).collect::<Vec<_>>(),
        [3, 0, 7]
    );
    // Three of the key's five cells are there.
    let alone = Quotas::new([wide]);
    for _ in 0..3 {
        assert!(admits(&limiter, &key, &alone).await);
    }
    assert!(!admits(&limiter, &key, &alone).await);
}

/// Quotas of a plan, of a rule and of a network, with the state of each window in the result of a draw.
#[tokio::test]
async fn every_window_needs_no_second_call() {
    let Some(redis) = Redis::start() else { return };
    let (limiter, key) = (node(&redis), record(1, "acme"));
    let network = per_hour(5, QuotaScope::Network(NetworkCut::default()));
    let quotas = Quotas::new([per_hour(9, QuotaScope::Key), per_hour(8, QuotaScope::Account)])
        .beside(QuotaOrigin::Rule("POST /v1/backtests".into()), [per_hour(7, QuotaScope::Key), network])
        .beside(QuotaOrigin::Shared("backtests".into()), [per_hour(6, QuotaScope::Key).in_any_window()]);
    let draw = Draw::new(&key, &quotas, now()).from_address([192, 0, 2, 7].into()).telling_every_window(true);
    let left = |all: &[WindowStatus]| all.iter().map(|window| window.remaining).collect::<Vec<_>>();
    // The first call loads the script.
    assert!(matches!(limiter.draw(&draw).await.unwrap(), LimitDecision::Within(_)));
    redis.say(&["CONFIG", "RESETSTAT"]);
    for taken in 2..=5 {
        let LimitDecision::Within(window_status) = limiter.draw(&draw).await.unwrap() else {
            panic!("refused")
        };
        assert_eq!(window_status.remaining, 5 - taken);
        assert_eq!(left(&window_status.all), [9 - taken, 7 - taken, 6 - taken, 8 - taken, 5 - taken]);
    }
    let LimitDecision::Exceeded { window_status, .. } = limiter.draw(&draw).await.unwrap() else {
        panic!("admitted")
    };
    assert_eq!(left(&window_status.all), [4, 2, 1, 3, 0], "a refused draw takes nothing");
    let stats = redis.say(&["INFO", "commandstats"]);
    assert!(stats.contains("cmdstat_evalsha:calls=5,"), "{stats}");
    assert!(stats.contains("cmdstat_mget:calls=5,") && !stats.contains("cmdstat_get:"), "{stats}");
    assert_eq!(left(&limiter.peek(&draw).await.unwrap()), left(&window_status.all));
}

#[tokio::test]
async fn pool_is_one_window_for_all_its_keys() {
    let Some(redis) = Redis::start() else { return };
    let (limiter, quotas) = (node(&redis), Quotas::new([per_hour(3, QuotaScope::Pool("demo".into()))]));
    let mut admitted = 0;
    for key in 0..6 {
        admitted += u32::from(admits(&limiter, &record(key, &format!("account-{key}")), &quotas).await);
    }
    assert_eq!(admitted, 3);
    // A pool is no account, whatever their names.
    let own = Quotas::new([per_hour(3, QuotaScope::Account)]);
    assert!(admits(&limiter, &record(9, "demo"), &own).await);
}

#[tokio::test]
async fn every_redis_key_expires() {
    let Some(redis) = Redis::start() else { return };
    let limiter = node(&redis);
    let short = QuotaPolicy::new(4, Duration::from_millis(400)).unwrap();
    let quotas =
        Quotas::new([short, per_hour(4, QuotaScope::Account), per_hour(4, QuotaScope::Pool("demo".into()))]);
    for _ in 0..8 {
        let _ = draw(&limiter, &record(1, "acme"), &quotas).await.unwrap();
    }
    let names_kept = names(&redis);
    assert_eq!(names_kept.len(), 3, "{names_kept:?}");
    for name in &names_kept {
        let left: i64 = redis.say(&["PTTL", name]).trim_start_matches(':').parse().unwrap();
        assert!((1..=3_600_100).contains(&left), "{name} lasts {left} ms");
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(names(&redis).len(), 2, "a window that is full again is gone");
}

#[tokio::test]
async fn nodes_with_different_clocks_agree() {
    let Some(redis) = Redis::start() else { return };
    let (ahead, behind) = (node(&redis), node(&redis));
    let (key, quotas) =
        (record(1, "acme"), Quotas::new([QuotaPolicy::new(4, Duration::from_secs(40)).unwrap()]));
    let at = |seconds: i64| {
        Now::new(
            Timestamp::from_millis(1_777_550_400_000 + seconds * 1_000),
            Duration::from_secs(seconds.unsigned_abs()),
        )
    };
    let mut admitted = 0;
    for _ in 0..4 {
        for (limiter, now) in [(&ahead, at(30)), (&behind, at(0))] {
            let drawn = limiter.draw(&Draw::new(&key, &quotas, now)).await.unwrap();
            admitted += u32::from(matches!(drawn, LimitDecision::Within(_)));
        }
    }
    assert_eq!(admitted, 4, "a clock that is 30 s ahead refills nothing");
}

#[tokio::test]
async fn timed_out_draw_spends_once() {
    let Some(redis) = Redis::start() else { return };
    let (limiter, patient) = (hasty_node(&redis), node(&redis));
    let (key, quotas) = (record(1, "acme"), Quotas::new([per_hour(10, QuotaScope::Key)]));
    assert!(admits(&limiter, &key, &quotas).await);
    assert!(admits(&limiter, &key, &quotas).await);
    redis.pause();
    for _ in 0..3 {
        assert!(draw(&limiter, &key, &quotas).await.unwrap_err().is_timeout());
    }
    redis.resume();
    assert!(admits(&patient, &key, &quotas).await);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let window_status = patient.peek(&Draw::new(&key, &quotas, now())).await.unwrap().remove(0);
    assert!(
        (4..=7).contains(&window_status.remaining),
        "three were admitted, three more were sent: {window_status:?}"
    );
    assert!(admits(&limiter, &key, &quotas).await, "service resumes");
}

#[tokio::test]
async fn limiter_reloads_flushed_scripts() {
    let Some(mut redis) = Redis::start() else { return };
    let (limiter, key) = (node(&redis), record(1, "acme"));
    let quotas = Quotas::new([per_hour(4, QuotaScope::Key)]);
    assert!(admits(&limiter, &key, &quotas).await);
    redis.say(&["SCRIPT", "FLUSH"]);
    assert!(admits(&limiter, &key, &quotas).await);
    let window_status = limiter.peek(&Draw::new(&key, &quotas, now())).await.unwrap().remove(0);
    assert_eq!(window_status.remaining, 2, "the call that found no script has spent nothing");
    // A server that has lost everything admits the window once more, and no more than that.
    redis.kill();
    assert!(draw(&limiter, &key, &quotas).await.is_err());
    redis.restart();
    let mut admitted = 0;
    for _ in 0..8 {
        admitted += u32::from(admits(&limiter, &key, &quotas).await);
    }
    assert_eq!(admitted, 4);
}

#[tokio::test]
async fn account_windows_share_one_cluster_slot() {
    let Some(redis) = Redis::start_cluster() else { return };
    let limiter = node(&redis);
    let own = [per_hour(4, QuotaScope::Key), per_hour(9, QuotaScope::Account)];
    let quotas = Quotas::new(own.clone());
    // Names that would end the tag early, or leave it empty, or begin another.
    for account in ["acme", "", "}", "{x}", "a}:limit:1{", "50%7D", "\u{7d}\r\n\u{e9}"] {
        for left in (0..4).rev() {
            let LimitDecision::Within(least) = draw(&limiter, &record(1, account), &quotas).await.unwrap()
            else {
                panic!("{account:?} is refused");
            };
            assert_eq!(least.remaining, left, "{account:?}");
        }
        assert!(!admits(&limiter, &record(1, account), &quotas).await);
    }
    let [key, account] = own;
    let across = Quotas::new([key, account, per_hour(9, QuotaScope::Pool("demo".into()))]);
    let stranger = record(2, "stranger");
    assert!(draw(&limiter, &stranger, &across).await.is_err(), "a pool is in another slot");
    assert!(
        names(&redis).iter().all(|name| !name.contains("demo") && !name.contains("stranger")),
        "nothing is spent"
    );
    let mut options = RedisOptions::new("acme");
    options.prefix = "{gate}".to_owned();
    let in_one = RedisLimiter::new(RedisServer::with_options(&redis.url(), options).unwrap());
    assert!(admits(&in_one, &stranger, &across).await);
}

#[tokio::test]
async fn wait_is_within_the_window() {
    let Some(redis) = Redis::start() else { return };
    let (limiter, key, month) = (node(&redis), record(1, "acme"), Duration::from_hours(30 * 24));
    let quotas = Quotas::new([QuotaPolicy::new(1, month).unwrap()]);
    assert!(admits(&limiter, &key, &quotas).await);
    let LimitDecision::Exceeded { retry_after, .. } = draw(&limiter, &key, &quotas).await.unwrap() else {
        panic!("admitted")
    };
    assert!(retry_after <= month && retry_after + Duration::from_mins(1) > month, "{retry_after:?}");
}

/// A time that lies too far ahead is refused, and is right again after a window.
async fn is_refused_for_an_hour_at_most(
    redis: &Redis,
    limiter: &RedisLimiter,
    key: &KeyRecord,
    quotas: &Quotas,
) {
    let LimitDecision::Exceeded { retry_after, .. } = draw(limiter, key, quotas).await.unwrap() else {
        panic!("admitted")
    };
    assert!(retry_after <= Duration::from_hours(1), "{retry_after:?}");
    let left: i64 = redis.say(&["PTTL", &names(redis)[0]]).trim_start_matches(':').parse().unwrap();
    assert!((1..=3_600_100).contains(&left), "it ends in {left} ms");
}

#[tokio::test]
async fn foreign_value_is_an_error() {
    let Some(redis) = Redis::start() else { return };
    let (limiter, key, quotas) =
        (node(&redis), record(1, "acme"), Quotas::new([per_hour(4, QuotaScope::Key)]));
    assert!(admits(&limiter, &key, &quotas).await);
    let name = &names(&redis)[0];
    for garbage in ["", "nan", "inf", "-1", "1e300", "0x10", "99999999999999999999", "17.5", " 5", "full\r\n"]
    {
        redis.say(&["SET", name, garbage]);
        assert!(draw(&limiter, &key, &quotas).await.unwrap_err().is_corrupt(), "{garbage:?}");
        assert!(limiter.peek(&Draw::new(&key, &quotas, now())).await.is_err(), "{garbage:?}");
    }
    redis.say(&["DEL", name]);
    redis.say(&["RPUSH", name, "1"]);
    assert!(draw(&limiter, &key, &quotas).await.unwrap_err().is_corrupt(), "a list");
    redis.say(&["SET", name, "9999999999999999"]);
    is_refused_for_an_hour_at_most(&redis, &limiter, &key, &quotas).await;
}

#[tokio::test]
async fn foreign_strict_window_is_an_error() {
    let Some(redis) = Redis::start() else { return };
    let (limiter, key) = (node(&redis), record(1, "acme"));
    let quotas = Quotas::new([per_hour(4, QuotaScope::Key).in_any_window()]);
    assert!(admits(&limiter, &key, &quotas).await);
    let name = &names(&redis)[0];
    let left: i64 = redis.say(&["PTTL", name]).trim_start_matches(':').parse().unwrap();
    assert!((1..=3_600_100).contains(&left), "it ends in {left} ms");
    let long = "1777550400000000:1 ".repeat(100);
    for garbage in
        ["", " ", "nan", "5", "5:", ":5", "-1:1", "1:-1", "1:0", "1;1", "1:1  1:1", "1:1,2:1", "1e9:1", &long]
    {
        redis.say(&["SET", name, garbage]);
        assert!(draw(&limiter, &key, &quotas).await.unwrap_err().is_corrupt(), "{garbage:?}");
        assert!(limiter.peek(&Draw::new(&key, &quotas, now())).await.is_err(), "{garbage:?}");
    }
    redis.say(&["SET", name, "9999999999999999:4"]);
    is_refused_for_an_hour_at_most(&redis, &limiter, &key, &quotas).await;
}

#[tokio::test]
async fn full_redis_admits_nobody() {
    let Some(redis) = Redis::start() else { return };
    let (limiter, key) = (node(&redis), record(1, "acme"));
    let quotas = Quotas::new([per_hour(4, QuotaScope::Key), per_hour(9, QuotaScope::Account)]);
    assert!(admits(&limiter, &key, &quotas).await);
    redis.say(&["CONFIG", "SET", "maxmemory", "1"]);
    for _ in 0..3 {
        assert!(draw(&limiter, &key, &quotas).await.is_err());
    }
    redis.say(&["CONFIG", "SET", "maxmemory", "0"]);
    let window_statuses = limiter.peek(&Draw::new(&key, &quotas, now())).await.unwrap();
    assert_eq!(
        window_statuses.iter().map(|window_status| window_status.remaining).collect::<Vec<_>>(),
        [3, 8]
    );
}
