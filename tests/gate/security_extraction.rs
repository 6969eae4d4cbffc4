//! The places of a key in a request, and the attempts of a client to misuse them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use support::providers::{KWERY, QUANTDATA, VECTRADE};
use support::{World, with_key, without_key};
use tollgate::KeySource;
use tollgate::respond::ErrorFormat;

#[tokio::test]
async fn missing_key_is_401() {
    let world = World::new();
    let gate = world.backquant().build().unwrap();
    let answer = world.send(&gate, without_key("GET /v2/gex/levels")).await;
    assert_eq!((answer.status, answer.member("/error/code").as_str()), (401, "UNAUTHORIZED"));
    assert_eq!(answer.member("/error/message"), "Missing X-API-Key header");
    assert_eq!(answer.header("www-authenticate"), Some("ApiKey"));

    let gate = world.quantdata().build().unwrap();
    let answer = world.send(&gate, without_key("POST /v1/options/tool/gainers-losers")).await;
    assert_eq!((answer.status, answer.member("/title").as_str()), (401, "Authentication Required"));
    assert_eq!(
        answer.member("/detail"),
        "Missing or malformed Authorization header. Expected: Bearer qd_..."
    );
    // RFC 6750, section 3.1: without credentials, no error attribute.
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn two_key_headers_are_refused() {
    let world = World::new();
    world.plain_key(KWERY);
    let gate = world.kwery().build().unwrap();
    for second in [KWERY, "kwery_live_another", ""] {
        let answer = world.send(&gate, with_key("GET /v1/candles", KWERY).header("x-api-KEY", second)).await;
        assert_eq!((answer.status, answer.member("/error").as_str()), (401, "invalid_api_key"), "{second}");
    }
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn only_the_exact_header_name_is_read() {
    let world = World::new();
    world.plain_key(KWERY);
    let gate = world.kwery().build().unwrap();
    for name in
        ["X_API_KEY", "X-APIKey", "Api-Key", "X-API-Key-2", "Cookie", "Proxy-Authorization", "Authorization"]
    {
        let answer = world.send(&gate, without_key("GET /v1/candles").header(name, KWERY)).await;
        assert_eq!(answer.status, 401, "{name}");
    }
    assert_eq!(
        world.send(&gate, without_key("GET /v1/candles").header("x-aPi-kEy", KWERY)).await.status,
        200
    );
}

#[tokio::test]
async fn comma_joined_keys_are_refused() {
    let world = World::new();
    world.plain_key(KWERY);
    let gate = world.kwery().build().unwrap();
    for joined in [
        format!("{KWERY}, bad_key_0123"),
        format!("bad_key_0123, {KWERY}"),
        format!("{KWERY},{KWERY}"),
        format!("{KWERY},"),
    ] {
        assert_eq!(world.send(&gate, with_key("GET /v1/candles", &joined)).await.status, 401, "{joined}");
    }
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn header_source_wins_over_bearer() {
    let world = World::new();
    let id = world.plain_key(VECTRADE);
    let other = format!("vq_{}", "b".repeat(43));
    world.plain_key(&other);
    let bearer = |key: &str| format!("Bearer {key}");
    let gate = world.vectrade(true).build().unwrap();
    let both = || with_key("GET /v1/vq/quotes/AAPL", VECTRADE).header("authorization", bearer(&other));
    assert_eq!(world.send(&gate, both()).await.status, 200);
    assert_eq!(world.inner.principal().unwrap().key(), id);
    // Never whichever is valid.
    let bad = with_key("GET /v1/vq/quotes/AAPL", "vq_bad").header("authorization", bearer(&other));
    assert_eq!(world.send(&gate, bad).await.status, 401);
    let strict = world.vectrade(true).refuse_conflicts().build().unwrap();
    assert_eq!(world.send(&strict, both()).await.status, 401);
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn bearer_needs_to_be_enabled() {
    let world = World::new();
    world.plain_key(VECTRADE);
    let request =
        || without_key("GET /v1/vq/quotes/AAPL").header("authorization", format!("Bearer {VECTRADE}"));
    let answer = world.send(&world.vectrade(false).build().unwrap(), request()).await;
    assert_eq!((answer.status, answer.member("/error/type").as_str()), (401, "authentication_error"));
    assert_eq!(world.send(&world.vectrade(true).build().unwrap(), request()).await.status, 200);
}

#[tokio::test]
async fn other_schemes_are_refused() {
    let world = World::new();
    world.plain_key(QUANTDATA);
    world.plain_key(VECTRADE);
    let (literal, any_case) = (world.quantdata().build().unwrap(), world.vectrade(true).build().unwrap());
    let rows = [
        ("Bearer ", 200, 200),
        ("bearer ", 401, 200),
        ("BEARER ", 401, 200),
        ("Basic ", 401, 401),
        ("Bearer: ", 401, 401),
        ("Bearer=", 401, 401),
        ("BearerX ", 401, 401),
        ("Token ", 401, 401),
        ("", 401, 401),
        ("Bearer Bearer ", 401, 401),
    ];
    for (scheme, strict, lenient) in rows {
        for (gate, key, status) in [(&literal, QUANTDATA, strict), (&any_case, VECTRADE, lenient)] {
            let request = without_key("GET /v1/x").header("authorization", format!("{scheme}{key}"));
            assert_eq!(world.send(gate, request).await.status, status, "`{scheme}` {key}");
        }
    }
}

#[tokio::test]
async fn bearer_without_token_is_missing() {
    let world = World::new();
    let gate = world.quantdata().build().unwrap();
    for value in ["Bearer", "Bearer ", ""] {
        let answer = world.send(&gate, without_key("GET /v1/x").header("authorization", value)).await;
        assert_eq!(answer.status, 401);
        assert_eq!(
            answer.member("/detail"),
            "Missing or malformed Authorization header. Expected: Bearer qd_..."
        );
    }
}

#[tokio::test]
async fn only_spaces_may_follow_bearer() {
    let world = World::new();
    world.plain_key(QUANTDATA);
    world.plain_key(VECTRADE);
    let (literal, any_case) = (world.quantdata().build().unwrap(), world.vectrade(true).build().unwrap());
    let rows = [
        ("Bearer  K", 401, 200),
        ("Bearer   K", 401, 200),
        ("Bearer\tK", 401, 401),
        ("Bearer \tK", 401, 401),
        ("Bearer K,", 401, 401),
        ("Bearer K ", 401, 401),
        ("Bearer K K", 401, 401),
    ];
    for (value, strict, lenient) in rows {
        for (gate, key, status) in [(&literal, QUANTDATA, strict), (&any_case, VECTRADE, lenient)] {
            let request = without_key("GET /v1/x").header("authorization", value.replace('K', key));
            assert_eq!(world.send(gate, request).await.status, status, "{value} {key}");
        }
    }
    let stray = without_key("GET /v1/x").header("authorization", format!("Bearer  {QUANTDATA}"));
    assert_eq!(world.send(&literal, stray).await.member("/detail"), "Invalid API key format.");
}

#[tokio::test]
async fn key_as_scheme_parameter_is_refused() {
    let world = World::new();
    world.plain_key(VECTRADE);
    let gate = world.vectrade(true).build().unwrap();
    for value in [
        format!("Bearer token=\"{VECTRADE}\""),
        format!("Bearer \"{VECTRADE}\""),
        format!("Bearer {VECTRADE}; a=b"),
        format!("Basic eDo={VECTRADE}"),
    ] {
        assert_eq!(
            world.send(&gate, without_key("GET /v1/x").header("authorization", &value)).await.status,
            401,
            "{value}"
        );
    }
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let world = World::new();
    world.plain_key(QUANTDATA);
    let gate = world.quantdata().build().unwrap();
    let good = format!("Bearer {QUANTDATA}");
    for (first, second) in
        [(good.as_str(), "Basic eDp5"), ("Basic eDp5", good.as_str()), (&good, &good), (&good, "")]
    {
        let request = without_key("GET /v1/x").header("authorization", first).header("authorization", second);
        assert_eq!(world.send(&gate, request).await.status, 401, "{first}, {second}");
    }
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn non_ascii_bytes_in_the_key_are_401() {
    let world = World::new();
    world.plain_key(KWERY);
    let gate = world.kwery().build().unwrap();
    for tail in [&b"\xc2\xa0"[..], b"\xa0", b"\xff", b"\xef\xbb\xbf", b" ", b"\t"] {
        let value = http::HeaderValue::from_bytes(&[KWERY.as_bytes(), tail].concat()).unwrap();
        let answer = world.send(&gate, without_key("GET /v1/x").header("x-api-key", value)).await;
        assert_eq!(answer.status, 401, "{tail:?}");
    }
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn enormous_key_is_401() {
    let world = World::new();
    let gate = world.kwery().build().unwrap();
    let answer = world.send(&gate, with_key("GET /v1/x", &"k".repeat(60_000))).await;
    assert_eq!(answer.status, 401);
    let answer = world.send(&gate, without_key(&format!("GET /v1/x?api-key={}", "%6b".repeat(20_000)))).await;
    assert_eq!((answer.status, world.calls()), (401, 0));
}

#[tokio::test]
async fn client_identity_headers_are_ignored() {
    let world = World::new();
    let id = world.plain_key(KWERY);
    let gate = world.kwery().build().unwrap();
    let forged = |request: http::request::Builder| {
        request
            .header("x-consumer-id", "admin")
            .header("x-tollgate-account", "victim")
            .header("x-middleware-subrequest", "1")
    };
    assert_eq!(world.send(&gate, forged(without_key("GET /v1/x"))).await.status, 401);
    assert_eq!(world.send(&gate, forged(with_key("GET /v1/x", KWERY))).await.status, 200);
    let principal = world.inner.principal().unwrap();
    assert_eq!((principal.key(), principal.account().id.as_str()), (id, "account-0"));
}

#[test]
fn impossible_sources_are_refused_at_start() {
    for name in ["", "X API Key", "X-API-Key\r\n", "Authorization", "authorization", "\u{fc}"] {
        assert!(KeySource::header(name).is_err(), "{name:?}");
    }
    for scheme in ["", "Bearer ", "Be arer", "Bearer\n"] {
        assert!(
            KeySource::authorization(scheme).is_err() && KeySource::authorization_literal(scheme).is_err()
        );
    }
    for name in ["", "api key", "api=key", "api&key", "api%2Dkey", "api+key", "a#b", "\u{e9}"] {
        assert!(KeySource::query(name).is_err(), "{name:?}");
    }
    let twice = || KeySource::header("X-API-Key").unwrap();
    assert!(World::new().kwery().source(twice()).build().is_err());
    assert!(ErrorFormat::problem().realm("a\"b").is_err());
}
