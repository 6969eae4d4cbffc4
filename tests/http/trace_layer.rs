//! The log of tower-http's `TraceLayer` shows no key, wherever the layer stands.
#![cfg(all(feature = "tracing", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use crate::log;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use log::Log;
use support::World;
use support::providers::{BACKQUANT, KWERY, QUANTDATA};
use tollgate::TollgateLayer;
use tollgate::adapter::{Peer, redacted_span};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_http::trace::{DefaultMakeSpan, MakeSpan, TraceLayer};

/// Returns the log of a service that answers a request for this address.
async fn logged<S, R>(service: S, uri: &str) -> String
where
    S: Service<Request<Empty<Bytes>>, Response = http::Response<R>, Error: Debug>,
{
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let request = Request::get(uri)
        .header("X-API-Key", KWERY)
        .extension(Peer("203.0.113.9".parse().unwrap()))
        .body(Empty::new())
        .unwrap();
    service.oneshot(request).await.unwrap();
    log.0.lock().unwrap().clone()
}

/// Addresses with the key in every spelling that decodes to its name, and what is shown of them.
fn addresses() -> Vec<(String, &'static str)> {
    let of = |query: &str, shown| (format!("/v1/quotes?{query}"), shown);
    vec![
        of(&format!("api-key={KWERY}"), "uri=/v1/quotes version"),
        of(&format!("symbol=BTC&api-key={KWERY}&a=%20"), "uri=/v1/quotes?symbol=BTC&a=%20 version"),
        of(&format!("%61pi-key={KWERY}&api%2Dkey={KWERY}"), "uri=/v1/quotes version"),
        of("symbol=BTC", "uri=/v1/quotes?symbol=BTC version"),
        (format!("http://user:secret@example.com/v1/quotes?api-key={KWERY}"), "uri=/v1/quotes version"),
    ]
}

#[tokio::test]
async fn key_is_logged_neither_outside_nor_inside() {
    let world = World::new();
    world.plain_key(KWERY);
    let gate = world.kwery().build().unwrap();
    for (uri, shown) in addresses() {
        let outside = ServiceBuilder::new()
            .layer(TraceLayer::new_for_http().make_span_with(redacted_span(&gate)))
            .layer(TollgateLayer::new(gate.clone()))
            .service(world.inner.clone());
        let inside = ServiceBuilder::new()
            .layer(TollgateLayer::new(gate.clone()))
            .layer(TraceLayer::new_for_http().make_span_with(redacted_span(&gate)))
            .service(world.inner.clone());
        for text in [logged(outside, &uri).await, logged(inside, &uri).await] {
            assert!(text.contains("DEBUG request method=GET"), "{text}");
            assert!(text.contains(shown), "{uri}: {text}");
            assert!(!text.contains(KWERY) && !text.contains("secret"), "{uri}: {text}");
        }
    }
}

/// Returns the logged form of a query, for a gate that takes no key from it.
async fn shown(gate: &tollgate::Gate, world: &World, query: &str) -> String {
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http().make_span_with(redacted_span(gate)))
        .layer(TollgateLayer::new(gate.clone()))
        .service(world.inner.clone());
    let text = logged(service, &format!("/v1?{query}")).await;
    let (_, rest) = text.split_once("uri=/v1").unwrap();
    rest.split_once(" version").unwrap().0.to_owned()
}

#[tokio::test]
async fn unconfigured_query_key_is_not_logged() {
    let world = World::new();
    let gate = world.backquant().build().unwrap();
    for name in ["api-key", "api_key", "apikey", "key", "token", "access_token", "API-KEY", "a%70i_Key"] {
        // Whatever it is worth: another service's key is a key too.
        for key in [BACKQUANT, "another", ""] {
            assert_eq!(shown(&gate, &world, &format!("{name}={key}&a=1")).await, "?a=1", "{name}={key}");
        }
    }
    // By its value, whatever the parameter is called, and however it stands there.
    for query in [
        format!("q={BACKQUANT}"),
        format!("q=%62{}", &BACKQUANT[1..]),
        BACKQUANT.to_owned(),
        format!("authorization=Bearer%20{BACKQUANT}"),
        format!("b=2;q={BACKQUANT}"),
        format!("t={BACKQUANT}y"),
        format!("t=a{BACKQUANT}"),
        format!("t{BACKQUANT}x=1"),
    ] {
        assert_eq!(shown(&gate, &world, &format!("a=1&{query}&c=3")).await, "?a=1&c=3", "{query}");
    }
    for query in ["keys=1&tokens=2&monkey=3", "a&&b=", "q=bq_live_short"] {
        assert_eq!(shown(&gate, &world, query).await, format!("?{query}"));
    }
}

#[tokio::test]
async fn key_in_the_path_is_not_logged() {
    let world = World::new();
    let gate = world.backquant().build().unwrap();
    let trace = TraceLayer::new_for_http().make_span_with(redacted_span(&gate));
    let text = logged(trace.layer(world.inner.clone()), &format!("/v1/{BACKQUANT}/x?a=1")).await;
    assert!(text.contains("uri=/v1/***/x?a=1 version") && !text.contains(BACKQUANT), "{text}");
}

#[tokio::test]
async fn key_in_another_parameter_is_not_logged() {
    let world = World::new();
    let gate = world.quantconomy().build().unwrap();
    assert_eq!(shown(&gate, &world, "q=mtk_demo&a=1").await, "?a=1", "a literal");
    let gate = world.quantdata().build().unwrap();
    assert_eq!(shown(&gate, &world, &format!("a=1&callback={QUANTDATA}")).await, "?a=1");
    assert_eq!(shown(&gate, &world, &format!("a=1&{QUANTDATA}=&b=2")).await, "?a=1&b=2", "as a name");
    assert_eq!(shown(&gate, &world, &format!("a=1&callback={QUANTDATA}0")).await, "?a=1", "in a longer word");
    let part = &QUANTDATA[1..];
    assert_eq!(shown(&gate, &world, &format!("a=1&b={part}")).await, format!("?a=1&b={part}"));
}

#[tokio::test]
async fn denial_labels_have_few_distinct_values() {
    let world = World::new();
    world.key(KWERY, |record, _| record.allowlist = Some(vec![]));
    let told = Arc::new(Mutex::new(BTreeSet::new()));
    let names = Arc::clone(&told);
    let gate = world.kwery().on_denial(move |denial| {
        names.lock().unwrap().insert(denial.kind().name());
    });
    let service = TollgateLayer::new(gate.build().unwrap()).layer(world.inner.clone());
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    for number in 0..200_u32 {
        let keys = [format!("kwery_live_{number:010}"), format!("k{number}"), KWERY.to_owned()];
        for key in keys {
            let request = Request::get(format!("/v1/{number}?q={number}"))
                .header("X-API-Key", key)
                .header("User-Agent", format!("agent-{number}"))
                .extension(Peer(std::net::Ipv4Addr::from(number).into()))
                .body(Empty::<Bytes>::new())
                .unwrap();
            service.clone().oneshot(request).await.unwrap();
        }
    }
    let refused = ["address_not_allowed", "invalid_format", "unknown"];
    assert_eq!(*told.lock().unwrap(), refused.into());
    let text = log.0.lock().unwrap().clone();
    let lines: BTreeSet<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    // A key that is known is named by its id, no other by anything.
    let expected = refused.map(|kind| {
        let key =
            if kind == "address_not_allowed" { " key=00000000-0000-0000-0000-000000000000" } else { "" };
        format!("DEBUG event message=a request was denied kind={kind:?}{key} target=tollgate::denial")
    });
    assert_eq!(lines.into_iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn default_trace_span_would_show_the_key() {
    let world = World::new();
    let gate = world.kwery().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(TollgateLayer::new(gate))
        .service(world.inner.clone());
    assert!(logged(service, &format!("/v1?api-key={KWERY}")).await.contains(KWERY), "the log is kept");
}

/// The operator is told, once a request; the client learns nothing of the key.
#[tokio::test]
async fn missing_peer_address_logs_the_key_id() {
    let world = World::new();
    let key = world.key(KWERY, |record, _| record.allowlist = Some(vec!["203.0.113.0/24".parse().unwrap()]));
    let gate = world.kwery().build().unwrap();
    for (peer, told) in [(None, 1), (Some("192.0.2.1"), 0), (Some("203.0.113.9"), 0)] {
        let log = Log::default();
        let _guard = tracing::subscriber::set_default(log.clone());
        let mut request = Request::get("/v1/x").header("X-API-Key", KWERY);
        if let Some(peer) = peer {
            request = request.extension(Peer(peer.parse().unwrap()));
        }
        let status = world.send(&gate, request).await.status;
        assert_eq!(status, if peer == Some("203.0.113.9") { 200 } else { 401 }, "{peer:?}");
        let log = log.0.lock().unwrap();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("client's address is unknown")).collect();
        assert_eq!(lines.len(), told, "{peer:?}: {log}");
        assert!(lines.iter().all(|line| line.contains(&key.to_string())), "{log}");
    }
}

#[test]
fn gate_spans_pass_trace_layer_filters() {
    let gate = World::new().kwery().build().unwrap();
    let _guard = tracing::subscriber::set_default(Log::default());
    let request = Request::get("/v1/quotes").body(()).unwrap();
    let own = DefaultMakeSpan::new().make_span(&request);
    let redacted = redacted_span(&gate)(&request);
    let facts = |span: &tracing::Span| {
        let metadata = span.metadata().unwrap();
        (metadata.target(), metadata.name(), *metadata.level())
    };
    assert_eq!(facts(&redacted), facts(&own));
}
