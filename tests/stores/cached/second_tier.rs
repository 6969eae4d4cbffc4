//! Records in Redis, shared by nodes: real servers, real time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tollgate::clock::Timestamp;
use tollgate::key::KeyStatus;
use tollgate::redis::RedisServer;
use tollgate::store::{
    CachedStore, CachedStoreBuilder, CachedText, Change, InsertKey, KeyAdmin, RecordCache, RedisRecords,
    Replaced,
};
use tollgate::{KeyRecord, KeyStore};

use crate::cached::remote::{Remote, hash};
use crate::cached::{set_status, status_of};
use crate::services::redis::Redis;

const BOUND: Duration = Duration::from_secs(3);

fn records(redis: &Redis) -> RedisRecords {
    RedisRecords::new(RedisServer::open(&redis.url(), "acme").unwrap())
}

fn node(remote: &Arc<Remote>, redis: &Redis) -> CachedStore<Arc<Remote>> {
    plain(remote).second_tier(records(redis)).build().unwrap()
}

fn plain(remote: &Arc<Remote>) -> CachedStoreBuilder<Arc<Remote>> {
    CachedStore::builder(Arc::clone(remote)).stale_for_at_most(BOUND).absent_for(BOUND / 3).jitter(0)
}

/// The name of an entry in Redis.
fn entry(hash: &tollgate::key::KeyHash) -> String {
    let (high, low) = hash.as_bytes().split_at(16);
    let half = |half: &[u8]| u128::from_be_bytes(half.try_into().unwrap());
    format!("acme:{{records}}:{:032x}{:032x}", half(high), half(low))
}

/// The server's time in microseconds.
fn server_time(redis: &Redis) -> u64 {
    let answer = redis.say(&["TIME"]);
    let numbers: Vec<u64> = answer.lines().filter_map(|line| line.parse().ok()).collect();
    numbers[0] * 1_000_000 + numbers[1]
}

/// Waits until the entry is there, which a node writes after it has answered.
async fn kept(redis: &Redis, hash: &tollgate::key::KeyHash) {
    crate::cached::until(|| redis.say(&["EXISTS", &entry(hash)]) == ":1").await;
}

#[tokio::test]
async fn redis_shares_reads_between_nodes() {
    let Some(redis) = Redis::start() else { return };
    let remote = Remote::new();
    let (id, known) = remote.key(1);
    let (one, other, third) = (node(&remote, &redis), node(&remote, &redis), node(&remote, &redis));
    let record = one.find(&known).await.unwrap().unwrap();
    let read = Instant::now();
    assert!(one.find(&hash(9)).await.unwrap().is_none());
    kept(&redis, &known).await;
    kept(&redis, &hash(9)).await;
    let shared = other.find(&known).await.unwrap().unwrap();
    assert!(*shared == *record && !Arc::ptr_eq(&shared, &record));
    assert!(other.find(&hash(9)).await.unwrap().is_none());
    assert_eq!(remote.reads(), 2);

    // However many tiers it came through, it is as old as its reading.
    remote.store.set_status(id, KeyStatus::Revoked);
    tokio::time::sleep((BOUND / 2).saturating_sub(read.elapsed())).await;
    assert_eq!(status_of(&third, &known).await, Some(KeyStatus::Active));
    assert_eq!(remote.reads(), 2);
    tokio::time::sleep(BOUND.saturating_sub(read.elapsed())).await;
    for node in [&one, &other, &third] {
        assert_eq!(status_of(node, &known).await, Some(KeyStatus::Revoked));
    }
    assert!(redis.say(&["PTTL", &entry(&known)]).trim_start_matches(':').parse::<u64>().unwrap() <= 3000);
}

#[tokio::test]
async fn revocation_wins_over_a_remote_read() {
    let Some(redis) = Redis::start() else { return };
    let remote = Remote::new();
    for number in 0..20 {
        let (id, hash) = remote.key(number);
        let (reader, revoker) = (node(&remote, &redis), node(&remote, &redis));
        remote.answers_after(Duration::from_millis(30));
        let (before, reading) = (remote.reads(), tokio::spawn(reader.find(&hash)));
        crate::cached::until(|| remote.reads() > before).await;
        set_status(&revoker, id, KeyStatus::Revoked).await;
        // The reader's own question began before the revocation, and so did its answer.
        assert_eq!(reading.await.unwrap().unwrap().unwrap().status, KeyStatus::Active);
        kept(&redis, &hash).await;
        remote.answers_after(Duration::ZERO);
        for node in [revoker, node(&remote, &redis)] {
            assert_eq!(status_of(&node, &hash).await, Some(KeyStatus::Revoked), "round {number}");
        }
    }
}

#[tokio::test]
async fn change_mark_voids_older_entries() {
    let Some(redis) = Redis::start() else { return };
    let (tier, remote) = (records(&redis), Remote::new());
    let (id, hash) = remote.key(1);
    let record = remote.store.key(id).unwrap();
    let subject = tollgate::store::CachedSubject { key: id, account: record.account.id.clone() };
    let text = CachedText::new("text".to_owned(), Some(subject), BOUND);
    let changes = [Change::Key(id), Change::Account(record.account.id.clone()), Change::Everything];
    for change in &changes {
        let before = tier.get(&hash).await.unwrap();
        assert_eq!(before.found, None);
        tier.put(&hash, before.version, &text).await.unwrap();
        assert_eq!(tier.get(&hash).await.unwrap().found.unwrap().0, text);
        tier.invalidate(change, &[], BOUND).await.unwrap();
        assert_eq!(tier.get(&hash).await.unwrap().found, None, "void after it was kept");
        tier.put(&hash, before.version, &text).await.unwrap();
        assert_eq!(tier.get(&hash).await.unwrap().found, None, "void before it was kept");
        let after = tier.get(&hash).await.unwrap();
        tier.put(&hash, after.version, &text).await.unwrap();
        assert!(tier.get(&hash).await.unwrap().found.is_some(), "read after the change");
        // One that was read earlier does not come in its place.
        let old = CachedText::new("old".to_owned(), text.subject.clone(), BOUND);
        tier.put(&hash, before.version, &old).await.unwrap();
        assert_eq!(tier.get(&hash).await.unwrap().found.unwrap().0.text, "text");
        tier.invalidate(&Change::Everything, &[], BOUND).await.unwrap();
    }
    // Another's change makes nothing of it void.
    let version = tier.get(&hash).await.unwrap().version;
    tier.put(&hash, version, &text).await.unwrap();
    tier.invalidate(&Change::Key(tollgate::KeyId::from_bytes([9; 16])), &[], BOUND).await.unwrap();
    assert!(tier.get(&hash).await.unwrap().found.is_some());
    // Nothing outlives its life, and nothing stays behind.
    tokio::time::sleep(BOUND).await;
    assert_eq!(tier.get(&hash).await.unwrap().found, None);
    tier.put(&hash, version, &text).await.unwrap();
    assert_eq!(tier.get(&hash).await.unwrap().found, None);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(redis.say(&["KEYS", "*"]), "*0");
}

#[tokio::test]
async fn new_key_works_despite_a_redis_miss() {
    let Some(redis) = Redis::start() else { return };
    let remote = Remote::new();
    remote.key(1);
    let (one, other) = (node(&remote, &redis), node(&remote, &redis));
    assert!(one.find(&hash(5)).await.unwrap().is_none());
    kept(&redis, &hash(5)).await;
    let account = one.account_of(&"account-1".into()).await.unwrap().unwrap();
    let record = KeyRecord::new(tollgate::KeyId::from_bytes([5; 16]), hash(5), account);
    let insert = InsertKey::new(record, Timestamp::from_millis(0));
    assert_eq!(one.insert(&insert).await.unwrap(), tollgate::store::Inserted::Done);
    assert!(one.find(&hash(5)).await.unwrap().is_some());
    assert!(other.find(&hash(5)).await.unwrap().is_some());
}

#[tokio::test]
async fn foreign_redis_entry_is_overwritten() {
    let Some(redis) = Redis::start() else { return };
    let remote = Remote::new();
    let (id, hash) = remote.key(1);
    let (stranger_id, stranger) = remote.key(2);
    let writer = node(&remote, &redis);
    writer.find(&hash).await.unwrap();
    writer.find(&stranger).await.unwrap();
    kept(&redis, &hash).await;
    kept(&redis, &stranger).await;
    let own = entry(&hash);
    let field = |name: &str| {
        let answer = redis.say(&["HGET", &own, name]);
        answer.split_once("\r\n").map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let (moment, life, text) = (field("moment"), field("life"), field("text"));
    let foreign = redis.say(&["HGET", &entry(&stranger), "text"]).split_once("\r\n").unwrap().1.to_owned();
    let (key, other_key) = (id.to_string(), stranger_id.to_string());
    let later = (moment.parse::<u64>().unwrap() + 3_600_000_000).to_string();
    let long = "x".repeat(300 * 1024);
    let filed = |moment: &str, life: &str, text: &str, key: &str, account: &str| {
        let words =
            ["HSET", &own, "moment", moment, "life", life, "text", text, "key", key, "account", account];
        redis.say(&words);
    };
    // (what is there, how it is written)
    let hostile: [(&str, &dyn Fn()); 14] = [
        ("a string", &|| drop(redis.say(&["SET", &own, &text]))),
        ("a list", &|| drop(redis.say(&["RPUSH", &own, &text]))),
        ("a text alone", &|| drop(redis.say(&["HSET", &own, "text", &text]))),
        ("another's record", &|| filed(&moment, &life, &foreign, &other_key, "account-2")),
        ("another's record as its own", &|| filed(&moment, &life, &foreign, &key, "account-1")),
        ("filed as another's", &|| filed(&moment, &life, &text, &other_key, "account-1")),
        ("filed under another account", &|| filed(&moment, &life, &text, &key, "account-2")),
        ("of an older format", &|| {
            filed(&moment, &life, &text.replace("\"v\":1", "\"v\":0"), &key, "account-1");
        }),
        ("truncated", &|| filed(&moment, &life, &text[..text.len() - 9], &key, "account-1")),
        ("too long", &|| filed(&moment, &life, &long, &key, "account-1")),
        ("from the future", &|| filed(&later, &life, &text, &key, "account-1")),
        ("of no moment", &|| filed("nan", &life, &text, &key, "account-1")),
        ("without end", &|| filed(&moment, "inf", &text, &key, "account-1")),
        ("of long ago, and long-lived", &|| filed("5", "99999999999999999", &text, &key, "account-1")),
    ];
    for (what, write) in hostile {
        redis.say(&["DEL", &own]);
        write();
        let (reads, node, since) = (remote.reads(), node(&remote, &redis), server_time(&redis));
        assert_eq!(node.find(&hash).await.unwrap().unwrap().id, id, "{what}");
        assert_eq!(remote.reads(), reads + 1, "{what}");
        let moment = || field("moment").parse().unwrap_or(0);
        crate::cached::until(|| (since..=server_time(&redis)).contains(&moment()) && field("text") == text)
            .await;
    }
}

#[tokio::test]
async fn lost_redis_falls_back_to_the_authority() {
    let Some(mut redis) = Redis::start() else { return };
    let remote = Remote::new();
    let (id, hash) = remote.key(1);
    let (one, other) = (node(&remote, &redis), node(&remote, &redis));
    status_of(&one, &hash).await;
    kept(&redis, &hash).await;
    // It is there and answers nothing: each waits for it once at the most.
    redis.pause();
    let mut revoked = KeyRecord::clone(&one.get(id).await.unwrap().unwrap());
    revoked.status = KeyStatus::Revoked;
    assert_eq!(one.replace(&revoked).await.unwrap(), Replaced::Unannounced);
    redis.resume();
    // It may still have the active record: the revoker asks it no more.
    assert_eq!(status_of(&one, &hash).await, Some(KeyStatus::Revoked));
    tokio::time::sleep(BOUND).await;
    assert_eq!(status_of(&other, &hash).await, Some(KeyStatus::Revoked));

    redis.kill();
    for number in 10..20 {
        let (_, hash) = remote.key(number);
        assert!(one.find(&hash).await.unwrap().is_some());
    }
    redis.restart();
    // It is asked again after a while, and keeps what is read from then on.
    let next = std::sync::atomic::AtomicU8::new(30);
    crate::cached::until_async(async || {
        let (_, hash) = remote.key(next.fetch_add(1, Ordering::SeqCst).max(30));
        one.find(&hash).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        redis.say(&["EXISTS", &entry(&hash)]) == ":1"
    })
    .await;
}

#[tokio::test]
async fn redis_record_serves_during_an_outage() {
    let Some(redis) = Redis::start() else { return };
    let remote = Remote::new();
    let (_, known) = remote.key(1);
    node(&remote, &redis).find(&known).await.unwrap();
    kept(&redis, &known).await;
    remote.down.store(true, Ordering::SeqCst);
    let late = node(&remote, &redis);
    assert!(late.find(&known).await.unwrap().is_some());
    late.find(&hash(9)).await.unwrap_err();
    tokio::time::sleep(BOUND).await;
    late.find(&known).await.unwrap_err();
}

#[tokio::test]
async fn cluster_keeps_all_entries_in_one_slot() {
    let Some(redis) = Redis::start_cluster() else { return };
    let remote = Remote::new();
    let (id, hash) = remote.key(1);
    let (one, other) = (node(&remote, &redis), node(&remote, &redis));
    one.find(&hash).await.unwrap();
    kept(&redis, &hash).await;
    other.find(&hash).await.unwrap();
    assert_eq!(remote.reads(), 1);
    set_status(&one, id, KeyStatus::Revoked).await;
    assert_eq!(status_of(&node(&remote, &redis), &hash).await, Some(KeyStatus::Revoked));
}

/// Nodes go by bounds of their own: what one has kept for longer than another's is gone with the change.
#[tokio::test]
async fn entry_outliving_its_change_mark_is_void() {
    let Some(redis) = Redis::start() else { return };
    let (tier, remote) = (records(&redis), Remote::new());
    let (id, hash) = remote.key(1);
    let subject = tollgate::store::CachedSubject { key: id, account: "account-1".into() };
    let text = CachedText::new("text".to_owned(), Some(subject), Duration::from_mins(1));
    let version = tier.get(&hash).await.unwrap().version;
    tier.put(&hash, version, &text).await.unwrap();
    tier.invalidate(&Change::Key(id), &[hash], Duration::from_millis(20)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(tier.get(&hash).await.unwrap().found, None);
    assert_eq!(redis.say(&["KEYS", "*"]), "*0");
}
