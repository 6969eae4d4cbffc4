//! The published suites, over stacks of tiers.

use std::sync::Arc;
use std::time::Duration;

use tollgate::guard::Resilient;
use tollgate::redis::RedisServer;
use tollgate::store::{
    AccountAdmin, CachedStore, CachedStoreBuilder, ChannelState, RedisInvalidationBus, RedisRecords,
};
use tollgate::{MemoryStore, conformance};

use crate::cached::until;
use crate::services::redis::Redis;

/// All tiers in front of a store.
async fn stack<S: AccountAdmin>(authority: S, redis: &Redis) -> CachedStore<S> {
    let server = RedisServer::open(&redis.url(), "acme").unwrap();
    let builder = CachedStore::builder(authority).stale_for_at_most(Duration::from_mins(1));
    let builder = builder.second_tier(RedisRecords::new(server.clone()));
    let store = builder.invalidation_bus(RedisInvalidationBus::new(server)).build().unwrap();
    until(|| store.health().channel_state == ChannelState::Open).await;
    store
}

#[tokio::test]
async fn cached_store_keeps_the_contract() {
    let builder: CachedStoreBuilder<_> = CachedStore::builder(Resilient::new(MemoryStore::new()));
    let store = builder.build().unwrap();
    conformance::keys(store.clone()).run().await.assert();
    conformance::keys(Arc::new(store) as Arc<dyn AccountAdmin>).run().await.assert();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_tiers_keep_the_contract() {
    let Some(redis) = Redis::start() else { return };
    conformance::keys(stack(MemoryStore::new(), &redis).await).run().await.assert();
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_tiers_over_sqlite_keep_contract() {
    let Some(redis) = Redis::start() else { return };
    let folder = crate::services::scratch("cached");
    let url = format!("sqlite:{}", folder.join("keys.db").display());
    let authority = tollgate::store::SqlStore::connect(&url).await.unwrap();
    conformance::keys(stack(authority, &redis).await).run().await.assert();
    std::fs::remove_dir_all(folder).unwrap();
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_tiers_over_postgres_keep_contract() {
    let (Some(redis), Some(postgres)) = (Redis::start(), crate::services::postgres::Postgres::shared())
    else {
        return;
    };
    let authority = tollgate::store::SqlStore::connect(&postgres.database()).await.unwrap();
    conformance::keys(stack(authority, &redis).await).run().await.assert();
}

/// With the authority dead: known keys for the stated time and no longer, unknown keys are errors, and service resumes.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_postgres_is_found_again() {
    use std::time::Instant;

    use tollgate::clock::Timestamp;
    use tollgate::store::{InsertKey, KeyAdmin, SqlStore};
    use tollgate::{Account, KeyId, KeyRecord, KeyStore};

    use crate::cached::remote::hash;

    let Some(mut postgres) = crate::services::postgres::Postgres::start() else { return };
    let authority = SqlStore::connect(&postgres.database()).await.unwrap();
    let second = Duration::from_secs(1);
    let store =
        CachedStore::builder(authority).stale_for_at_most(second).stale_if_error(2 * second).jitter(0);
    let store = store.wait_at_most(second / 2).build().unwrap();
    let account = Account::new("ada", "pro");
    assert!(store.create_account(&account).await.unwrap());
    let record = KeyRecord::new(KeyId::from_bytes([1; 16]), hash(1), Arc::new(account));
    assert_eq!(
        store.insert(&InsertKey::new(record, Timestamp::from_millis(0))).await.unwrap(),
        tollgate::store::Inserted::Done
    );
    let since = Instant::now();
    assert!(store.find(&hash(1)).await.unwrap().is_some());
    let read = Instant::now();
    assert!(store.find(&hash(2)).await.unwrap().is_none());
    postgres.kill();
    let mut served = 0;
    loop {
        let asked = read.elapsed();
        if store.find(&hash(1)).await.is_err() {
            break;
        }
        assert!(asked <= 3 * second + second / 50, "{asked:?}");
        served += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(since.elapsed() >= 3 * second, "{:?}", since.elapsed());
    store.find(&hash(3)).await.unwrap_err();
    store.find(&hash(2)).await.unwrap_err();
    assert!(served > 10);
    postgres.restart();
    crate::cached::until_async(async || store.find(&hash(1)).await.is_ok_and(|found| found.is_some())).await;
    assert!(store.find(&hash(3)).await.unwrap().is_none());
}
