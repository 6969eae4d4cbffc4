//! The room that all who ask Redis share, against a real server that is killed, paused and started again.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "memory")]
mod faults;
use crate::services;

use std::process::Command;
use std::time::{Duration, Instant};

use services::redis::Redis;
use tollgate::StoreError;
use tollgate::redis::{RedisOptions, RedisServer};

/// The time limit of a call to the server.
const PATIENCE: Duration = Duration::from_millis(300);

fn options(patience: Duration) -> RedisOptions {
    let mut options = RedisOptions::new("acme");
    options.response_timeout = patience;
    options
}

async fn timed(server: &RedisServer) -> (Result<(), StoreError>, Duration) {
    let start = Instant::now();
    let answer = server.ping().await;
    (answer, start.elapsed())
}

#[tokio::test]
async fn dead_server_is_an_error_and_found_again() {
    let Some(mut redis) = Redis::start() else { return };
    let patience = Duration::from_secs(30);
    let server = RedisServer::with_options(&redis.url(), options(patience)).unwrap();
    for _ in 0..4 {
        server.ping().await.unwrap();
    }
    redis.kill();
    for _ in 0..4 {
        let (answer, took) = timed(&server).await;
        assert!(!answer.unwrap_err().is_timeout(), "it is known to be down");
        assert!(took < patience / 3, "it took {took:?}");
    }
    redis.restart();
    // The connection was lost while nobody asked: not one question fails for it.
    for _ in 0..4 {
        server.ping().await.unwrap();
    }
}

#[tokio::test]
async fn paused_server_is_left_at_the_timeout() {
    let Some(redis) = Redis::start() else { return };
    let server = RedisServer::with_options(&redis.url(), options(PATIENCE)).unwrap();
    server.ping().await.unwrap();
    redis.pause();
    let asked = (0..500).map(|_| {
        let server = server.clone();
        tokio::spawn(async move { timed(&server).await })
    });
    for asked in asked.collect::<Vec<_>>() {
        let (answer, took) = asked.await.unwrap();
        assert!(answer.unwrap_err().is_timeout());
        assert!((PATIENCE..Duration::from_millis(800)).contains(&took), "it took {took:?}");
    }
    redis.resume();
    for _ in 0..4 {
        server.ping().await.unwrap();
    }
}

#[tokio::test]
async fn server_started_later_is_found() {
    let Some(mut redis) = Redis::start() else { return };
    redis.kill();
    let server = RedisServer::with_options(&redis.url(), options(PATIENCE)).unwrap();
    assert!(server.ping().await.is_err());
    redis.restart();
    for _ in 0..4 {
        server.ping().await.unwrap();
    }
}

#[tokio::test]
async fn debug_and_errors_hide_the_password() {
    let Some(redis) = Redis::start() else { return };
    redis.say(&["CONFIG", "SET", "requirepass", "right-horse"]);
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}", redis.port());
    let stranger = RedisServer::with_options(&url("wrong-horse"), options(PATIENCE)).unwrap();
    let error = stranger.ping().await.unwrap_err();
    assert!(!format!("{error:?} {stranger:?} {stranger}").contains("horse"), "{error:?}");
    RedisServer::with_options(&url("right-horse"), options(PATIENCE)).unwrap().ping().await.unwrap();
    let error = RedisServer::open("rediss://:right-horse@127.0.0.1", "acme").unwrap_err();
    assert!(error.to_string().contains("TLS") && !format!("{error:?}").contains("horse"), "{error:?}");
    let error = RedisServer::open("redis//:right-horse@127.0.0.1", "acme").unwrap_err();
    assert!(!format!("{error:?}").contains("horse"), "{error:?}");
}

#[test]
fn call_outside_a_runtime_is_an_error() {
    let server = RedisServer::open("redis://127.0.0.1:1", "acme").unwrap();
    let ping = std::pin::pin!(server.ping());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(matches!(ping.poll(&mut context), std::task::Poll::Ready(Err(_))));
}

#[test]
fn invalid_options_are_refused() {
    type Change = (&'static str, fn(&mut RedisOptions));
    let changes: [Change; 6] = [
        ("prefix", |options| options.prefix.clear()),
        ("prefix", |options| options.prefix = "two words".to_owned()),
        ("authority", |options| options.authority = Some(String::new())),
        ("response_timeout", |options| options.response_timeout = Duration::ZERO),
        ("connect_timeout", |options| options.connect_timeout = Duration::ZERO),
        ("connections", |options| options.connections = 0),
    ];
    for (member, change) in changes {
        let mut options = RedisOptions::new("acme");
        change(&mut options);
        assert_eq!(RedisServer::with_options("redis://127.0.0.1", options).unwrap_err().member(), member);
    }
}

/// The output of a test run names each skipped service, though the tests pass and their own output is hidden.
#[test]
fn skipped_service_tests_are_reported() {
    let mut run = Command::new(std::env::current_exe().unwrap());
    run.args(["--exact", "redis_server::dead_server_is_an_error_and_found_again"]);
    let run = run.env("PATH", "").env_remove("TOLLGATE_REQUIRE_SERVICES").output().unwrap();
    assert!(run.status.success());
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(told.contains("SKIPPED: `redis-server` is not on the PATH"), "{told}");
}
