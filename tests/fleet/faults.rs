//! Servers that die, hang, come back, are slow, or act and lose the answer: through a whole gate, nobody is told that his
//! key is unknown, nobody is served unpaid, nobody pays twice, and service goes on by itself.
#![cfg(all(feature = "config", feature = "postgres", feature = "redis"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "memory")]
mod limits;
use crate::services;
mod fixture;

use std::time::Duration;

use fixture::Stage;
use services::proxy::Fault;

const LONG: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_resumes_after_postgres_is_killed() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.under_load(|stage| stage.postgres.kill(), |stage| stage.postgres.restart()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_resumes_after_postgres_is_paused() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.under_load(|stage| stage.postgres.pause(), |stage| stage.postgres.resume()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_survives_postgres_network_faults() {
    for fault in [Fault::Cut, Fault::Slow(LONG), Fault::Slow(Duration::from_millis(100)), Fault::LosesAnswers]
    {
        let Some(mut stage) = Stage::new().await else { return };
        eprintln!("{fault:?}:");
        let bad = move |stage: &mut Stage| stage.to_postgres.set(fault);
        stage.under_load(bad, |stage| stage.to_postgres.set(Fault::None)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_resumes_after_redis_is_killed() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.under_load(|stage| stage.redis.kill(), |stage| stage.redis.restart()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_resumes_after_redis_is_paused() {
    let Some(mut stage) = Stage::new().await else { return };
    stage.under_load(|stage| stage.redis.pause(), |stage| stage.redis.resume()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_survives_redis_network_faults() {
    for fault in [Fault::Cut, Fault::Slow(LONG), Fault::Slow(Duration::from_millis(100)), Fault::LosesAnswers]
    {
        let Some(mut stage) = Stage::new().await else { return };
        eprintln!("{fault:?}:");
        let bad = move |stage: &mut Stage| stage.to_redis.set(fault);
        stage.under_load(bad, |stage| stage.to_redis.set(Fault::None)).await;
    }
}
