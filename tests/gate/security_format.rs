//! The shape of keys: section B of the security cases.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use support::faulty_back_ends::Failing;
use support::providers::{QUANTCONOMY, QUANTDATA, VECTRADE};
use support::{World, with_key, without_key};
use tollgate::KeyFormat;
use tollgate::key::{KeyHasher, Length};
use tollgate::name::Environment;

#[test]
fn key_shape_is_exact() {
    let format = KeyFormat::new("qd_", Length::exactly(32)).unwrap();
    let body = |count: usize| format!("qd_{}", "a1".repeat(20).chars().take(count).collect::<String>());
    let with = |text: &str| format!("qd_{}{text}", "a".repeat(32 - text.len()));
    assert!(format.accepts(body(32).as_bytes()) && format.accepts(QUANTDATA.as_bytes()));
    let refused = [
        body(0),
        body(31),
        body(33),
        with("_"),
        with("-"),
        with(" "),
        with("\u{ff11}"),
        with("\n"),
        with("\0"),
        with("."),
        body(32).replace("qd_", "QD_"),
        body(32).replace("qd_", "qd-"),
        body(32).replace("qd_", ""),
        format!("{}\n", body(32)),
        format!("{}\r", body(32)),
        format!("{}\r\n", body(32)),
        format!(" {}", body(32)),
        format!("{} ", body(32)),
        format!("qd_{}", body(32)),
        format!("\u{feff}{}", body(32)),
        format!("{}\0", body(32)),
    ];
    for key in refused {
        assert!(!format.accepts(key.as_bytes()), "{key:?}");
    }
}

/// Two prefixes where one begins with the other, and keys of another environment.
#[tokio::test]
async fn prefixes_and_environments_are_distinct() {
    let world = World::new();
    let format = |prefix: &str| KeyFormat::new(prefix, Length::between(8, 32)).unwrap();
    let two = |environment: &str| {
        let formats =
            ["acme_live_", "acme_test_"].map(|prefix| format(prefix).with_environment(environment.into()));
        formats.into_iter().fold(world.bare(), tollgate::GateBuilder::format).environment(environment)
    };
    let gate = |builder: tollgate::GateBuilder| {
        builder.source(tollgate::KeySource::header("X-API-Key").unwrap()).build().unwrap()
    };
    world.plain_key("acme_live_12345678");
    world.key("acme_test_12345678", |record, _| record.environment = Environment::from("test"));
    let (live, test) = (gate(two("live")), gate(two("test")));
    let rows =
        [("acme_live_12345678", 200, 401), ("acme_test_12345678", 401, 200), ("acme_12345678", 401, 401)];
    for (key, on_live, on_test) in rows {
        let answer = world.send(&live, with_key("GET /", key)).await;
        assert_eq!(answer.status, on_live, "{key}");
        assert_eq!(world.send(&test, with_key("GET /", key)).await.status, on_test, "{key}");
        if on_live == 401 && key.contains("test") {
            // It reads as unknown: nothing tells that the key exists elsewhere.
            let unknown = world.send(&live, with_key("GET /", "acme_test_87654321")).await;
            assert_eq!(answer.body, unknown.body);
        }
    }
}

#[tokio::test]
async fn underscore_in_the_alphabet_is_accepted() {
    let world = World::new();
    world.plain_key(VECTRADE);
    let gate = world.vectrade(false).build().unwrap();
    assert_eq!(VECTRADE.len(), 46);
    assert_eq!(world.send(&gate, with_key("GET /v1/x", VECTRADE)).await.status, 200);
    assert_eq!(gate.formats()[0].start_of(VECTRADE), "vq_aaJF");
}

#[tokio::test]
async fn length_out_of_bounds_costs_no_look_up() {
    let world = World::new();
    let store = Failing::new(Arc::clone(&world.store));
    store.down.store(false, Ordering::SeqCst);
    let gate = world.with_store(store.clone()).kwery().build().unwrap();
    let rows = [(0, false), (1, false), (9, false), (10, true), (256, true), (257, false), (5_000, false)];
    for (length, looked_up) in rows {
        let before = store.asked();
        let answer = world.send(&gate, with_key("GET /v1/x", &"k".repeat(length))).await;
        assert_eq!((answer.status, answer.member("/error").as_str()), (401, "invalid_api_key"), "{length}");
        assert_eq!(store.asked() - before, usize::from(looked_up), "{length}");
    }
    // Bytes, not characters: and no such bytes at all.
    let wide = http::HeaderValue::from_bytes("\u{e9}".repeat(128).as_bytes()).unwrap();
    let before = store.asked();
    assert_eq!(world.send(&gate, without_key("GET /v1/x").header("x-api-key", wide)).await.status, 401);
    assert_eq!(store.asked(), before);
}

/// Formats that could not hold their own keys.
#[test]
fn impossible_formats_are_refused_at_start() {
    let refused = [
        ("k_", 0, 0),
        ("k_", 9, 8),
        ("k_", 1, 511),
        ("k_", 1, usize::MAX - 8),
        ("k y", 1, 8),
        ("k\n", 1, 8),
        ("\u{e9}", 1, 8),
    ];
    for (prefix, least, most) in refused {
        assert!(KeyFormat::new(prefix, Length::between(least, most)).is_err(), "{prefix:?} {least} {most}");
    }
    for letters in ["", "a", "aa", "ab\n", "a b", "\u{e9}\u{e8}"] {
        assert!(letters.parse::<tollgate::key::Alphabet>().is_err(), "{letters:?}");
    }
    assert!(KeyFormat::new("k_", Length::exactly(6)).unwrap().with_checksum().is_err());
}

#[tokio::test]
async fn demo_key_may_break_its_own_format() {
    let world = World::new();
    world.plain_key("mtk_demo");
    world.plain_key(QUANTCONOMY);
    let gate = world.quantconomy().build().unwrap();
    let rows = [
        ("mtk_demo", 200),
        (QUANTCONOMY, 200),
        ("mtk_demo2", 401),
        ("MTK_DEMO", 401),
        ("mtk_demo ", 401),
        ("mtk_dem", 401),
        ("mtk_demo\t", 401),
        ("mtk_", 401),
    ];
    for (key, status) in rows {
        let request = without_key("GET /api/v1/entries").header("authorization", format!("Bearer {key}"));
        assert_eq!(world.send(&gate, request).await.status, status, "{key:?}");
    }
}

/// The shape is right and the checksum is not. The key is refused before any look-up.
#[tokio::test]
async fn wrong_checksum_costs_no_look_up() {
    let world = World::new();
    let format = KeyFormat::new("acme_", Length::exactly(38)).unwrap().with_checksum().unwrap();
    let store = Failing::new(Arc::clone(&world.store));
    store.down.store(false, Ordering::SeqCst);
    let source = tollgate::KeySource::header("X-API-Key").unwrap();
    let gate = world.with_store(store.clone()).bare().source(source).format(format.clone()).build().unwrap();
    let key = format.generate().unwrap();
    let key = key.expose_secret();
    world.plain_key(key);
    let mistyped = key.replace("acme_", "acme_0").chars().take(43).collect::<String>();
    assert_eq!(world.send(&gate, with_key("GET /", &mistyped)).await.status, 401);
    assert_eq!(store.asked(), 0);
    assert_eq!(world.send(&gate, with_key("GET /", key)).await.status, 200);
}

#[tokio::test]
async fn key_in_other_case_is_unknown() {
    let world = World::new();
    world.plain_key(QUANTDATA);
    let gate = world.quantdata().build().unwrap();
    let lower = format!("qd_{}", QUANTDATA[3..].to_lowercase());
    let answer =
        world.send(&gate, without_key("GET /v1/x").header("authorization", format!("Bearer {lower}"))).await;
    assert_eq!((answer.status, answer.member("/detail").as_str()), (401, "Invalid API key."));
}

#[tokio::test]
async fn accounts_with_equal_starts_stay_separate() {
    let world = World::new();
    let secrets = ["A", "B"].map(|last| format!("mtk_a1b2c3d4{}{last}", "0".repeat(35)));
    let ids = [world.plain_key(&secrets[0]), world.plain_key(&secrets[1])];
    let gate = world.quantconomy().build().unwrap();
    for (secret, id) in secrets.iter().zip(ids) {
        let request = without_key("GET /api/v1/entries").header("authorization", format!("Bearer {secret}"));
        assert_eq!(world.send(&gate, request).await.status, 200);
        assert_eq!(world.inner.principal().unwrap().key(), id);
    }
}

/// A pepper: the store's hashes are of no use without it, and one gate's keys are not another's.
#[tokio::test]
async fn key_under_another_hash_is_unknown() {
    let world = World::new();
    world.plain_key(QUANTDATA);
    let peppered = KeyHasher::hmac_sha256(b"a pepper of sixteen bytes").unwrap();
    let gate = world.quantdata().hasher(peppered.clone()).build().unwrap();
    let request = || without_key("GET /v1/x").header("authorization", format!("Bearer {QUANTDATA}"));
    assert_eq!(world.send(&gate, request()).await.status, 401);
    world.key(QUANTDATA, |record, _| record.hash = peppered.hash(QUANTDATA.as_bytes()));
    assert_eq!(world.send(&gate, request()).await.status, 200);
    assert!(KeyHasher::hmac_sha256(b"too short").is_err());
}
