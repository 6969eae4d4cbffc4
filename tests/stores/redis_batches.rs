//! Batches: calls that many tasks make to Redis at the same time are sent together, and each gets its own answer.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::services;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use services::redis::Redis;
use tokio::task::JoinHandle;
use tollgate::account::{QuotaPolicy, Quotas};
use tollgate::clock::{Now, Timestamp};
use tollgate::key::KeyHasher;
use tollgate::limit::{Draw, LimitDecision, RedisLimiter};
use tollgate::redis::{RedisOptions, RedisServer};
use tollgate::{Account, KeyId, KeyRecord, RateLimiter, StoreError};

const TASKS: usize = 256;

/// Of an hour: no cell comes back while a test runs.
const QUOTA: u32 = 60;

fn limiter(redis: &Redis, response_timeout: Duration) -> RedisLimiter {
    let mut options = RedisOptions::new("acme");
    options.response_timeout = response_timeout;
    RedisLimiter::new(RedisServer::with_options(&redis.url(), options).unwrap())
}

async fn draw(limiter: &RedisLimiter, account: &str) -> Result<LimitDecision, StoreError> {
    let hash = KeyHasher::sha256().hash(account.as_bytes());
    let key = KeyRecord::new(KeyId::from_bytes([7; 16]), hash, Arc::new(Account::new(account, "plain")));
    let quotas = Quotas::new([QuotaPolicy::new(QUOTA, Duration::from_hours(1)).unwrap()]);
    limiter.draw(&Draw::new(&key, &quotas, Now::new(Timestamp::from_millis(0), Duration::ZERO))).await
}

/// A task that draws from an account's window, so many times one after the other.
fn task(
    limiter: &RedisLimiter,
    account: String,
    times: usize,
) -> JoinHandle<Vec<Result<LimitDecision, StoreError>>> {
    let limiter = limiter.clone();
    tokio::spawn(async move {
        let mut drawn = Vec::new();
        for _ in 0..times {
            drawn.push(draw(&limiter, &account).await);
        }
        drawn
    })
}

fn remaining(drawn: &Result<LimitDecision, StoreError>) -> u32 {
    match drawn {
        Ok(LimitDecision::Within(window_status)) => window_status.remaining,
        other => panic!("not admitted: {other:?}"),
    }
}

/// Returns the number of times that the server has read from a client.
fn reads(redis: &Redis) -> usize {
    let told = redis.say(&["INFO", "stats"]);
    let line = told.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
    line.unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn concurrent_calls_share_few_reads() {
    let Some(redis) = Redis::start() else { return };
    let limiter = limiter(&redis, Duration::from_secs(5));
    let _ = draw(&limiter, "acme").await.unwrap();
    let before = reads(&redis);
    let tasks: Vec<_> = (0..TASKS).map(|number| task(&limiter, format!("account-{number}"), 20)).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().iter().map(remaining).min(), Some(QUOTA - 20));
    }
    let read = reads(&redis) - before;
    assert!(read < TASKS * 20 / 16, "{read} reads for {} calls", TASKS * 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_task_gets_its_own_answer() {
    let Some(redis) = Redis::start() else { return };
    let limiter = limiter(&redis, Duration::from_secs(5));
    // More than one batch holds, from a server that knows no script yet.
    let tasks: Vec<_> = (0..TASKS).map(|number| task(&limiter, format!("account-{number}"), 3)).collect();
    for task in tasks {
        let left: Vec<u32> = task.await.unwrap().iter().map(remaining).collect();
        assert_eq!(left, [59, 58, 57]);
    }
}

#[tokio::test]
async fn failed_call_spoils_no_other_in_its_batch() {
    let Some(redis) = Redis::start() else { return };
    let limiter = limiter(&redis, Duration::from_secs(5));
    let _ = draw(&limiter, "spoilt").await.unwrap();
    let name = redis.say(&["KEYS", "*spoilt*"]).lines().last().unwrap().to_owned();
    redis.say(&["SET", &name, "no time at all"]);
    let account = |number: usize| {
        if number.is_multiple_of(3) { "spoilt".to_owned() } else { format!("sound-{number}") }
    };
    let tasks: Vec<_> = (0..TASKS).map(|number| task(&limiter, account(number), 1)).collect();
    for (number, task) in tasks.into_iter().enumerate() {
        let drawn = task.await.unwrap().remove(0);
        match account(number).as_str() {
            "spoilt" => assert!(drawn.unwrap_err().is_corrupt()),
            _ => assert_eq!(remaining(&drawn), 59),
        }
    }
}

#[tokio::test]
async fn cancelled_task_cancels_no_other() {
    let Some(redis) = Redis::start() else { return };
    let limiter = limiter(&redis, Duration::from_secs(5));
    // The server knows the script from here on, and does what it is asked at once.
    let _ = draw(&limiter, "acme").await.unwrap();
    let asked: Vec<_> = (0..TASKS)
        .map(|number| {
            let limiter = limiter.clone();
            async move { draw(&limiter, &format!("account-{number}")).await }
        })
        .map(Box::pin)
        .collect();
    let mut staying = Vec::new();
    for (number, mut draw) in asked.into_iter().enumerate() {
        // Each has asked before it leaves, the first one too, who would have seen to the sending.
        assert!(is_pending(&mut draw).await, "the answer is not there yet");
        if number % 2 == 1 {
            staying.push(draw);
        }
    }
    let drawn = 1 + staying.len();
    for draw in staying {
        assert_eq!(remaining(&draw.await), 59);
    }
    assert_eq!(
        redis.say(&["DBSIZE"]),
        format!(":{drawn}"),
        "nothing is spent for those who left before it was sent"
    );
}

/// Polls a future once; whether it is pending.
async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
    })
    .await
}

#[tokio::test]
async fn paused_batch_ends_at_the_timeout() {
    let Some(redis) = Redis::start() else { return };
    let hasty = limiter(&redis, Duration::from_secs(1));
    let _ = draw(&hasty, "acme").await.unwrap();
    redis.pause();
    let tasks: Vec<_> = (0..TASKS).map(|number| task(&hasty, format!("account-{number}"), 1)).collect();
    for task in tasks {
        assert!(task.await.unwrap().remove(0).unwrap_err().is_timeout());
    }
    redis.resume();
    // Once the server has caught up with what it was asked.
    let _ = draw(&limiter(&redis, Duration::from_secs(5)), "another").await.unwrap();
    assert_eq!(remaining(&draw(&hasty, "acme").await), 58);
}

#[test]
fn ended_runtime_blocks_no_other() {
    let Some(redis) = Redis::start() else { return };
    let limiter = limiter(&redis, Duration::from_secs(5));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (staying, ending) = (runtime(), runtime());
    assert_eq!(remaining(&staying.block_on(draw(&limiter, "acme"))), 59);
    ending.block_on(async { assert!(is_pending(&mut Box::pin(draw(&limiter, "acme"))).await) });
    drop(ending);
    assert_eq!(remaining(&staying.block_on(draw(&limiter, "acme"))), 58);
}

#[test]
fn draw_outside_a_runtime_is_an_error() {
    let limiter = RedisLimiter::new(RedisServer::open("redis://127.0.0.1:1", "acme").unwrap());
    let drawn = std::pin::pin!(draw(&limiter, "acme"));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(matches!(drawn.poll(&mut context), std::task::Poll::Ready(Err(_))));
}

/// Returns the number of connections that the server has accepted, the one that asks included.
fn connections(redis: &Redis) -> usize {
    let told = redis.say(&["INFO", "stats"]);
    let line = told.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    line.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn a_batch_whose_callers_left_is_not_sent() {
    let Some(redis) = Redis::start() else { return };
    let limiter = limiter(&redis, Duration::from_secs(30));
    for _ in 0..4 {
        let _drawn = draw(&limiter, "acme").await.unwrap();
    }
    let before = connections(&redis);
    // As a client that resets its request at once.
    assert!(draw(&limiter, "gone").now_or_never().is_none());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    for _ in 0..4 {
        let _drawn = draw(&limiter, "acme").await.unwrap();
    }
    assert_eq!(connections(&redis), before + 1, "no connection was replaced");
}
