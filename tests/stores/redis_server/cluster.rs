//! A cluster of three masters and their replicas.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tollgate::account::{
    Allowance, Grant, GrantPeriod, InFlightLimit, NetworkCut, QuotaPolicy, QuotaRef, QuotaScope, Quotas,
};
use tollgate::clock::Timestamp;
use tollgate::credit::{Abandoned, Charge, ChargeId, Charged, RedisLedger};
use tollgate::key::{KeyHasher, KeyStatus, Length};
use tollgate::limit::{Draw, LimitDecision, RedisLimiter};
use tollgate::redis::{RedisOptions, RedisServer};
use tollgate::store::{CachedStore, ChannelState, RedisInvalidationBus, RedisRecords};
use tollgate::{
    Account, CreditLedger, Credits, Gate, GateBuilder, KeyFormat, KeyId, KeyRecord, KeySource, Plan,
    RateLimiter, Rule,
};

use crate::cached::remote::Remote;
use crate::cached::{set_status, status_of, until};
use crate::redis_server::faults::{Parts, SOON, now};
use crate::services::redis::{RedisCluster, wait_until};

fn account(number: usize) -> Arc<Account> {
    Arc::new(Account::new(format!("account-{number}"), "pro"))
}

fn key_of(number: usize) -> KeyRecord {
    let id = u128::try_from(number).unwrap().to_be_bytes();
    KeyRecord::new(KeyId::from_bytes(id), KeyHasher::sha256().hash(&id), account(number))
}

/// The name that begins the keys of an account.
fn name_of(number: usize) -> String {
    format!("acme:{{a:account-{number}}}")
}

async fn draw(limiter: &RedisLimiter, key: &KeyRecord, quotas: &Quotas) -> Option<u32> {
    match limiter.draw(&Draw::new(key, quotas, now())).await.unwrap() {
        LimitDecision::Within(window) => Some(window.remaining),
        LimitDecision::Exceeded { .. } => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_serves_everything() {
    let Some(cluster) = RedisCluster::start() else { return };
    let mut options = RedisOptions::new("acme");
    options.authority = Some("one".to_owned());
    let parts = Parts::at(&cluster.url(), options.clone());
    parts.in_service(SOON).await.unwrap();
    options.authority = Some("two".to_owned());
    let stranger = RedisServer::with_options(&cluster.url(), options).unwrap();
    let refused = stranger.ping().await.unwrap_err();
    assert!(format!("{refused:?}").contains("another authority"), "{refused:?}");

    // A sweep and a fold reach all masters.
    let hourly = GrantPeriod::every(Duration::from_hours(1)).unwrap();
    let grant = Allowance::Grant(Grant::new(Credits::new(100), hourly));
    for number in 0..30 {
        let (account, id) = (account(number), u128::try_from(number).unwrap().to_be_bytes());
        let charge = Charge::new(ChargeId::from_bytes(id), &account, Credits::new(1), &grant, now());
        assert!(matches!(parts.ledger.charge(&charge).await.unwrap(), Charged::Posted { .. }));
    }
    let sizes = cluster.nodes[..3].iter().map(|node| node.say(&["DBSIZE"]));
    assert!(sizes.into_iter().all(|size| size != ":0"), "the accounts are on all masters");
    let ledger = Arc::new(parts.ledger.clone());
    let closed = ledger.sweep(Duration::ZERO, Abandoned::Refund).await.unwrap();
    assert!(closed >= 30, "{closed}");
    assert_eq!(ledger.sweep(Duration::ZERO, Abandoned::Refund).await.unwrap(), 0);
    let far = Timestamp::from_millis(i64::MAX / 2);
    let folded = ledger.admin().unwrap().forget_entries(far).await.unwrap();
    assert!(folded >= 30, "{folded}");

    moved_slot_is_followed(&cluster).await;
    // Keys in several slots: nothing is drawn.
    let pool = QuotaScope::Pool("all".into());
    let spanning = Quotas::new(["5 per hour".parse::<QuotaPolicy>().unwrap(), quota().counting(pool)]);
    let error = parts.limiter.draw(&Draw::new(&key_of(1), &spanning, now())).await.unwrap_err();
    assert!(format!("{error:?}").contains("several slots"), "{error:?}");
    parts.in_service(SOON).await.unwrap();
}

fn quota() -> QuotaPolicy {
    "100 per hour".parse().unwrap()
}

/// A slot moves from one master to another while its window is drawn from.
async fn moved_slot_is_followed(cluster: &RedisCluster) {
    let (limiter, quotas) = (limiter(cluster), Quotas::new([quota()]));
    let number = (0..1_000).find(|number| cluster.first_owner(&name_of(*number)) == 0).unwrap();
    let key = key_of(number);
    assert_eq!(draw(&limiter, &key, &quotas).await, Some(99));
    let (from, to) = (&cluster.nodes[0], &cluster.nodes[1]);
    let id = |place: usize| cluster.nodes[place].say(&["CLUSTER", "MYID"]).lines().last().unwrap().to_owned();
    let slot = from.say(&["CLUSTER", "KEYSLOT", &name_of(number)]).trim_start_matches(':').to_owned();
    assert_eq!(to.say(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(0)]), "+OK");
    assert_eq!(from.say(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(1)]), "+OK");
    assert_eq!(draw(&limiter, &key, &quotas).await, Some(98), "the key is where it was");
    let port = to.port().to_string();
    let names = from.say(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
    for name in names.lines().filter(|line| line.starts_with("acme")) {
        assert_eq!(from.say(&["MIGRATE", "127.0.0.1", &port, name.trim(), "0", "1000"]), "+OK");
    }
    assert_eq!(draw(&limiter, &key, &quotas).await, Some(97), "ASK");
    for place in [1, 0] {
        assert_eq!(cluster.nodes[place].say(&["CLUSTER", "SETSLOT", &slot, "NODE", &id(1)]), "+OK");
    }
    for left in [96, 95, 94] {
        assert_eq!(draw(&limiter, &key, &quotas).await, Some(left), "MOVED");
    }
}

fn limiter(cluster: &RedisCluster) -> RedisLimiter {
    RedisLimiter::new(RedisServer::open(&cluster.url(), "acme").unwrap())
}

const BOUND: Duration = Duration::from_secs(3);

async fn node(remote: &Arc<Remote>, cluster: &RedisCluster) -> CachedStore<Arc<Remote>> {
    let server = RedisServer::open(&cluster.url(), "acme").unwrap();
    let builder = CachedStore::builder(Arc::clone(remote)).stale_for_at_most(BOUND).jitter(0);
    let builder = builder.second_tier(RedisRecords::new(server.clone()));
    let node = builder.invalidation_bus(RedisInvalidationBus::new(server)).build().unwrap();
    until(|| node.health().channel_state == ChannelState::Open).await;
    node
}

/// The results of draws, each with the time of its answer.
type Results = Vec<(Instant, Result<bool, String>)>;

/// Draws all the time from the windows of some keys, one task for each key.
async fn load(limiter: RedisLimiter, keys: Vec<KeyRecord>, ends: Arc<AtomicBool>) -> Vec<Results> {
    let mut tasks = tokio::task::JoinSet::new();
    for key in keys {
        let (limiter, ends) = (limiter.clone(), Arc::clone(&ends));
        tasks.spawn(async move {
            let (quotas, mut results) = (Quotas::new([key_quota()]), Results::new());
            while !ends.load(Ordering::SeqCst) {
                let answer = limiter.draw(&Draw::new(&key, &quotas, now())).await;
                let within = answer.map(|decision| matches!(decision, LimitDecision::Within(_)));
                results.push((Instant::now(), within.map_err(|error| format!("{error:?}"))));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            results
        });
    }
    tasks.join_all().await
}

/// More than a key draws before the master is killed, and less than it draws in all.
const QUOTA: usize = 400;

fn key_quota() -> QuotaPolicy {
    format!("{QUOTA} per day").parse().unwrap()
}

/// The greatest time for which a master may have admitted requests that its replica does not know.
const REPLICATION: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_master_is_replaced_under_load() {
    let Some(mut cluster) = RedisCluster::start() else { return };
    // The master of the announcements, of some of the keys and of the records.
    let killed = cluster.first_owner("acme:{changes}");
    let all: Vec<usize> = (0..60).collect();
    let of_master = |number: &&usize| cluster.first_owner(&name_of(**number)) == killed;
    let (mine, others): (Vec<_>, Vec<_>) = all.iter().partition(of_master);
    let numbers: Vec<usize> = mine.into_iter().take(3).chain(others.into_iter().take(3)).copied().collect();
    let keys: Vec<KeyRecord> = numbers.iter().map(|number| key_of(*number)).collect();
    let remote = Remote::new();
    let (one, other) = (node(&remote, &cluster).await, node(&remote, &cluster).await);
    let revoked = [remote.key(1), remote.key(2)];
    for (_, hash) in &revoked {
        assert_eq!(status_of(&other, hash).await, Some(KeyStatus::Active));
    }

    let ends = Arc::<AtomicBool>::default();
    let limiter = limiter(&cluster);
    let loading = tokio::spawn(load(limiter.clone(), keys, Arc::clone(&ends)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let killed_at = Instant::now();
    cluster.nodes[killed].kill();
    // Revoked while the announcements have no master.
    set_status(&one, revoked[0].0, KeyStatus::Revoked).await;
    let since = Instant::now();
    let seen = async {
        while status_of(&other, &revoked[0].1).await != Some(KeyStatus::Revoked) {
            assert!(
                since.elapsed() < BOUND + Duration::from_millis(500),
                "the revocation bound does not hold"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        since.elapsed()
    };
    let replica = &cluster.nodes[3 + killed];
    let promoted = async {
        while !replica.say(&["ROLE"]).contains("master")
            || !replica.say(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
        {
            assert!(killed_at.elapsed() < SOON, "no fail-over");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Instant::now()
    };
    let (seen, promoted_at) = tokio::join!(seen, promoted);
    // After the fail-over, announcements are heard again.
    until(|| [&one, &other].iter().all(|node| node.health().channel_state == ChannelState::Open)).await;
    set_status(&one, revoked[1].0, KeyStatus::Revoked).await;
    let since = Instant::now();
    while status_of(&other, &revoked[1].1).await != Some(KeyStatus::Revoked) {
        assert!(since.elapsed() < BOUND, "an announcement after the fail-over is not heard");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    ends.store(true, Ordering::SeqCst);
    let results = loading.await.unwrap();
    let failed: Vec<Instant> =
        results.iter().flatten().filter(|(_, result)| result.is_err()).map(|(at, _)| *at).collect();
    let last = failed.iter().max().copied().unwrap_or(killed_at);
    println!(
        "fail-over after {:?}, last error after {:?}, {} errors; revocation seen after {seen:?}",
        promoted_at - killed_at,
        last - killed_at,
        failed.len()
    );
    assert!(failed.iter().all(|at| *at >= killed_at), "no error before the master was killed");
    assert!(last <= promoted_at + Duration::from_secs(1), "errors for longer than the fail-over");
    for results in &results {
        let admitted: Vec<_> =
            results.iter().filter(|(_, result)| *result == Ok(true)).map(|(at, _)| *at).collect();
        let unknown =
            admitted.iter().filter(|at| **at <= killed_at && **at + REPLICATION > killed_at).count();
        assert!(admitted.len() <= QUOTA + unknown + 1, "{} admitted, {unknown} just before", admitted.len());
    }
    wait_until(|| cluster.nodes[(killed + 1) % 3].say(&["PING"]) == "+PONG");
    Parts::at(&cluster.url(), RedisOptions::new("acme")).in_service(SOON).await.unwrap();
}

fn built(
    url: &str,
    prefix: &str,
    change: impl FnOnce(GateBuilder, Plan) -> GateBuilder,
) -> Result<Gate, String> {
    let server = RedisServer::open(url, prefix).unwrap();
    let mut plan = Plan::new("pro");
    plan.quotas.push(QuotaRef::Policy(quota()));
    let gate = Gate::builder()
        .source(KeySource::header("x-api-key").unwrap())
        .format(KeyFormat::new("acme_", Length::exactly(22)).unwrap())
        .limiter(RedisLimiter::new(server.clone()))
        .ledger(RedisLedger::new(server));
    change(gate, plan).build().map_err(|error| error.to_string())
}

type Change = Box<dyn Fn(GateBuilder, Plan) -> GateBuilder>;

#[test]
fn quotas_over_several_slots_are_refused() {
    let pool = || QuotaScope::Pool("all".into());
    let network = |bits| QuotaScope::Network(NetworkCut::new(bits, 64).unwrap());
    let of_rule = |scope: QuotaScope| -> Change {
        Box::new(move |gate, plan| {
            let mut rule = Rule::new("GET /candles").unwrap();
            rule.quotas.push(QuotaRef::Policy(quota().counting(scope.clone())));
            gate.plan(plan).rule(rule)
        })
    };
    let of_plan = |scopes: [QuotaScope; 2]| -> Change {
        Box::new(move |gate, mut plan| {
            let quotas = ["100 per hour", "500 per day"].map(|text| text.parse::<QuotaPolicy>().unwrap());
            let counting =
                quotas.into_iter().zip(&scopes).map(|(quota, scope)| quota.counting(scope.clone()));
            plan.quotas = counting.map(QuotaRef::Policy).collect();
            gate.plan(plan)
        })
    };
    let in_flight: Change = Box::new(|gate, mut plan| {
        plan.in_flight = Some(InFlightLimit::new(5).unwrap());
        gate.plan(plan).in_flight(InFlightLimit::new(50).unwrap())
    });
    let together = [
        ("account and key", of_rule(QuotaScope::Account)),
        ("key", of_rule(QuotaScope::Key)),
        ("two quotas of a pool", of_plan([pool(), pool()])),
    ];
    let apart = [
        ("pool", of_rule(pool())),
        ("network", of_rule(network(32))),
        ("two networks", of_plan([network(24), network(32)])),
        ("pool and key", of_plan([QuotaScope::Key, pool()])),
        ("in flight", in_flight),
    ];
    let cluster = "redis://127.0.0.1:1?cluster=true";
    for (name, change) in together {
        built(cluster, "acme", &change).expect(name);
    }
    for (name, change) in apart {
        let error = built(cluster, "acme", &change).expect_err(name);
        assert!(error.contains("plans.pro") && error.contains("hash tag"), "{name}: {error}");
        built(cluster, "{acme}", &change).expect(name);
        built("redis://127.0.0.1:1", "acme", &change).expect(name);
    }
}
