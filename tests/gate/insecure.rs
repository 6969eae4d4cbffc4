//! Keys that came without encryption.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tollgate::adapter::Peer;
use tollgate::gate::TrustedProxies;
use tollgate::request::Channel;
use tollgate::{DenialKind, Gate, GateBuilder, RequestView, Rule};

use crate::attempts::Counting;
use crate::support::{World, with_key, without_key};

const KEY: &str = "kwery_live_0123456789";
const UNKNOWN: &str = "kwery_live_9876543210";
const PROTO: &str = "X-Forwarded-Proto";

fn gate(world: &World, change: impl FnOnce(GateBuilder) -> GateBuilder) -> Gate {
    let proxies = TrustedProxies::new(["10.0.0.0/8".parse().unwrap()]);
    change(world.kwery().trusted_proxies(proxies)).build().unwrap()
}

async fn decision(gate: &Gate, request: http::request::Builder) -> Option<DenialKind> {
    let request = request.body(()).unwrap();
    gate.admit(&RequestView::of(&request)).await.err().map(|denial| denial.kind())
}

fn from(request: http::request::Builder, peer: &str) -> http::request::Builder {
    request.extension(Peer(peer.parse().unwrap()))
}

#[tokio::test]
async fn proxy_or_server_tells_the_channel() {
    let world = World::new();
    world.plain_key(KEY);
    let gate = gate(&world, GateBuilder::refuse_insecure);
    let proxy = || from(with_key("GET /v1/data", KEY), "10.0.0.1");
    let direct = || from(with_key("GET /v1/data", KEY), "203.0.113.9");
    let secure = [
        proxy().header(PROTO, "https"),
        proxy().header(PROTO, "HTTPS"),
        proxy().header(PROTO, "wss"),
        proxy().header(PROTO, "https, https"),
        proxy().header(PROTO, "https").extension(Channel::Clear),
        proxy().extension(Channel::Tls),
        direct().extension(Channel::Tls),
        direct().extension(Channel::Tls).header(PROTO, "http"),
        with_key("GET /v1/data", KEY).extension(Channel::Tls),
    ];
    for (place, request) in secure.into_iter().enumerate() {
        assert_eq!(decision(&gate, request).await, None, "{place}");
    }
    let clear = [
        proxy(),
        proxy().header(PROTO, "http"),
        proxy().header(PROTO, "http").extension(Channel::Tls),
        proxy().header(PROTO, "https, http"),
        proxy().header(PROTO, "http, https"),
        proxy().header(PROTO, "https").header(PROTO, "http"),
        proxy().header(PROTO, ""),
        direct(),
        direct().header(PROTO, "https"),
        direct().extension(Channel::Clear),
        with_key("GET /v1/data", KEY),
    ];
    for (place, request) in clear.into_iter().enumerate() {
        assert_eq!(decision(&gate, request).await, Some(DenialKind::InsecureChannel), "{place}");
    }
}

/// The response is the same for good and bad keys, and no store is asked.
#[tokio::test]
async fn every_key_is_refused_alike() {
    let world = World::new();
    world.plain_key(KEY);
    let look_ups = Arc::<AtomicUsize>::default();
    let counting = world.with_store(Counting(Arc::clone(&world.store), Arc::clone(&look_ups)));
    let gate = gate(&counting, GateBuilder::refuse_insecure);
    let twice = with_key("GET /v1/data", KEY).header("X-API-Key", KEY);
    let requests = [
        with_key("GET /v1/data", KEY),
        with_key("GET /v1/data", UNKNOWN),
        with_key("GET /v1/data", "kwery_live_"),
        with_key("GET /v1/data", ""),
        twice,
    ];
    let mut answers = Vec::new();
    for request in requests {
        let mut answer = world.send(&gate, request).await;
        let _ = answer.headers.remove("x-request-id");
        answers.push((answer.status, format!("{:?}", answer.headers), answer.body));
    }
    assert_eq!((answers[0].0, look_ups.load(Ordering::SeqCst)), (403, 0));
    let first = answers[0].clone();
    assert!(answers.iter().all(|answer| *answer == first), "{answers:#?}");
}

#[tokio::test]
async fn requests_without_a_key_are_not_affected() {
    let world = World::new();
    let gate = gate(&world, |builder| {
        let mut public = Rule::new("/status").unwrap();
        public.public = true;
        builder.refuse_insecure().rule(public)
    });
    assert_eq!(decision(&gate, without_key("GET /v1/data")).await, Some(DenialKind::Missing));
    assert_eq!(decision(&gate, without_key("GET /status")).await, None);
    assert_eq!(decision(&gate, with_key("GET /status", KEY)).await, None);
}

#[tokio::test]
async fn keys_are_accepted_by_default() {
    let world = World::new();
    world.plain_key(KEY);
    let gate = gate(&world, |builder| builder);
    assert_eq!(decision(&gate, with_key("GET /v1/data", KEY)).await, None);
}
