//! Keys in the query, and a header beside them: section A of the security cases.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use support::providers::{BACKQUANT, KWERY, QUANTDATA, VECTRADE};
use support::{World, with_key, without_key};

#[tokio::test]
async fn good_header_wins_over_bad_query() {
    let world = World::new();
    let id = world.plain_key(KWERY);
    let gate = world.kwery().build().unwrap();
    assert_eq!(world.send(&gate, with_key("GET /v1/candles?api-key=bad_key_0123", KWERY)).await.status, 200);
    assert_eq!(world.inner.principal().unwrap().key(), id);
    // The parameter is a configured source: it goes, although the header decided.
    assert_eq!(world.inner.seen().uri, "/v1/candles");
}

#[tokio::test]
async fn bad_header_wins_over_good_query() {
    let world = World::new();
    world.plain_key(KWERY);
    let gate = world.kwery().build().unwrap();
    let route = format!("GET /v1/candles?api-key={KWERY}");
    for header in ["bad_key_0123", "short", KWERY.to_uppercase().as_str()] {
        assert_eq!(world.send(&gate, with_key(&route, header)).await.status, 401, "{header}");
    }
    assert_eq!(world.calls(), 0);
    let strict = world.kwery().refuse_conflicts().build().unwrap();
    assert_eq!(world.send(&strict, with_key(&route, KWERY)).await.status, 401);
    assert_eq!(world.send(&strict, without_key(&route)).await.status, 200);
}

#[tokio::test]
async fn empty_header_wins_over_good_query() {
    let world = World::new();
    world.plain_key(KWERY);
    let gate = world.kwery().build().unwrap();
    let answer = world.send(&gate, with_key(&format!("GET /v1/candles?api-key={KWERY}"), "")).await;
    assert_eq!((answer.status, world.calls()), (401, 0));
}

#[tokio::test]
async fn two_query_keys_are_refused() {
    let world = World::new();
    world.plain_key(KWERY);
    let gate = world.kwery().build().unwrap();
    let queries = [
        format!("api-key={KWERY}&api-key=bad_key_0123"),
        format!("api-key=bad_key_0123&api-key={KWERY}"),
        format!("api-key={KWERY}&api%2Dkey=bad_key_0123"),
        format!("api-key={KWERY}&a=1&api-key={KWERY}"),
        format!("api-key&api-key={KWERY}"),
        format!("api-key={KWERY}&api%2dke%79"),
    ];
    for query in queries {
        assert_eq!(world.send(&gate, without_key(&format!("GET /v1?{query}"))).await.status, 401, "{query}");
    }
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn query_key_is_decoded_once() {
    let world = World::new();
    world.plain_key(KWERY);
    let gate = world.kwery().build().unwrap();
    let rows = [
        (format!("api%2Dkey={KWERY}"), 200, ""),
        (format!("a=%31&api-key=%6b{}&b=+", &KWERY[1..]), 200, "a=%31&b=+"),
        (format!("api%252Dkey={KWERY}"), 401, ""),
        (format!("api-key=%256b{}", &KWERY[1..]), 401, ""),
        (format!("api-key=%00{KWERY}"), 401, ""),
        (format!("api-key={KWERY}%0A"), 401, ""),
        (format!("api-key=+{KWERY}"), 401, ""),
        (format!("api-key={KWERY}%20"), 401, ""),
        ("api-key=%FF%FE%FD%FC%FB%FA%F9%F8%F7%F6".to_owned(), 401, ""),
        ("api-key".to_owned(), 401, ""),
        ("api-key=".to_owned(), 401, ""),
        (format!("api-key;={KWERY}"), 401, ""),
        (format!("a=1;api-key={KWERY}"), 401, ""),
        (format!("api-key[]={KWERY}"), 401, ""),
    ];
    for (query, status, left) in rows {
        let answer = world.send(&gate, without_key(&format!("GET /v1?{query}"))).await;
        assert_eq!(answer.status, status, "{query}");
        if status == 200 {
            assert_eq!(world.inner.seen().uri.query().unwrap_or_default(), left, "{query}");
        }
    }
}

#[tokio::test]
async fn query_name_is_case_sensitive() {
    let world = World::new();
    world.plain_key(KWERY);
    let gate = world.kwery().build().unwrap();
    for name in ["API-KEY", "Api-Key", "api_key", "apikey"] {
        assert_eq!(
            world.send(&gate, without_key(&format!("GET /v1?{name}={KWERY}"))).await.status,
            401,
            "{name}"
        );
    }
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn unconfigured_query_key_is_ignored() {
    let world = World::new();
    world.plain_key(BACKQUANT);
    world.plain_key(QUANTDATA);
    world.plain_key(VECTRADE);
    let gates = [
        (world.backquant().build().unwrap(), BACKQUANT),
        (world.quantdata().build().unwrap(), QUANTDATA),
        (world.vectrade(true).build().unwrap(), VECTRADE),
        (world.quantconomy().build().unwrap(), "mtk_demo"),
    ];
    for (gate, key) in gates {
        for name in ["api-key", "access_token", "api_key", "key", "token"] {
            let answer = world.send(&gate, without_key(&format!("GET /v1/x?{name}={key}"))).await;
            assert_eq!(answer.status, 401, "{name}={key}");
            // The path alone is named in a problem, never the query.
            assert!(!answer.body.contains('?'), "{answer:?}");
        }
    }
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn body_and_other_parameters_hold_no_key() {
    let world = World::new();
    world.plain_key(BACKQUANT);
    let gate = world.backquant().build().unwrap();
    assert_eq!(world.send(&gate, with_key("GET /v2/x?api-key=other", BACKQUANT)).await.status, 200);
    assert_eq!(world.inner.seen().uri.query(), Some("api-key=other"));
    let form = without_key("POST /v2/x").header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(world.send(&gate, form).await.status, 401);
}

#[tokio::test]
async fn key_is_sensitive_or_stripped_for_handler() {
    let world = World::new();
    world.plain_key(KWERY);
    let gate = world.kwery().build().unwrap();
    world.send(&gate, with_key("GET /v1/x", KWERY)).await;
    let header = world.inner.seen().headers["x-api-key"].clone();
    assert!(header.is_sensitive());
    assert!(!format!("{:?}", world.inner.seen().headers).contains(KWERY));
    let stripping = world.kwery().strip_headers().build().unwrap();
    world.send(&stripping, with_key("GET /v1/x", KWERY)).await;
    assert!(!world.inner.seen().headers.contains_key("x-api-key"));
    // A public route reads no key, and hands none on.
    let public = world.kwery().rule(support::providers::public("GET /health")).build().unwrap();
    world.send(&public, without_key(&format!("GET /health?a=1&api-key={KWERY}&b=2"))).await;
    assert_eq!(world.inner.seen().uri, "/health?a=1&b=2");
    assert!(world.inner.principal().is_none());
}
