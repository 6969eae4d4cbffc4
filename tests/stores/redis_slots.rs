//! Slots of requests in flight in Redis, over a real server.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::services;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use services::proxy::{Fault, Proxy};
use services::redis::Redis;
use tollgate::account::{InFlightLimit, InFlightLimits, QuotaOrigin, QuotaScope};
use tollgate::clock::{Now, Timestamp};
use tollgate::guard::{GuardLimits, Resilient};
use tollgate::key::KeyHasher;
use tollgate::limit::{Acquire, Acquired, LocalFallback, LocalShare, RedisLimiter, SlotId};
use tollgate::redis::{RedisOptions, RedisServer};
use tollgate::{Account, KeyId, KeyRecord, RateLimiter, StoreError};

const LIFETIME: Duration = Duration::from_secs(1);

/// Longer than any test.
const LONG: Duration = Duration::from_mins(10);

fn server(port: u16, prefix: &str, response_timeout: Duration) -> RedisServer {
    let mut options = RedisOptions::new(prefix);
    options.response_timeout = response_timeout;
    RedisServer::with_options(&format!("redis://127.0.0.1:{port}"), options).unwrap()
}

/// A node with a server handle of its own.
fn node(port: u16, lifetime: Duration) -> RedisLimiter {
    let limiter = RedisLimiter::new(server(port, "acme", Duration::from_secs(2)));
    limiter.with_slot_lifetime(lifetime).unwrap()
}

fn limit(most: u32, counts: QuotaScope) -> InFlightLimit {
    InFlightLimit::new(most).unwrap().counting(counts)
}

fn one(most: u32) -> InFlightLimits {
    InFlightLimits::new([limit(most, QuotaScope::Account)])
}

fn record(account: &str) -> KeyRecord {
    let account = Arc::new(Account::new(account, "plain"));
    KeyRecord::new(KeyId::from_bytes([1; 16]), KeyHasher::sha256().hash(b"secret"), account)
}

fn call<'a>(number: u128, record: &'a KeyRecord, limits: &'a InFlightLimits) -> Acquire<'a> {
    let now = Now::new(Timestamp::from_millis(0), Duration::ZERO);
    Acquire::new(SlotId::from_bytes(number.to_be_bytes()), record, limits, now)
}

async fn acquire(
    limiter: &impl RateLimiter,
    number: u128,
    limits: &InFlightLimits,
) -> Result<Acquired, StoreError> {
    limiter.acquire(&call(number, &record("acme"), limits)).await
}

/// Returns true if the request is given its slots.
async fn holds(limiter: &impl RateLimiter, number: u128, limits: &InFlightLimits) -> bool {
    matches!(acquire(limiter, number, limits).await.unwrap(), Acquired::Held { .. })
}

async fn release(
    limiter: &impl RateLimiter,
    number: u128,
    limits: &InFlightLimits,
) -> Result<(), StoreError> {
    limiter.release(&call(number, &record("acme"), limits)).await
}

/// The names of all sets.
fn names(redis: &Redis) -> Vec<String> {
    let answer = redis.say(&["KEYS", "*"]);
    answer.lines().filter(|line| line.starts_with("acme")).map(str::to_owned).collect()
}

fn slots(redis: &Redis, name: &str) -> usize {
    redis.say(&["ZCARD", name]).trim_start_matches(':').parse().unwrap()
}

/// The set of the account `acme`.
const SET: &str = "acme:{a:acme}:limit:slots";

/// Waits until so many slots are in the set, and returns the time that passed.
async fn until(redis: &Redis, held: usize) -> Duration {
    let start = Instant::now();
    while slots(redis, SET) != held {
        assert!(start.elapsed() < Duration::from_secs(10), "{} are held, not {held}", slots(redis, SET));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

#[tokio::test]
async fn nodes_share_the_slots() {
    let Some(redis) = Redis::start() else { return };
    let (first, second, limits) = (node(redis.port(), LONG), node(redis.port(), LONG), one(3));
    assert!(holds(&first, 1, &limits).await && holds(&second, 2, &limits).await);
    assert!(holds(&first, 3, &limits).await && !holds(&second, 4, &limits).await);
    release(&first, 1, &limits).await.unwrap();
    assert!(holds(&second, 5, &limits).await && !holds(&first, 6, &limits).await);
}

/// A release that is repeated frees nobody else's slot, and neither does one of a request that was refused.
#[tokio::test]
async fn second_release_frees_nothing() {
    let Some(redis) = Redis::start() else { return };
    let (limiter, limits) = (node(redis.port(), LONG), one(2));
    assert!(holds(&limiter, 1, &limits).await && holds(&limiter, 2, &limits).await);
    assert!(!holds(&limiter, 3, &limits).await);
    for number in [1, 1, 3] {
        release(&limiter, number, &limits).await.unwrap();
        assert_eq!(slots(&redis, SET), 1);
    }
    release(&limiter, 2, &limits).await.unwrap();
    assert_eq!(names(&redis), Vec::<String>::new());
}

#[tokio::test]
async fn every_set_expires_with_its_slots() {
    let Some(redis) = Redis::start() else { return };
    let limits = InFlightLimits::new([
        limit(5, QuotaScope::Key),
        limit(5, QuotaScope::Key).of(QuotaOrigin::Rule("GET /{a}:%".into())),
        limit(5, QuotaScope::Account),
        limit(5, QuotaScope::Pool("demo".into())),
    ]);
    let (short, long) = (node(redis.port(), LIFETIME), node(redis.port(), LONG));
    let expiries = || {
        let left = names(&redis).into_iter().map(|name| redis.say(&["PTTL", &name]));
        left.map(|left| left.trim_start_matches(':').parse::<u128>().unwrap()).collect::<Vec<_>>()
    };
    assert!(holds(&short, 1, &limits).await);
    let left = expiries();
    assert_eq!(left.len(), 4, "{:?}", names(&redis));
    assert!(left.iter().all(|left| (1..=LIFETIME.as_millis()).contains(left)), "{left:?}");
    // A node with a shorter lifetime does not shorten that of the others' slots.
    assert!(holds(&long, 2, &limits).await && holds(&short, 3, &limits).await);
    let left = expiries();
    assert!(left.iter().all(|left| *left > LONG.as_millis() - 5_000), "{left:?}");
    // Nothing renews the slots of a node that has gone.
    drop(short);
    tokio::time::sleep(LIFETIME).await;
    let tight = InFlightLimits::new([limit(2, QuotaScope::Account)]);
    assert!(holds(&long, 4, &tight).await, "the two slots of the short lifetime have expired");
}

/// Slots are renewed as long as they are held, and by nothing else.
#[tokio::test]
async fn held_slots_outlive_their_lifetime() {
    let Some(redis) = Redis::start() else { return };
    let (limiter, other, limits) = (node(redis.port(), LIFETIME), node(redis.port(), LONG), one(2));
    assert!(holds(&limiter, 1, &limits).await && holds(&limiter, 2, &limits).await);
    let start = Instant::now();
    while start.elapsed() < LIFETIME * 5 / 2 {
        assert!(!holds(&other, 3, &limits).await, "after {:?}", start.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    release(&limiter, 1, &limits).await.unwrap();
    assert!(holds(&other, 4, &limits).await);
}

/// Many slots are renewed in several batches.
#[tokio::test]
async fn many_slots_are_renewed() {
    let Some(redis) = Redis::start() else { return };
    let (limiter, limits) = (node(redis.port(), LIFETIME), one(2_000));
    for number in 0..1_200 {
        assert!(holds(&limiter, number, &limits).await);
    }
    tokio::time::sleep(LIFETIME * 3 / 2).await;
    let now: u128 = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
    let live = redis.say(&["ZCOUNT", SET, &now.to_string(), "+inf"]);
    assert_eq!(live, ":1200");
}

/// A limit that no request is left to hold is forgotten by its node: a slot that it remembers would come back.
#[tokio::test]
async fn released_slots_do_not_come_back() {
    let Some(redis) = Redis::start() else { return };
    let (limiter, limits) = (node(redis.port(), LIFETIME), one(100));
    for number in 0..100 {
        assert!(holds(&limiter, number, &limits).await);
        if number % 3 == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    for number in 0..100 {
        release(&limiter, number, &limits).await.unwrap();
    }
    assert_eq!(names(&redis), Vec::<String>::new());
    tokio::time::sleep(LIFETIME).await;
    assert_eq!(names(&redis), Vec::<String>::new());
}

/// The client leaves while the server is asked.
#[tokio::test]
async fn dropped_call_frees_its_slots() {
    let Some(redis) = Redis::start() else { return };
    let proxy = Proxy::to(redis.port()).await;
    let (limiter, limits) = (node(proxy.port, LONG), one(2));
    assert!(holds(&limiter, 1, &limits).await);
    release(&limiter, 1, &limits).await.unwrap();
    for pause in [0, 10, 40] {
        proxy.set(Fault::Slow(Duration::from_millis(30)));
        let acquired = tokio::time::timeout(Duration::from_millis(pause), acquire(&limiter, 2, &limits));
        assert!(acquired.await.is_err(), "it is answered within {pause} ms");
        proxy.set(Fault::None);
        // The call goes on.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(slots(&redis, SET), 0, "after {pause} ms");
    }
    let calls = redis.say(&["INFO", "commandstats"]);
    let added = calls.lines().find(|line| line.starts_with("cmdstat_zadd:calls=")).unwrap();
    assert!(added.starts_with("cmdstat_zadd:calls=4,"), "each of the calls has taken a slot: {added}");
}

/// The server gives a slot, and the answer comes too late.
#[tokio::test]
async fn unanswered_call_frees_its_slots() {
    let Some(redis) = Redis::start() else { return };
    let proxy = Proxy::to(redis.port()).await;
    let limiter = RedisLimiter::new(server(proxy.port, "acme", Duration::from_millis(200)));
    let (limiter, limits) = (limiter.with_slot_lifetime(LONG).unwrap(), one(2));
    assert!(holds(&limiter, 0, &limits).await && holds(&limiter, 1, &limits).await);
    // The server knows the scripts from now on.
    release(&limiter, 0, &limits).await.unwrap();
    proxy.set(Fault::Slow(Duration::from_millis(120)));
    assert!(acquire(&limiter, 2, &limits).await.unwrap_err().is_timeout());
    proxy.set(Fault::None);
    until(&redis, 2).await;
    until(&redis, 1).await;
}

/// A server that is stopped answers nobody. It gives slots to requests that have gone when it goes on, and they are free at
/// the end of their lifetime at the latest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_server_leaks_no_slots() {
    let Some(redis) = Redis::start() else { return };
    let limiter = RedisLimiter::new(server(redis.port(), "acme", Duration::from_millis(200)));
    let (limiter, limits) = (limiter.with_slot_lifetime(LIFETIME).unwrap(), one(4));
    assert!(holds(&limiter, 1, &limits).await);
    redis.pause();
    for number in 2..6 {
        assert!(acquire(&limiter, number, &limits).await.is_err());
    }
    redis.resume();
    let resumed = Instant::now();
    let held = loop {
        let mut held = Vec::new();
        for number in 10..14 {
            if acquire(&limiter, number, &limits)
                .await
                .is_ok_and(|held| held == Acquired::Held { local: false })
            {
                held.push(number);
            }
        }
        if held.len() == 3 {
            break held;
        }
        for number in held {
            release(&limiter, number, &limits).await.unwrap();
        }
        let passed = resumed.elapsed();
        assert!(passed < LIFETIME + Duration::from_secs(1), "slots are missing after {passed:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    for number in [vec![1], held].concat() {
        release(&limiter, number, &limits).await.unwrap();
    }
    tokio::time::sleep(LIFETIME).await;
    assert_eq!(names(&redis), Vec::<String>::new(), "the node has forgotten all requests");
}

/// A server that is started again has neither scripts nor slots. The nodes bring the slots back that are held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_server_counts_held_slots_again() {
    let Some(mut redis) = Redis::start() else { return };
    let (limiter, other, limits) = (node(redis.port(), LIFETIME), node(redis.port(), LIFETIME), one(3));
    assert!(holds(&limiter, 1, &limits).await && holds(&limiter, 2, &limits).await);
    assert!(holds(&other, 3, &limits).await);
    redis.kill();
    assert!(acquire(&limiter, 4, &limits).await.is_err());
    // It fails, and the slot is not renewed any more.
    assert!(release(&limiter, 2, &limits).await.is_err());
    redis.restart();
    let back = until(&redis, 2).await;
    assert!(back <= LIFETIME, "{back:?}");
    assert!(holds(&limiter, 5, &limits).await && !holds(&other, 6, &limits).await);
    release(&other, 3, &limits).await.unwrap();
    assert!(holds(&other, 7, &limits).await);
}

#[tokio::test]
async fn forgotten_scripts_are_loaded_again() {
    let Some(redis) = Redis::start() else { return };
    let (limiter, limits) = (node(redis.port(), LIFETIME), one(2));
    for number in 0..3 {
        redis.say(&["SCRIPT", "FLUSH"]);
        assert!(holds(&limiter, number, &limits).await);
        assert_eq!(slots(&redis, SET), 1);
        redis.say(&["SCRIPT", "FLUSH"]);
        release(&limiter, number, &limits).await.unwrap();
        assert_eq!(slots(&redis, SET), 0);
    }
    assert!(holds(&limiter, 9, &limits).await);
    redis.say(&["SCRIPT", "FLUSH"]);
    tokio::time::sleep(LIFETIME * 3 / 2).await;
    assert_eq!(slots(&redis, SET), 1, "it is renewed");
}

/// A value of another type is an error, and nothing is taken from the other limits of the request.
#[tokio::test]
async fn value_of_another_type_is_an_error() {
    let Some(redis) = Redis::start() else { return };
    let limiter = node(redis.port(), LIFETIME);
    let alone = one(2);
    let both = InFlightLimits::new([limit(2, QuotaScope::Key), limit(2, QuotaScope::Account)]);
    let guarded = Resilient::new(limiter.clone());
    let fallback = LocalFallback::new(guarded.clone(), LocalShare::new(NonZeroU32::new(2).unwrap()));
    for value in [["SET", SET, "1"], ["RPUSH", SET, "1"], ["SADD", SET, "1"]] {
        assert!(holds(&limiter, 1, &alone).await);
        redis.say(&["DEL", SET]);
        redis.say(&value);
        for number in 2..12 {
            assert!(acquire(&guarded, number, &both).await.unwrap_err().is_corrupt(), "{value:?}");
        }
        assert!(!guarded.health().open, "the server answers");
        assert_eq!(names(&redis), [SET], "nothing is taken");
        // A node's share of the limits is one.
        let local = Acquired::Held { local: true };
        assert_eq!(acquire(&fallback, 20, &both).await.unwrap(), local);
        assert_eq!(acquire(&fallback, 21, &both).await.unwrap(), Acquired::Full { limit: 0 });
        fallback.release(&call(20, &record("acme"), &both).held_locally(true)).await.unwrap();
        // The renewal and the release fail, and the node forgets the slot.
        tokio::time::sleep(LIFETIME / 2).await;
        assert!(release(&limiter, 1, &alone).await.unwrap_err().is_corrupt(), "{value:?}");
        redis.say(&["DEL", SET]);
        tokio::time::sleep(LIFETIME / 2).await;
        assert_eq!(names(&redis), Vec::<String>::new());
    }
}

#[tokio::test]
async fn full_redis_gives_no_slot() {
    let Some(redis) = Redis::start() else { return };
    let limiter = node(redis.port(), LONG);
    let limits = InFlightLimits::new([limit(4, QuotaScope::Key), limit(4, QuotaScope::Account)]);
    assert!(holds(&limiter, 1, &limits).await && holds(&limiter, 2, &limits).await);
    redis.say(&["CONFIG", "SET", "maxmemory", "1"]);
    for number in 3..6 {
        assert!(acquire(&limiter, number, &limits).await.is_err());
    }
    release(&limiter, 1, &limits).await.unwrap();
    redis.say(&["CONFIG", "SET", "maxmemory", "0"]);
    for name in names(&redis) {
        assert_eq!(slots(&redis, &name), 1, "{name}");
    }
}

#[tokio::test]
async fn account_slots_share_one_cluster_slot() {
    let Some(redis) = Redis::start_cluster() else { return };
    let limiter = node(redis.port(), LIFETIME);
    let own = [limit(2, QuotaScope::Key), limit(3, QuotaScope::Account)];
    let limits = InFlightLimits::new(own.clone());
    let mut number = 0;
    // Names that would end the tag early, or leave it empty, or begin another.
    for account in ["acme", "", "}", "{x}", "a}:limit:1{", "50%7D"] {
        let record = record(account);
        for is_held in [true, true, false] {
            number += 1;
            let held = limiter.acquire(&call(number, &record, &limits)).await.unwrap();
            assert_eq!(held == Acquired::Held { local: false }, is_held, "{account:?}");
        }
    }
    tokio::time::sleep(LIFETIME * 3 / 2).await;
    assert_eq!(slots(&redis, SET), 2, "they are renewed");
    let [key, account] = own;
    let across = InFlightLimits::new([key, account, limit(3, QuotaScope::Pool("demo".into()))]);
    let stranger = record("stranger");
    assert!(limiter.acquire(&call(9, &stranger, &across)).await.is_err(), "a pool is in another slot");
    assert!(
        names(&redis).iter().all(|name| !name.contains("demo") && !name.contains("stranger")),
        "nothing is taken"
    );
    let in_one = RedisLimiter::new(server(redis.port(), "{gate}", Duration::from_secs(2)));
    let held = in_one.acquire(&call(9, &stranger, &across)).await.unwrap();
    assert_eq!(held, Acquired::Held { local: false });
    in_one.release(&call(9, &stranger, &across)).await.unwrap();
}

/// While the server fails, no call is made. A release is made even then.
#[tokio::test]
async fn guard_stops_asking_a_dead_server() {
    let Some(mut redis) = Redis::start() else { return };
    let mut terms = GuardLimits::default();
    (terms.failures, terms.cooldown) = (2, Duration::from_millis(200));
    let (limits, guarded) = (one(2), Resilient::with_limits(node(redis.port(), LIFETIME), terms));
    assert!(holds(&guarded, 1, &limits).await);
    redis.kill();
    for number in 2..4 {
        assert!(acquire(&guarded, number, &limits).await.is_err());
    }
    assert!(guarded.health().open && guarded.is_failing());
    assert!(release(&guarded, 1, &limits).await.is_err());
    redis.restart();
    let start = Instant::now();
    while acquire(&guarded, 5, &limits).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(5), "the circuit stays open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(holds(&guarded, 6, &limits).await && !holds(&guarded, 7, &limits).await);
}

#[test]
fn lifetime_is_within_its_range() {
    let limiter = RedisLimiter::new(RedisServer::open("redis://127.0.0.1:1", "acme").unwrap());
    for lifetime in [Duration::from_secs(1), Duration::from_mins(10)] {
        limiter.clone().with_slot_lifetime(lifetime).unwrap();
    }
    for (lifetime, shown) in [
        (Duration::ZERO, "0ns"),
        (Duration::from_millis(999), "999ms"),
        (Duration::from_millis(600_001), "600.001s"),
        (Duration::MAX, "18446744073709551615.999999999s"),
    ] {
        let error = limiter.clone().with_slot_lifetime(lifetime).unwrap_err();
        assert_eq!(error.value(), shown);
        assert!(error.problem().contains("lifetime") && error.expected().contains("10 min"), "{error}");
    }
}
