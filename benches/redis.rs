//! Throughput of the limiter and the ledger over Redis, compared with Redis alone.
//!
//! ```text
//! cargo bench --features redis --bench redis
//! ```
//!
//! - throughput: draws by 256 tasks, compared in alternate rounds with `redis-benchmark`, with the same script and the same
//!   number of calls in flight;
//! - windows: draws from the two windows of a plan, compared in alternate rounds with draws from five windows: those of the
//!   plan, two of a rule and one of a network;
//! - latency: admissions by one task that only draw, compared in alternate rounds with admissions that draw and charge in one
//!   call.
//!
//! It starts its own `redis-server`, and prints a message if none is installed.
#![allow(clippy::unwrap_used, reason = "a bench ends where it fails")]
#![allow(clippy::cast_precision_loss, reason = "figures are shown to three places")]

#[path = "../tests/services/mod.rs"]
mod services;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use services::redis::Redis;
use tollgate::account::{
    Allowance, Grant, GrantPeriod, NetworkCut, QuotaOrigin, QuotaPolicy, QuotaScope, Quotas,
};
use tollgate::clock::SystemClock;
use tollgate::credit::RedisLedger;
use tollgate::key::{KeyHasher, Length};
use tollgate::limit::{Draw, LimitDecision, RedisLimiter};
use tollgate::redis::{RedisOptions, RedisServer};
use tollgate::rule::Cost;
use tollgate::{
    Account, Clock, Credits, Gate, KeyFormat, KeyId, KeyRecord, KeySource, MemoryStore, Plan, RateLimiter,
    RequestView, Rule,
};

const TASKS: u64 = 256;
const CALLS: u64 = 100_000;
const SAMPLES: u32 = 5_000;
const ROUNDS: usize = 7;

/// Numbers of connections of `redis-benchmark` and of calls in flight on each: their product is the number of tasks.
const SHAPES: [(u32, u32); 3] = [(1, 256), (4, 64), (8, 32)];

/// The address of the client.
const CLIENT: [u8; 4] = [192, 0, 2, 7];

/// The limiter's script, as the limiter loads it.
const SCRIPT: &str = concat!(
    include_str!("../src/redis/clock.lua"),
    "\n",
    include_str!("../src/limit/redis/bucket.lua"),
    "\n",
    include_str!("../src/limit/redis/log.lua"),
    "\n",
    include_str!("../src/limit/redis/windows.lua"),
    "\nreturn draw(#KEYS, ARGV[#ARGV] == '1')"
);

fn main() {
    // Cargo's test runner does not measure.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let Some(redis) = Redis::start() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    throughput(&redis, &runtime);
    windows(&redis, &runtime);
    runtime.block_on(latency(&redis));
}

fn server(redis: &Redis) -> RedisServer {
    let mut options = RedisOptions::new("acme");
    options.response_timeout = Duration::from_secs(5);
    RedisServer::with_options(&redis.url(), options).unwrap()
}

fn record(account: &str) -> KeyRecord {
    let account = Arc::new(Account::new(account, "plain"));
    KeyRecord::new(KeyId::from_bytes([7; 16]), KeyHasher::sha256().hash(b"secret"), account)
}

/// A window that admits all requests of this bench.
fn quotas() -> Quotas {
    Quotas::new([QuotaPolicy::new(4_000_000_000, Duration::from_hours(24)).unwrap()])
}

fn throughput(redis: &Redis, runtime: &tokio::runtime::Runtime) {
    let limiter = Arc::new(RedisLimiter::new(server(redis)));
    let sha = redis.say(&["SCRIPT", "LOAD", SCRIPT]).lines().last().unwrap().to_owned();
    redis.say(&["SCRIPT", "FLUSH"]);
    let quotas = Arc::new(quotas());
    runtime.block_on(draws(&limiter, &quotas, TASKS));
    assert_eq!(redis.say(&["SCRIPT", "EXISTS", &sha]), "*1\r\n:1", "the limiter runs this script");
    println!("draws per second, {TASKS} in flight; redis-benchmark with the same script, in three shapes");
    let (mut ours, mut theirs) = (Vec::new(), SHAPES.map(|_| Vec::new()));
    for _ in 0..ROUNDS {
        for (shape, reached) in SHAPES.iter().zip(&mut theirs) {
            reached.push(benchmark(redis, &sha, *shape));
        }
        let start = Instant::now();
        runtime.block_on(draws(&limiter, &quotas, CALLS));
        ours.push(CALLS as f64 / start.elapsed().as_secs_f64());
        let latest = theirs.each_ref().map(|reached| reached[reached.len() - 1].round());
        println!("  ours {:>9.0}   redis-benchmark {latest:?}", ours[ours.len() - 1]);
    }
    let best = theirs.iter_mut().map(|reached| median(reached)).fold(0.0, f64::max);
    println!(
        "  ours over the best shape, by medians: {:.3} (at least 0.9 is wanted)",
        median(&mut ours) / best
    );
}

async fn draws(limiter: &Arc<RedisLimiter>, quotas: &Arc<Quotas>, calls: u64) {
    let left = Arc::new(AtomicU64::new(calls));
    let task = |_| {
        let (limiter, left, quotas) = (Arc::clone(limiter), Arc::clone(&left), Arc::clone(quotas));
        tokio::spawn(async move {
            let (record, now) = (record("acme"), SystemClock::new().now());
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                let draw = Draw::new(&record, &quotas, now).from_address(CLIENT.into());
                let drawn = limiter.draw(&draw).await.unwrap();
                assert!(matches!(drawn, LimitDecision::Within(_)));
            }
        })
    };
    for task in (0..TASKS).map(task).collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

/// Quotas that admit all requests of this bench. A window is refilled more slowly than requests are made, so that it is
/// stored in Redis.
fn plan_and_rule() -> [Arc<Quotas>; 2] {
    let quota = |text: &str| text.parse::<QuotaPolicy>().unwrap();
    let plan = || Quotas::new(["3600000 per hour", "40000000 per day"].map(quota));
    let network = quota("3000000 per hour").counting(QuotaScope::Network(NetworkCut::default()));
    let rule = [quota("2400000 per hour"), quota("20000000 per day"), network];
    let both = plan().beside(QuotaOrigin::Rule("POST /v1/backtests".into()), rule);
    [Arc::new(plan()), Arc::new(both)]
}

/// Returns the time of a draw.
async fn draw(limiter: &RedisLimiter, record: &KeyRecord, quotas: &Quotas, every_window: bool) -> f64 {
    let draw = Draw::new(record, quotas, SystemClock::new().now());
    let draw = draw.from_address(CLIENT.into()).telling_every_window(every_window);
    let start = Instant::now();
    let drawn = limiter.draw(&draw).await.unwrap();
    let took = start.elapsed().as_secs_f64();
    let LimitDecision::Within(window_status) = drawn else { panic!("a quota is too small for this bench") };
    assert_eq!(window_status.all.is_empty(), !every_window);
    took
}

fn windows(redis: &Redis, runtime: &tokio::runtime::Runtime) {
    let limiter = Arc::new(RedisLimiter::new(server(redis)));
    let [two, five] = plan_and_rule();
    let records = [record("two"), record("five")];
    for every_window in [false, true] {
        let told = if every_window { ", with the state of every window" } else { "" };
        println!("p50 at one task: draws from two windows, and from five{told}");
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            let (mut of_two, mut of_five) = (Vec::new(), Vec::new());
            runtime.block_on(async {
                for _ in 0..SAMPLES {
                    of_two.push(draw(&limiter, &records[0], &two, every_window).await);
                    of_five.push(draw(&limiter, &records[1], &five, every_window).await);
                }
            });
            let (of_two, of_five) = (median(&mut of_two), median(&mut of_five));
            ratios.push(of_five / of_two);
            let ratio = of_five / of_two;
            println!("  two {:>6.1} us   five {:>6.1} us   ratio {ratio:.3}", of_two * 1e6, of_five * 1e6);
        }
        println!("  median ratio {:.3} (the target is at most 1.35)", median(&mut ratios));
    }
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (quotas, rates) in [&two, &five].into_iter().zip(&mut rates) {
            let start = Instant::now();
            runtime.block_on(draws(&limiter, quotas, CALLS));
            rates.push(CALLS as f64 / start.elapsed().as_secs_f64());
        }
    }
    let [two, five] = rates.each_mut().map(|rates| median(rates));
    println!(
        "draws per second, {TASKS} in flight, by medians: from two windows {two:.0}, from five {five:.0}"
    );
}

/// Measures the rate of `redis-benchmark` with this many connections and this many calls in flight on each.
fn benchmark(redis: &Redis, sha: &str, (connections, pipeline): (u32, u32)) -> f64 {
    let key = "acme:{a:acme}:limit:07070707-0707-0707-0707-070707070707:86400000000000:day";
    let said = Command::new("redis-benchmark")
        .args(["-p", &redis.port().to_string(), "-q", "-n", &CALLS.to_string()])
        .args(["-c", &connections.to_string(), "-P", &pipeline.to_string()])
        .args(["EVALSHA", sha, "1", key, "21600", "4000000000", "1", "0"])
        .output()
        .unwrap_or_else(|error| panic!("redis-benchmark is not on the PATH: {error}"));
    let said = String::from_utf8(said.stdout).unwrap();
    let last = said.rsplit('\r').find(|line| line.contains("requests per second"));
    let last = last.unwrap_or_else(|| panic!("redis-benchmark said: {said}"));
    let words: Vec<&str> = last.split_whitespace().collect();
    let place = words.iter().position(|word| *word == "requests").unwrap();
    words[place - 1].parse().unwrap()
}

/// A gate whose limits and credits are on this server. A request for `/paid` costs one credit.
fn gate(server: &RedisServer) -> Gate {
    let store = MemoryStore::new();
    store.put_key(record("acme"));
    let (mut paid, mut plan) = (Rule::new("/paid").unwrap(), Plan::new("plain"));
    paid.cost = Cost::Fixed(Credits::new(1));
    plan.quotas.push("4000000000 per day".parse().unwrap());
    plan.credits = Allowance::Grant(Grant::new(
        Credits::new(1 << 40),
        GrantPeriod::every(Duration::from_hours(1)).unwrap(),
    ));
    Gate::builder()
        .source(KeySource::header("x-api-key").unwrap())
        .format(KeyFormat::new("", Length::exactly(6)).unwrap().accepted_only())
        .plan(plan)
        .rule(paid)
        .store(store)
        .limiter(RedisLimiter::new(server.clone()))
        .ledger(RedisLedger::new(server.clone()))
        .build()
        .unwrap()
}

/// Returns the time in which the gate admits a request for this path. Its charge is closed later.
async fn admission(gate: &Gate, server: &RedisServer, path: &str) -> f64 {
    let request = Request::get(path).header("x-api-key", "secret").body(()).unwrap();
    let view = RequestView::of(&request);
    let start = Instant::now();
    let admitted = gate.admit(&view).await.unwrap();
    let took = start.elapsed().as_secs_f64();
    drop(admitted);
    tokio::task::yield_now().await;
    server.ping().await.unwrap();
    took
}

async fn latency(redis: &Redis) {
    let server = server(redis);
    let gate = gate(&server);
    println!("p50 at one task: an admission that only draws, and one that draws and charges in one call");
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let (mut lone, mut both) = (Vec::new(), Vec::new());
        for _ in 0..SAMPLES {
            lone.push(admission(&gate, &server, "/free").await);
            both.push(admission(&gate, &server, "/paid").await);
        }
        let (lone, both) = (median(&mut lone), median(&mut both));
        println!("  lone {:>6.1} us   both {:>6.1} us   ratio {:.3}", lone * 1e6, both * 1e6, both / lone);
        ratios.push(both / lone);
    }
    println!("  median ratio {:.3} (the target is at most 1.3)", median(&mut ratios));
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
