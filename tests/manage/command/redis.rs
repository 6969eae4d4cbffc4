//! Changes that are told to the other nodes.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate::account::AccountStatus;
use tollgate::key::{KeyHash, KeyHasher, KeyStatus};
use tollgate::redis::RedisServer;
use tollgate::store::{CachedStore, RedisInvalidationBus, RedisRecords, SqlStore};
use tollgate::{KeyRecord, KeyStore};

use crate::command::{Desk, Fault};
use crate::services::redis::Redis;

type Node = CachedStore<SqlStore>;

/// A node that reads what it keeps again after a minute, unless it hears of a change.
async fn node(folder: &Path, redis: &Redis) -> Result<Node, Fault> {
    let server = RedisServer::open(&redis.url(), "acme")?;
    let authority = SqlStore::connect(&format!("sqlite:{}", folder.join("keys.db").display())).await?;
    let minute = Duration::from_mins(1);
    let store = CachedStore::builder(authority).stale_for_at_most(minute).unannounced_for_at_most(minute);
    let store = store.second_tier(RedisRecords::new(server.clone()));
    Ok(store.invalidation_bus(RedisInvalidationBus::new(server)).build()?)
}

/// Waits until a node finds a key as it should be, for far less time than it keeps what it has.
async fn until(node: &Node, hash: &KeyHash, holds: impl Fn(&KeyRecord) -> bool) -> Result<(), Fault> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let found: Option<Arc<KeyRecord>> = node.find(hash).await?;
        if found.is_some_and(|record| holds(&record)) {
            return Ok(());
        }
        if Instant::now() > end {
            return Err("the node has not heard of it".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_reaches_a_node_at_once() -> Result<(), Fault> {
    let Some(redis) = Redis::start() else { return Ok(()) };
    let desk = Desk::with_store("keys-redis", "sqlite:keys.db")?;
    let url = redis.url();
    desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
    let (id, secret) = desk.issue("ada")?;
    let hash = KeyHasher::sha256().hash(secret.as_bytes());
    let node = node(&desk.0, &redis).await?;
    until(&node, &hash, |record| record.status == KeyStatus::Active).await?;

    let told = |arguments: &[&str]| -> Result<(), Fault> {
        let (_, err) = desk.done(&[arguments, &["--redis", &url, "--redis-prefix", "acme"]].concat())?;
        assert!(!err.contains("other nodes"), "{arguments:?}: {err}");
        Ok(())
    };
    told(&["keys", "pause", &id])?;
    until(&node, &hash, |record| record.status == KeyStatus::Paused).await?;
    told(&["accounts", "suspend", "ada"])?;
    until(&node, &hash, |record| record.account.status == AccountStatus::Suspended).await?;
    told(&["keys", "revoke", &id])?;
    until(&node, &hash, |record| record.status == KeyStatus::Revoked).await?;
    Ok(())
}

#[test]
fn unannounced_change_is_reported() -> Result<(), Fault> {
    let Some(mut redis) = Redis::start() else { return Ok(()) };
    let desk = Desk::with_store("keys-redis-gone", "sqlite:keys.db")?;
    let url = redis.url();
    desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
    let (id, _) = desk.issue("ada")?;

    // It answers, and takes no announcement.
    assert_eq!(redis.say(&["ACL", "SETUSER", "default", "-publish"]), "+OK");
    for change in [&["keys", "pause", &id][..], &["keys", "revoke", &id], &["accounts", "suspend", "ada"]] {
        let (_, err) = desk.done(&[change, &["--redis", &url, "--redis-prefix", "acme"]].concat())?;
        assert!(err.contains("the other nodes could not be notified"), "{change:?}: {err}");
    }

    redis.kill();
    let refused = desk.keys(&["accounts", "resume", "ada", "--redis", &url, "--redis-prefix", "acme"])?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr)?.contains("nothing was changed"));
    assert_eq!(desk.json(&["accounts", "show", "ada"])?["status"], "suspended");

    let unreadable = desk.keys(&["keys", "list", "--redis", "nowhere:secret@", "--redis-prefix", "acme"])?;
    let said = String::from_utf8(unreadable.stderr)?;
    assert!(said.contains("--redis: ") && !said.contains("secret"), "{said}");
    Ok(())
}
