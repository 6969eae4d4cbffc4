//! Caching headers of answers, and challenges of refusals.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use http::Response;
use support::providers::{KWERY, QUANTDATA, VECTRADE};
use support::{Answer, World, with_key, without_key};
use tollgate::key::KeyStatus;
use tollgate::respond::ErrorFormat;
use tollgate::rule::ScopeRule;
use tollgate::{Gate, KeySource, Rule};

/// Sends a request that is served with these cache headers of the handler's.
async fn cached(gate: &Gate, world: &World, own: &[(&str, &str)], request: http::request::Builder) -> Answer {
    let response =
        own.iter().fold(Response::builder(), |response, (name, value)| response.header(*name, *value));
    world.inner.answer(response.body("data").unwrap());
    world.send(gate, request).await
}

type RequestParts = &'static [(&'static str, &'static str)];

fn all(answer: &Answer, name: &str) -> Vec<String> {
    answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn header_key_answers_are_private() {
    let world = World::new();
    world.plain_key(KWERY);
    let gate = world.kwery().build().unwrap();
    let rows: [(RequestParts, &[&str], &[&str]); 11] = [
        (&[], &["private"], &["x-api-key"]),
        (&[("cache-control", "max-age=9")], &["max-age=9", "private"], &["x-api-key"]),
        (
            &[("cache-control", "max-age=9, must-revalidate")],
            &["max-age=9, must-revalidate", "private"],
            &["x-api-key"],
        ),
        (
            &[("cache-control", "public, max-age=9, no-cache")],
            &["private, max-age=9, no-cache"],
            &["x-api-key"],
        ),
        (&[("cache-control", "S-MaxAge=60,max-age=9")], &["private, max-age=9"], &["x-api-key"]),
        (
            &[("cache-control", "private=\"set-cookie, x\", max-age=9")],
            &["private=\"set-cookie, x\", max-age=9", "private"],
            &["x-api-key"],
        ),
        (&[("cache-control", "public, private=\"x\"")], &["private, private=\"x\""], &["x-api-key"]),
        (
            &[("cache-control", "a=\"no-store, \\\", private\"")],
            &["a=\"no-store, \\\", private\"", "private"],
            &["x-api-key"],
        ),
        (&[("cache-control", "no-store")], &["no-store"], &["x-api-key"]),
        (&[("cache-control", "private, max-age=9")], &["private, max-age=9"], &["x-api-key"]),
        (&[("vary", "accept-encoding")], &["private"], &["accept-encoding", "x-api-key"]),
    ];
    for (own, control, vary) in rows {
        let answer = cached(&gate, &world, own, with_key("GET /v1/x", KWERY)).await;
        assert_eq!(
            (all(&answer, "cache-control"), all(&answer, "vary")),
            (
                control.iter().map(ToString::to_string).collect(),
                vary.iter().map(ToString::to_string).collect()
            ),
            "{own:?}"
        );
    }
    // RFC 9111, section 3.5, protects what answers `Authorization`; a public answer is everybody's.
    world.plain_key(VECTRADE);
    let bearer = world.vectrade(true).rule(support::providers::public("GET /open")).build().unwrap();
    let request = without_key("GET /v1/x").header("authorization", format!("Bearer {VECTRADE}"));
    assert!(all(&cached(&bearer, &world, &[], request).await, "cache-control").is_empty());
    assert!(all(&cached(&bearer, &world, &[], without_key("GET /open")).await, "cache-control").is_empty());
}

/// RFC 9111, section 3.5: what allows a shared cache to keep an answer to `Authorization`.
#[tokio::test]
async fn shared_bearer_answers_vary_by_key() {
    let world = World::new();
    world.plain_key(QUANTDATA);
    let mut rule = Rule::new("/v1/x").unwrap();
    rule.scopes = tollgate::rule::ScopeRule::Everyone;
    let gate = world.quantdata().rule(rule).build().unwrap();
    let rows: [(Option<&str>, bool); 11] = [
        (None, false),
        (Some("max-age=9"), false),
        (Some("no-store"), false),
        (Some("private, max-age=9"), false),
        (Some("private, must-revalidate"), false),
        (Some("x-public, max-age=9"), false),
        (Some("public, max-age=9"), true),
        (Some("Public"), true),
        (Some("s-maxage=9"), true),
        (Some("max-age=9, must-revalidate"), true),
        (Some("private=\"x\", must-revalidate"), true),
    ];
    for (control, shared) in rows {
        let own: Vec<_> = control.map(|control| ("cache-control", control)).into_iter().collect();
        let request = without_key("GET /v1/x").header("authorization", format!("Bearer {QUANTDATA}"));
        let answer = cached(&gate, &world, &own, request).await;
        let vary: &[&str] = if shared { &["authorization"] } else { &[] };
        assert_eq!(all(&answer, "vary"), vary, "{control:?}");
        // What the handler says stands.
        assert_eq!(answer.header("cache-control"), control);
    }
}

#[tokio::test]
async fn query_key_answers_are_private() {
    let world = World::new();
    world.plain_key(KWERY);
    let gate = world.kwery().build().unwrap();
    let rows: [(RequestParts, &str); 8] = [
        (&[], "private"),
        (&[("cache-control", "private=\"x\", max-age=9")], "private=\"x\", max-age=9|private"),
        (&[("cache-control", "no-cache")], "no-cache|private"),
        (&[("cache-control", "max-age=9, s-maxage=60")], "private, max-age=9"),
        (&[("cache-control", "public, max-age=60")], "private, max-age=60"),
        (&[("cache-control", "no-store")], "no-store"),
        (&[("cache-control", "private, max-age=9")], "private, max-age=9"),
        (&[("cache-control", "PRIVATE")], "private"),
    ];
    for (own, control) in rows {
        let answer = cached(&gate, &world, own, without_key(&format!("GET /v1/x?api-key={KWERY}"))).await;
        assert_eq!(all(&answer, "cache-control").join("|").to_lowercase(), control, "{own:?}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    }
}

#[tokio::test]
async fn each_scheme_has_one_valid_challenge() {
    for realm in ["", "a\"b", "a\\b", "a\r\nb", "\u{e9}", "a\0"] {
        assert!(ErrorFormat::problem().realm(realm).is_err(), "{realm:?}");
    }
    let world = World::new();
    let shape = ErrorFormat::problem().realm("VecTrade API").unwrap();
    let gate = world.vectrade(true).error_format(shape).build().unwrap();
    let answer = world.send(&gate, without_key("GET /v1/x")).await;
    assert_eq!(
        all(&answer, "www-authenticate"),
        ["ApiKey realm=\"VecTrade API\"", "Bearer realm=\"VecTrade API\""]
    );
    // No key, or one that stood elsewhere: nothing is wrong with a token.
    let answer = world.send(&gate, with_key("GET /v1/x", "vq_short")).await;
    assert_eq!(
        all(&answer, "www-authenticate"),
        ["ApiKey realm=\"VecTrade API\"", "Bearer realm=\"VecTrade API\""]
    );
    // Two sources of one scheme are one challenge.
    let answer = world.send(&world.kwery().build().unwrap(), without_key("GET /v1/x")).await;
    assert_eq!(all(&answer, "www-authenticate"), ["ApiKey"]);
}

/// RFC 6750, section 3.1.
#[tokio::test]
async fn bearer_challenge_names_the_token_error() {
    let world = World::new();
    let unknown = format!("vq_{}", "u".repeat(43));
    let revoked = format!("vq_{}", "r".repeat(43));
    world.key(&revoked, |record, _| record.status = KeyStatus::Revoked);
    let away = format!("vq_{}", "a".repeat(43));
    world.key(&away, |record, _| record.allowlist = Some(vec![]));
    let plain = || world.vectrade(true).build().unwrap();
    let realm = || world.vectrade(true).error_format(ErrorFormat::problem().realm("Acme").unwrap());
    let rows = [
        (format!("Bearer {unknown}"), true),
        (format!("bearer {revoked}"), true),
        (format!("Bearer {away}"), true),
        ("Bearer vq_short".to_owned(), true),
        // A request without a key gets the plain challenge, and no error code.
        ("Bearer ".to_owned(), false),
        ("Basic eDp5".to_owned(), false),
    ];
    for (sent, wrong) in rows {
        let request = || without_key("GET /v1/x").header("authorization", &sent);
        let (bare, named) = if wrong {
            ("Bearer error=\"invalid_token\"", "Bearer realm=\"Acme\", error=\"invalid_token\"")
        } else {
            ("Bearer", "Bearer realm=\"Acme\"")
        };
        let answer = world.send(&plain(), request()).await;
        assert_eq!(all(&answer, "www-authenticate"), ["ApiKey", bare], "{sent}");
        let answer = world.send(&realm().build().unwrap(), request()).await;
        assert_eq!(all(&answer, "www-authenticate"), ["ApiKey realm=\"Acme\"", named], "{sent}");
    }
    let other = KeySource::authorization("Token").unwrap();
    let format = tollgate::KeyFormat::new("vq_", tollgate::key::Length::exactly(8)).unwrap().accepted_only();
    let gate = world.bare().source(other).format(format).build().unwrap();
    let request = without_key("GET /v1/x").header("authorization", "Token vq_short");
    assert_eq!(all(&world.send(&gate, request).await, "www-authenticate"), ["Token"]);
}

/// RFC 6750, section 3.1.
#[tokio::test]
async fn bearer_challenge_names_the_missing_scope() {
    let world = World::new();
    world.key(VECTRADE, |record, _| record.scopes = Some(vec!["quotes:read".into()]));
    let (one, two) = (|| vec!["ai:read".into()], || vec!["ai:read".into(), "ai:write".into()]);
    let rows = [
        (ScopeRule::AnyOf(one()), "ai:read"),
        (ScopeRule::AllOf(two()), "ai:read ai:write"),
        // One is enough: the first is named.
        (ScopeRule::AnyOf(two()), "ai:read"),
    ];
    for (asked, scope) in rows {
        let mut rule = Rule::new("/v1/ai").unwrap();
        rule.scopes = asked;
        let gate = world.vectrade(true).rule(rule).build().unwrap();
        let request = without_key("GET /v1/ai").header("authorization", format!("Bearer {VECTRADE}"));
        let answer = world.send(&gate, request).await;
        assert_eq!(answer.status, 403);
        let expected = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
        assert_eq!(all(&answer, "www-authenticate"), [expected]);
        // Not where the key stood elsewhere, nor where no scope is lacking.
        for (route, status) in [("GET /v1/ai", 403), ("GET /v1/other", 403)] {
            let answer = world.send(&gate, with_key(route, VECTRADE)).await;
            assert_eq!((answer.status, all(&answer, "www-authenticate").len()), (status, 0));
        }
        let request = without_key("GET /v1/other").header("authorization", format!("Bearer {VECTRADE}"));
        assert!(all(&world.send(&gate, request).await, "www-authenticate").is_empty());
    }
}

#[test]
fn protocol_headers_are_no_key_source() {
    for name in [
        "Host",
        "Cookie",
        "Content-Length",
        "content-type",
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authorization",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "UPGRADE",
        "Forwarded",
        "Via",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Real-IP",
        "Expect",
        "Origin",
        "User-Agent",
        "Set-Cookie",
    ] {
        let error = tollgate::KeySource::header(name).unwrap_err();
        assert_eq!((error.value(), error.expected()), (name, "write one as in `X-API-Key`"));
    }
    for name in ["X-API-Key", "api-key", "X-Auth-Token", "Ocp-Apim-Subscription-Key"] {
        assert!(tollgate::KeySource::header(name).is_ok(), "{name}");
    }
}

#[test]
fn scope_must_fit_a_challenge() {
    use tollgate::Rule;
    use tollgate::rule::ScopeRule;

    let built = |scope: &str, all: bool| {
        let mut rule = Rule::new("/x").unwrap();
        let scopes = vec!["fine".into(), scope.into()];
        rule.scopes = if all { ScopeRule::AllOf(scopes) } else { ScopeRule::AnyOf(scopes) };
        support::World::new().kwery().rule(rule).build()
    };
    for scope in ["", "a b", "a\"b", "a\\b", "a\nb", "a\u{7f}", "\u{e9}", "a\u{a0}b", "\t"] {
        for all in [false, true] {
            assert_eq!(built(scope, all).unwrap_err().value(), scope);
        }
    }
    for scope in ["quotes:read", "!", "#[~]", "https://acme.example/scope?a=b"] {
        assert!(built(scope, true).is_ok(), "{scope}");
    }
}
