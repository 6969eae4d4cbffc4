//! The room that all who ask Redis share, against a real server that is killed, paused and started again.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "memory")]
mod cluster;
#[cfg(feature = "memory")]
mod faults;
#[cfg(feature = "memory")]
mod replies;
#[cfg(feature = "memory")]
mod sentinel;
#[cfg(all(feature = "memory", feature = "redis-tls"))]
mod tls;
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
    let wrong = [
        "redis//:right-horse@127.0.0.1",
        "redis://:right-horse@redis.example",
        "redis://:right?horse=@127.0.0.1",
        "redis://:right#horse@127.0.0.1",
        "redis://:right-horse@127.0.0.1,127.0.0.2",
    ];
    for url in wrong {
        let error = RedisServer::open(url, "acme").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("horse"), "{error:?}");
    }
}

#[test]
fn invalid_addresses_are_refused() {
    let refused = [
        ("redis://redis.example", "redis", "redis.example:6379"),
        ("redis://127.0.0.1,10.0.0.7:7000?cluster=true", "redis", "10.0.0.7:7000"),
        ("redis://[2001:db8::1]/0", "redis", "[2001:db8::1]:6379"),
        ("redis://10.0.0.7?sentinel=acme", "redis", "10.0.0.7:26379"),
        ("redis://127.0.0.1,127.0.0.2", "redis", "2"),
        ("redis://127.0.0.1?cluster=yes", "cluster", "yes"),
        ("redis://127.0.0.1/3?cluster=true", "cluster", "3"),
        ("redis://127.0.0.1?cluster=true&sentinel=acme", "cluster", "true"),
        ("unix:///run/redis.sock?cluster=true", "cluster", ""),
        ("redis://127.0.0.1?sentinel=", "sentinel", ""),
        ("redis://127.0.0.1?sentinel_password=secret", "sentinel_user", ""),
        ("redis://127.0.0.1?sslrootcert=/ca.pem", "sslrootcert", ""),
        ("rediss://127.0.0.1?insecure=true", "insecure", "true"),
        ("rediss://127.0.0.1?sslrootcert=/no/such/ca.pem", "sslrootcert", "/no/such/ca.pem"),
        ("redis://127.0.0.1?sslrotcert=/ca.pem", "", "sslrotcert"),
        ("redis://127.0.0.1:port", "", ""),
        ("http://127.0.0.1", "", ""),
        ("redis://", "", ""),
    ];
    for (url, member, value) in refused {
        let error = RedisServer::open(url, "acme").expect_err(url);
        assert_eq!((error.member(), error.value()), (member, value), "{url}: {error}");
        assert!(!error.expected().is_empty(), "{url}");
    }
    let accepted = [
        ("redis://localhost", "localhost:6379"),
        ("redis://redis.example:7000?insecure=true", "redis.example:7000"),
        ("redis://[::1]:7000/2", "[::1]:7000"),
        ("redis://user:p%40ss@127.0.0.1:7000,127.0.0.2?cluster=true", "127.0.0.1:7000,127.0.0.2:6379"),
        ("redis://127.0.0.1,127.0.0.1:7?sentinel=acme", "127.0.0.1:26379,127.0.0.1:7"),
        ("unix:///run/redis.sock?db=2&user=ada&pass=secret", "/run/redis.sock"),
        ("redis://127.0.0.1/2?protocol=resp3", "127.0.0.1:6379"),
    ];
    for (url, shown) in accepted {
        assert_eq!(RedisServer::open(url, "acme").expect(url).to_string(), shown);
    }
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
