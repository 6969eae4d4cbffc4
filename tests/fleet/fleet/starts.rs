//! The start and the end of nodes.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::fleet::fixture::{Stage, a_moment, program};
use crate::services::free_port;
use crate::services::postgres::Postgres;
use crate::services::redis::Redis;

const CREDITS: u64 = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_node_settles_open_charges() {
    let Some(stage) = Stage::new("metered", true).await.map(Arc::new) else { return };
    stage.top_up(CREDITS).await;
    let (client, issued) = (Client::new(), stage.issue().await);
    let secret = issued.secret.expose_secret();
    let address = stage.address(0).await.unwrap();
    for _ in 0..100 {
        assert_eq!(client.get(&address, "/report", secret).await.unwrap(), 200);
    }
    // What is taken in the background for the next requests is there.
    a_moment().await;
    assert!(stage.balance().await < CREDITS - 100, "credits are leased");
    stage.terminate(0).await;
    assert_eq!((stage.balance().await, stage.open_charges()), (CREDITS - 100, 0));
    let key = stage.manager.get(issued.key.id).await.unwrap();
    assert!(key.last_used_at.is_some(), "its use is written down");
    stage.stop().await;
}

/// Nothing is begun, and nothing is waited for for ever, where one of the servers is missing.
#[test]
fn missing_server_is_reported_at_once() {
    let (Some(postgres), Some(redis)) = (Postgres::shared(), Redis::start()) else { return };
    let nobody = format!("127.0.0.1:{}", free_port());
    let missing = [
        (postgres.database(), format!("redis://{nobody}")),
        (format!("postgres://{nobody}/gate"), redis.url()),
    ];
    for (postgres, redis) in missing {
        let start = Instant::now();
        let ended = Command::new(program()).args(["--postgres", &postgres, "--redis", &redis]).output();
        let ended = ended.unwrap();
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.code() == Some(1) && told.contains(&nobody), "{told}");
        assert!(ended.stdout.is_empty() && start.elapsed() < Duration::from_secs(10), "{told}");
    }
}
