//! Failed attempts per network.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use http::request::Builder;
use tollgate::account::{NetworkCut, QuotaPolicy, QuotaScope};
use tollgate::gate::{AttemptLimit, TrustedProxies};
use tollgate::key::{KeyHash, KeyHasher, KeyStatus, Length};
use tollgate::store::CachedStore;
use tollgate::{
    DenialKind, Gate, GateBuilder, KeyFormat, KeyRecord, KeySource, KeyStore, RequestView, StoreFuture,
};

use crate::support::faulty_back_ends::ReadOnly;
use crate::support::providers::KWERY;
use crate::support::{World, from, with_key, without_key};

const GUESSER: &str = "198.51.100.7";
const ELSEWHERE: &str = "192.0.2.1";

/// A store that counts its look-ups, and has no record at hand.
#[derive(Debug, Clone)]
pub(crate) struct Counting<S>(pub(crate) S, pub(crate) Arc<AtomicUsize>);

impl<S: KeyStore> KeyStore for Counting<S> {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.find(hash)
    }
}

/// A store whose records are new on every look-up, as those of a database are.
#[derive(Debug, Clone)]
struct Database<S>(S);

impl<S: KeyStore> KeyStore for Database<S> {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        let found = self.0.find(hash).now_or_never().unwrap().unwrap();
        StoreFuture::ready(found.map(|record| Arc::new(KeyRecord::clone(&record))))
    }
}

/// A gate that reads keys from two sources.
pub(crate) fn builder(world: &World) -> GateBuilder {
    world
        .bare()
        .source(KeySource::header("x-api-key").unwrap())
        .source(KeySource::authorization("Bearer").unwrap())
        .format(KeyFormat::new("kwery_live_", Length::exactly(22)).unwrap())
}

fn limited(builder: GateBuilder, quota: &str) -> GateBuilder {
    builder.attempts(AttemptLimit::new(quota.parse().unwrap()).unwrap())
}

/// Returns the kind of the denial, or `None` for an admitted request.
async fn ask(gate: &Gate, request: Builder) -> Option<DenialKind> {
    let request = request.body(()).unwrap();
    gate.admit(&RequestView::of(&request)).await.err().map(|denial| denial.kind())
}

async fn ask_with(gate: &Gate, key: &str, address: &str) -> Option<DenialKind> {
    ask(gate, from(with_key("GET /v1/x", key), address)).await
}

async fn ask_without(gate: &Gate, address: &str) -> Option<DenialKind> {
    ask(gate, from(without_key("GET /v1/x"), address)).await
}

pub(crate) fn guess(number: usize) -> String {
    format!("kwery_live_{number:022}")
}

/// Sends unknown keys until the network is above its quota of five, and its look-ups above it are used too.
async fn block(gate: &Gate, address: &str) {
    for number in 0..5 {
        assert_eq!(ask_with(gate, &guess(number), address).await, Some(DenialKind::Unknown));
    }
    for number in 5..20 {
        assert_eq!(ask_with(gate, &guess(number), address).await, Some(DenialKind::TooManyAttempts));
    }
}

/// A world whose store counts its look-ups.
fn counting() -> (World, Arc<AtomicUsize>) {
    let (world, look_ups) = (World::new(), Arc::<AtomicUsize>::default());
    let store = Counting(Arc::clone(&world.store), Arc::clone(&look_ups));
    (world.with_store(store), look_ups)
}

#[tokio::test]
async fn network_above_its_quota_gets_429() {
    let world = World::new();
    let gate = limited(builder(&world), "2 per minute").build().unwrap();
    for _ in 0..2 {
        assert_eq!(world.send(&gate, from(without_key("GET /v1/x"), GUESSER)).await.status, 401);
    }
    for request in
        [without_key("GET /v1/x"), with_key("GET /v1/x", "kwery_"), with_key("GET /v1/x", &guess(1))]
    {
        let answer = world.send(&gate, from(request, GUESSER)).await;
        assert_eq!((answer.status, answer.member("/code")), (429, "too_many_attempts".to_owned()));
        assert_eq!((answer.header("retry-after"), answer.header("www-authenticate")), (Some("30"), None));
    }
    assert_eq!(world.send(&gate, from(without_key("GET /v1/x"), ELSEWHERE)).await.status, 401);
}

#[tokio::test]
async fn no_limit_is_the_default() {
    let world = World::new();
    let gate = builder(&world).build().unwrap();
    for _ in 0..100 {
        assert_eq!(ask_without(&gate, GUESSER).await, Some(DenialKind::Missing));
    }
}

#[tokio::test]
async fn blocked_network_asks_no_store() {
    let (world, look_ups) = counting();
    let gate = limited(builder(&world), "5 per minute").build().unwrap();
    block(&gate, GUESSER).await;
    // Five attempts, and as many look-ups above the quota, for keys that might be valid.
    assert_eq!(look_ups.load(Ordering::SeqCst), 10);
    for number in 0..1_000 {
        let key = guess(number);
        assert_eq!(ask_with(&gate, &key, GUESSER).await, Some(DenialKind::TooManyAttempts));
    }
    assert_eq!(look_ups.load(Ordering::SeqCst), 10);
    assert_eq!(ask_with(&gate, &guess(1), ELSEWHERE).await, Some(DenialKind::Unknown));
    assert_eq!(look_ups.load(Ordering::SeqCst), 11);
}

#[tokio::test]
async fn good_key_behind_a_guesser_is_served() {
    let world = World::new();
    world.plain_key(KWERY);
    let read_only = ReadOnly(Arc::clone(&world.store));
    let cached = CachedStore::builder(read_only.clone()).clock(world.clock.clone()).build().unwrap();
    for (world, is_seen) in [
        // A key in memory is served, also if this gate has never seen it.
        (world.clone(), false),
        (world.with_store(cached), true),
        (world.with_store(Database(read_only)), true),
    ] {
        let gate = limited(builder(&world), "5 per minute").build().unwrap();
        if is_seen {
            assert_eq!(ask_with(&gate, KWERY, ELSEWHERE).await, None, "{world:?}");
        }
        for _ in 0..3 {
            block(&gate, GUESSER).await;
            for _ in 0..10 {
                assert_eq!(ask_with(&gate, KWERY, GUESSER).await, None, "{world:?}");
            }
            world.clock.advance(Duration::from_mins(1));
        }
    }
}

#[tokio::test]
async fn unseen_key_is_served_beside_a_loop() {
    let (world, look_ups) = counting();
    let revoked = guess(0);
    world.key(&revoked, |key, _| key.status = KeyStatus::Revoked);
    world.plain_key(KWERY);
    let gate = limited(builder(&world), "5 per minute").build().unwrap();
    for number in 0..1_000 {
        let kind = if number < 5 { DenialKind::Revoked } else { DenialKind::TooManyAttempts };
        assert_eq!(ask_with(&gate, &revoked, GUESSER).await, Some(kind), "{number}");
        let kind = if number < 5 { DenialKind::Missing } else { DenialKind::TooManyAttempts };
        assert_eq!(ask_without(&gate, ELSEWHERE).await, Some(kind), "{number}");
    }
    assert_eq!(look_ups.load(Ordering::SeqCst), 5);
    for address in [GUESSER, ELSEWHERE] {
        assert_eq!(ask_with(&gate, KWERY, address).await, None);
    }
}

#[tokio::test]
async fn unseen_key_waits_for_a_look_up() {
    let (world, look_ups) = counting();
    world.plain_key(KWERY);
    let gate = limited(builder(&world), "5 per minute").build().unwrap();
    block(&gate, GUESSER).await;
    assert_eq!(ask_with(&gate, KWERY, GUESSER).await, Some(DenialKind::TooManyAttempts));
    assert_eq!(look_ups.load(Ordering::SeqCst), 10);
    world.clock.advance(Duration::from_secs(12));
    assert_eq!(ask_with(&gate, KWERY, GUESSER).await, None);
    // The gate knows the key now.
    for number in 0..20 {
        let kind = if number == 0 { DenialKind::Unknown } else { DenialKind::TooManyAttempts };
        assert_eq!(ask_with(&gate, &guess(0), GUESSER).await, Some(kind), "{number}");
        assert_eq!(ask_with(&gate, KWERY, GUESSER).await, None, "{number}");
    }
}

#[tokio::test]
async fn key_that_became_valid_is_served() {
    let (world, _) = counting();
    let id = world.key(KWERY, |key, _| key.status = KeyStatus::Paused);
    let gate = limited(builder(&world), "5 per minute").build().unwrap();
    for number in 0..10 {
        let kind = if number < 5 { DenialKind::Paused } else { DenialKind::TooManyAttempts };
        assert_eq!(ask_with(&gate, KWERY, GUESSER).await, Some(kind), "{number}");
    }
    assert!(world.store.set_status(id, KeyStatus::Active));
    // The network's next attempt finds it.
    world.clock.advance(Duration::from_secs(12));
    assert_eq!(ask_with(&gate, KWERY, GUESSER).await, None);
    for _ in 0..20 {
        assert_ne!(ask_without(&gate, GUESSER).await, None);
    }
    assert_eq!(ask_with(&gate, KWERY, GUESSER).await, None);
}

#[tokio::test]
async fn revoked_key_is_no_longer_asked_for() {
    let (world, look_ups) = counting();
    let id = world.plain_key(KWERY);
    let gate = limited(builder(&world), "5 per minute").build().unwrap();
    assert_eq!(ask_with(&gate, KWERY, GUESSER).await, None);
    block(&gate, GUESSER).await;
    assert!(world.store.set_status(id, KeyStatus::Revoked));
    let before = look_ups.load(Ordering::SeqCst);
    for _ in 0..100 {
        assert_eq!(ask_with(&gate, KWERY, GUESSER).await, Some(DenialKind::TooManyAttempts));
    }
    assert_eq!(look_ups.load(Ordering::SeqCst), before + 1);
}

#[tokio::test]
async fn kinds_answer_alike() {
    let world = World::new();
    let id = world.key(KWERY, |key, _| key.allowlist = Some(vec!["203.0.113.0/24".parse().unwrap()]));
    let [revoked, expired, paused] =
        ["r", "e", "p"].map(|letter| format!("kwery_live_{}", letter.repeat(22)));
    world.key(&revoked, |key, _| key.status = KeyStatus::Revoked);
    world.key(&expired, |key, _| key.expires_at = Some("2026-01-01T00:00:00Z".parse().unwrap()));
    world.key(&paused, |key, _| key.status = KeyStatus::Paused);
    let gate = limited(builder(&world), "8 per minute").build().unwrap();
    let requests = || {
        [
            (without_key("GET /v1/x"), DenialKind::Missing),
            (without_key("GET /v1/x").header("authorization", "Bearer"), DenialKind::Malformed),
            (with_key("GET /v1/x", KWERY).header("x-api-key", KWERY), DenialKind::Duplicate),
            (with_key("GET /v1/x", "kwery_"), DenialKind::InvalidFormat),
            (with_key("GET /v1/x", &guess(1)), DenialKind::Unknown),
            (with_key("GET /v1/x", &revoked), DenialKind::Revoked),
            (with_key("GET /v1/x", &expired), DenialKind::Expired),
            (with_key("GET /v1/x", &paused), DenialKind::Paused),
        ]
    };
    for (request, kind) in requests() {
        assert_eq!(ask(&gate, from(request, GUESSER)).await, Some(kind));
    }
    let mut answers = Vec::new();
    for (request, _) in
        requests().into_iter().chain([(with_key("GET /v1/x", KWERY), DenialKind::AddressNotAllowed)])
    {
        let mut answer = world.send(&gate, from(request.header("x-request-id", "r1"), GUESSER)).await;
        answer.headers.remove("date");
        answers.push(answer);
    }
    assert_eq!(answers[0].status, 429);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // A key that a check of its own denies is no attempt.
    assert!(world.store.set_status(id, KeyStatus::Active));
    for _ in 0..20 {
        assert_eq!(ask_with(&gate, KWERY, "203.0.113.9").await, None);
    }
}

#[tokio::test]
async fn other_denials_are_no_attempts() {
    let world = World::new();
    world.key(KWERY, |key, _| key.paths = Some(vec![]));
    let gate = limited(builder(&world), "5 per minute").build().unwrap();
    for _ in 0..20 {
        assert_eq!(ask_with(&gate, KWERY, GUESSER).await, Some(DenialKind::NotGranted));
    }
    assert_eq!(ask_without(&gate, GUESSER).await, Some(DenialKind::Missing));
    block_rest(&gate).await;
    assert_eq!(ask_with(&gate, KWERY, GUESSER).await, Some(DenialKind::NotGranted));
}

/// Uses the four attempts that are left.
async fn block_rest(gate: &Gate) {
    for number in 0..5 {
        let kind = if number < 4 { DenialKind::Missing } else { DenialKind::TooManyAttempts };
        assert_eq!(ask_without(gate, GUESSER).await, Some(kind), "{number}");
    }
}

#[tokio::test]
async fn refill_admits_again() {
    let world = World::new();
    let gate = limited(builder(&world), "4 per minute").build().unwrap();
    for (seconds, attempts) in [(0, 4), (14, 0), (1, 1), (45, 3), (600, 4)] {
        world.clock.advance(Duration::from_secs(seconds));
        for number in 0..10 {
            let kind = if number < attempts { DenialKind::Missing } else { DenialKind::TooManyAttempts };
            assert_eq!(ask_without(&gate, GUESSER).await, Some(kind), "{seconds} {number}");
        }
    }
}

#[tokio::test]
async fn burst_is_the_number_at_once() {
    let world = World::new();
    let policy: QuotaPolicy = "60 per minute".parse().unwrap();
    let limit = AttemptLimit::new(policy.with_burst(3).unwrap()).unwrap();
    let gate = builder(&world).attempts(limit).build().unwrap();
    for attempts in [3, 1, 1] {
        for number in 0..6 {
            let kind = if number < attempts { DenialKind::Missing } else { DenialKind::TooManyAttempts };
            assert_eq!(ask_without(&gate, GUESSER).await, Some(kind), "{attempts} {number}");
        }
        world.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn addresses_are_cut_to_networks() {
    let cuts = [
        (NetworkCut::default(), "2001:db8::1", "2001:db8::ffff", true),
        (NetworkCut::default(), "2001:db8::1", "2001:db8:0:1::1", false),
        (NetworkCut::default(), "192.0.2.1", "192.0.2.2", false),
        (NetworkCut::default(), "192.0.2.1", "::ffff:192.0.2.1", true),
        (NetworkCut::new(24, 48).unwrap(), "192.0.2.1", "192.0.2.2", true),
        (NetworkCut::new(24, 48).unwrap(), "2001:db8::1", "2001:db8:0:1::1", true),
    ];
    for (cut, one, other, is_same) in cuts {
        let world = World::new();
        let limit = AttemptLimit::new("1 per minute".parse().unwrap()).unwrap().with_network(cut);
        let gate = builder(&world).attempts(limit).build().unwrap();
        assert_eq!(ask_without(&gate, one).await, Some(DenialKind::Missing));
        let kind = if is_same { DenialKind::TooManyAttempts } else { DenialKind::Missing };
        assert_eq!(ask_without(&gate, other).await, Some(kind), "{cut:?} {one} {other}");
    }
}

#[tokio::test]
async fn proxies_determine_the_network() {
    let world = World::new();
    let proxies = TrustedProxies::new(["10.0.0.0/8".parse().unwrap()]);
    let gate = limited(builder(&world).trusted_proxies(proxies), "1 per minute").build().unwrap();
    let behind = async |line: &str| {
        ask(&gate, from(without_key("GET /v1/x").header("x-forwarded-for", line), "10.0.0.1")).await
    };
    assert_eq!(behind("192.0.2.1").await, Some(DenialKind::Missing));
    assert_eq!(behind("192.0.2.2").await, Some(DenialKind::Missing));
    // An address that the client itself sends changes nothing.
    assert_eq!(behind("203.0.113.1, 192.0.2.1").await, Some(DenialKind::TooManyAttempts));
    // Clients whose address is unknown are one network.
    assert_eq!(behind("unknown").await, Some(DenialKind::Missing));
    assert_eq!(behind("hidden").await, Some(DenialKind::TooManyAttempts));
}

#[tokio::test]
async fn older_scheme_is_served_behind_a_guesser() {
    let world = World::new();
    world.key(KWERY, |key, _| key.hash = KeyHasher::sha512().hash(KWERY.as_bytes()));
    let read_only = ReadOnly(Arc::clone(&world.store));
    for (world, is_seen) in [(world.clone(), false), (world.with_store(Database(read_only)), true)] {
        let gate =
            limited(builder(&world).older_hasher(KeyHasher::sha512()), "5 per minute").build().unwrap();
        if is_seen {
            assert_eq!(ask_with(&gate, KWERY, ELSEWHERE).await, None);
        }
        for _ in 0..20 {
            assert_ne!(ask_with(&gate, &guess(0), GUESSER).await, None);
        }
        assert_eq!(ask_with(&gate, KWERY, GUESSER).await, None);
    }
}

#[test]
fn strict_and_shared_quotas_are_refused() {
    let strict = AttemptLimit::new("20 in any minute".parse().unwrap()).unwrap_err();
    assert_eq!((strict.member(), strict.value()), ("quota", "20 in any minute"));
    assert!(strict.expected().contains("`20 per minute`"), "{strict}");
    let policy: QuotaPolicy = "20 per minute".parse().unwrap();
    let shared = AttemptLimit::new(policy.counting(QuotaScope::Account)).unwrap_err();
    assert!(shared.to_string().contains("each network"), "{shared}");
}
