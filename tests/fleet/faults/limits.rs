//! Four nodes that limit by their shares while the Redis that they share is dead: nobody is told that it could not be
//! decided, and what they admit is at most the documented excess.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate::account::{QuotaPolicy, QuotaScope, Quotas};
use tollgate::clock::SystemClock;
use tollgate::guard::Resilient;
use tollgate::key::KeyHasher;
use tollgate::limit::{Draw, LimitDecision, LocalFallback, LocalShare, RedisLimiter};
use tollgate::redis::RedisServer;
use tollgate::{Account, Clock, KeyId, KeyRecord, ManualClock, MemoryLimiter, RateLimiter};

use crate::services::redis::Redis;
use crate::support::faulty_back_ends::Failing;

const NODES: u32 = 4;
const TASKS: usize = 16;
const QUOTA: u32 = 100;
const WINDOW: Duration = Duration::from_secs(10);

type Limiter = LocalFallback<Resilient<RedisLimiter>>;

/// The times of admitted requests: when each was sent, and when its answer was known.
type Admitted = Vec<(Instant, Instant)>;

/// A node with its own connections and its own view of the account.
fn node(redis: &Redis) -> Arc<(Limiter, KeyRecord, Quotas)> {
    let server = RedisServer::open(&redis.url(), "acme").unwrap();
    let share = LocalShare::new(NonZeroU32::new(NODES).unwrap());
    let limiter = LocalFallback::new(Resilient::new(RedisLimiter::new(server)), share);
    let account = Arc::new(Account::new("acme", "pro"));
    let record = KeyRecord::new(KeyId::from_bytes([7; 16]), KeyHasher::sha256().hash(b"key"), account);
    let quota = QuotaPolicy::new(QUOTA, WINDOW).unwrap().counting(QuotaScope::Account);
    Arc::new((limiter, record, Quotas::new([quota])))
}

/// Draws as fast as it can.
async fn draw(node: Arc<(Limiter, KeyRecord, Quotas)>, until: Instant) -> Admitted {
    let (limiter, record, quotas) = &*node;
    let (clock, mut admitted) = (SystemClock::new(), Admitted::new());
    while Instant::now() < until {
        let asked = Instant::now();
        let drawn = limiter.draw(&Draw::new(record, quotas, clock.now())).await;
        // It is decided, whatever becomes of the server.
        if let LimitDecision::Within(_) = drawn.unwrap() {
            admitted.push((asked, Instant::now()));
        }
        tokio::task::yield_now().await;
    }
    admitted
}

/// Returns the amount that a full bucket and its refill admit in a time.
fn of_the_quota(time: Duration) -> u128 {
    u128::from(QUOTA) + u128::from(QUOTA) * time.as_millis() / WINDOW.as_millis() + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_redis_excess_is_within_the_bound() {
    let Some(mut redis) = Redis::start() else { return };
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..NODES {
        let node = node(&redis);
        for _ in 0..TASKS {
            tasks.spawn(draw(Arc::clone(&node), start + Duration::from_secs(6)));
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let killed = Instant::now();
    tokio::task::block_in_place(|| redis.kill());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let restarted = Instant::now();
    tokio::task::block_in_place(|| redis.restart());
    let admitted: Admitted = tasks.join_all().await.into_iter().flatten().collect();
    let between = |from: Instant, to: Instant| {
        let within = admitted.iter().filter(|(asked, known)| *asked >= from && *known <= to);
        within.count() as u128
    };
    let (before, during) = (between(start, killed), between(killed, restarted));
    // Who had asked Redis when it died is admitted by a share too.
    let shares = admitted.iter().filter(|(_, known)| (killed..restarted).contains(known)).count() as u128;
    let (all, time) = (admitted.len() as u128, start.elapsed());
    eprintln!("{before} admitted while it was there, {shares} while it was dead, {all} in {time:.1?}");
    assert!(before <= of_the_quota(killed - start), "the quota alone: {before}");
    assert!(during <= of_the_quota(restarted - killed), "the shares: {during}");
    assert!(shares >= u128::from(QUOTA), "each node's share is there to be used: {shares}");
    // It keeps nothing on disk: it comes back with a full window.
    let most = 2 * of_the_quota(time) + u128::from(QUOTA);
    assert!(all <= most, "{all} in {time:?}, at most {most}");
}

/// The shares of four nodes of 10 per minute are 2. Each admits a request of 5 units, and the next when these are refilled.
#[tokio::test]
async fn share_admits_a_heavy_request() {
    let account = Arc::new(Account::new("acme", "pro"));
    let record = KeyRecord::new(KeyId::from_bytes([7; 16]), KeyHasher::sha256().hash(b"key"), account);
    let clock = ManualClock::starting_at("2026-04-30T12:00:00Z".parse().unwrap());
    let quotas = Quotas::new(["10 per minute".parse::<QuotaPolicy>().unwrap()]);
    let shares = || LocalShare::new(NonZeroU32::new(NODES).unwrap());
    let down = Failing::new(MemoryLimiter::new());
    let limiters: [Box<dyn RateLimiter>; 2] =
        [Box::new(shares()), Box::new(LocalFallback::new(down, shares()))];
    for limiter in limiters {
        let draw = async |weight| {
            let draw = Draw::new(&record, &quotas, clock.now());
            limiter.draw(&draw.weighing(NonZeroU32::new(weight).unwrap())).await.unwrap()
        };
        let (mut admitted, begun) = (0, clock.now().elapsed());
        for _ in 0..60 {
            match draw(5).await {
                LimitDecision::Within(_) => admitted += 1,
                LimitDecision::Exceeded { retry_after, .. } => clock.advance(retry_after),
            }
        }
        // Each of the thirty waits is for five units, at two per minute.
        let passed = clock.now().elapsed().saturating_sub(begun);
        assert_eq!((admitted, passed), (30, Duration::from_mins(75)));
        // No request takes more than the whole quota.
        for (weight, wait) in [(5, 120), (10, 270), (100, 270)] {
            clock.advance(Duration::from_hours(1));
            assert!(matches!(draw(weight).await, LimitDecision::Within(_)));
            let LimitDecision::Exceeded { retry_after, .. } = draw(1).await else { panic!("{weight}") };
            assert_eq!(retry_after, Duration::from_secs(wait), "{weight}");
        }
        clock.advance(Duration::from_hours(1));
    }
}
