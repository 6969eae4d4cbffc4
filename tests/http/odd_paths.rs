//! Odd targets, byte for byte over real sockets, on axum, actix-web, hyper alone and tonic, around the whole service and
//! within it: no handler is reached that the gate did not judge under that handler's own rule.
//!
//! Every route costs a sum that no other costs, and its handler says which it is: what was paid tells the rule that was
//! judged, whatever the path looked like.
#![cfg(all(feature = "actix-web", feature = "axum"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "odd_paths/actix.rs"]
mod on_actix;
#[cfg(feature = "tonic")]
#[path = "odd_paths/tonic.rs"]
mod on_tonic;
mod serve;
use crate::support;

use http::HeaderValue;
use serve::{Framework, ROUTES, Reached};
use support::providers::KWERY;
use support::wire::Server;
use support::{Answer, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate::rule::{Cost, ScopeRule};
use tollgate::{Credits, Gate, KeyId, Rule};

const BALANCE: u64 = 1_000_000;
const RESTRICTED: &str = "kwery_live_restricted";

/// Targets as they stand in a request line. The number is that of the security case.
const TARGETS: &[(&str, &[u8])] = &[
    ("40", b"/v1/administrator"),
    ("40", b"/v1/admin/x"),
    ("40", b"/open/x"),
    ("40", b"/opens"),
    ("41", b"/v1/admin/"),
    ("41", b"/open/"),
    ("41", b"/v1/admin//"),
    ("42", b"//v1/admin"),
    ("42", b"/v1//admin"),
    ("42", b"//open"),
    ("42", b"/./v1/admin"),
    ("42", b"/v1/./admin"),
    ("42", b"/v1/x/../admin"),
    ("42", b"/open/../v1/admin"),
    ("42", b"/v1/files/../admin"),
    ("42", b"/v1/files/../../open"),
    ("42", b"/v1/data/.."),
    ("42", b"/v1/data/."),
    ("43/44", b"/v1/%61dmin"),
    ("43/44", b"/v1/admi%6e"),
    ("43/44", b"/v1/admi%6E"),
    ("43/44", b"/%76%31/%61%64%6d%69%6e"),
    ("43/44", b"/%6fpen"),
    ("43/44", b"/v1/dat%61/x"),
    ("43/44", b"/v1/%66iles/a/b"),
    ("45", b"/v1%2fadmin"),
    ("45", b"/v1%2Fadmin"),
    ("45", b"/v1/data%2fx"),
    ("45", b"/v1/data/a%2fb"),
    ("45", b"/v1/files/%2e%2e/admin"),
    ("45", b"/v1/files/.%2e/admin"),
    ("45", b"/v1/files/%2e%2e%2fadmin"),
    ("45", b"/v1/files/..%2fadmin"),
    ("45", b"/open%2f..%2fv1%2fadmin"),
    ("45", b"/open/%2e%2e/v1/admin"),
    ("45", b"/v1/%2561dmin"),
    ("45", b"/v1/%25%36%31dmin"),
    ("45", b"/v1/data/%252e%252e"),
    ("46", b"/v1/admin;x=1"),
    ("46", b"/v1;x=1/admin"),
    ("46", b"/v1/data/;x"),
    ("46", b"/v1\\admin"),
    ("46", b"/v1%5cadmin"),
    ("46", b"/v1/data/a%5cb"),
    ("46", b"/v1/admin%00"),
    ("46", b"/v1/data/%00"),
    ("46", b"/v1/admin%20"),
    ("46", b"/v1/admin%0a"),
    ("46", b"/v1/admin%0d%0aX-Evil:%201"),
    ("46", b"/v1/admin%3fx"),
    ("46", b"/v1/admin%23x"),
    ("46", b"/v1/data/%3f"),
    ("47", b"/V1/ADMIN"),
    ("47", b"/v1/Admin"),
    ("47", b"/OPEN"),
    ("49", b"/v1/admin#/open"),
    ("49", b"/open#/v1/admin"),
    ("49", b"#/open"),
    ("50", b"http://evil.example/v1/admin"),
    ("50", b"HTTP://EVIL.example/v1/admin"),
    ("50", b"http://evil.example/open/../v1/admin"),
    ("50", b"http://evil.example//v1/admin"),
    ("50", b"http://open/v1/admin"),
    ("50", b"http://user:word@evil.example/v1/admin"),
    ("50", b"http://evil.example"),
    ("50", b"http://evil.example?/open"),
    ("50", b"http:///open"),
    ("50", b"https://evil.example/v1/data/x"),
    ("50", b"ftp://evil.example/v1/admin"),
    ("51", b"*"),
    ("51", b"evil.example:443"),
    ("51", b"v1/admin"),
    ("51", b"open"),
    ("52", b"v1/data/x"),
    ("52", b"v1/files/a/b"),
    ("51", b"?/open"),
    ("53", b"/v1/admin?/open"),
    ("53", b"/v1/admin??x=/open"),
    ("53", b"/open?/v1/admin"),
    ("in the gap", b"/v1/admin%"),
    ("in the gap", b"/v1/admin%2"),
    ("in the gap", b"/v1/admin%zz"),
    ("in the gap", b"/v1/%u0061dmin"),
    ("in the gap", b"/v1%c0%afadmin"),
    ("in the gap", b"/v1/%ff"),
    ("in the gap", b"/v1/data/%ff%fe"),
    ("in the gap", b"/v1/data/%f0%9f%94%91"),
    ("in the gap", b"/v1/\xc3\xa4dmin"),
    ("in the gap", b"/v1/data/\xff"),
    ("in the gap", b"/v1/admin\t"),
    ("in the gap", b"/v1/{id}"),
    ("in the gap", b"/v1/data/{id}"),
    ("in the gap", b"/v1/files/{*rest}"),
    ("in the gap", b"/v1/files/"),
    ("in the gap", b"/v1/files"),
    ("in the gap", b"/v1/data/+"),
    ("in the gap", b"/v1/data/%2b"),
    ("in the gap", b"/v1/files/a//b"),
    ("in the gap", b"/"),
    ("in the gap", b"/v1"),
    ("in the gap", b"/v1/"),
    ("in the gap", b""),
    ("in the gap", b"/v1/admin"),
    ("in the gap", b"/v1/data/x"),
    ("in the gap", b"/v1/files/a/b"),
    ("in the gap", b"/open"),
];

/// A gate where each route costs what no other does, and where one scope opens one of them.
fn gate(world: &World) -> Gate {
    let mut open = Rule::new("/open").unwrap();
    open.public = true;
    let rules = ROUTES.iter().enumerate().map(|(place, (_, pattern))| {
        let mut rule = Rule::new(pattern).unwrap();
        rule.cost = Cost::Fixed(Credits::new(1 << place));
        if *pattern == "/v1/data/{id}" {
            rule.scopes = ScopeRule::AnyOf(vec!["data".into()]);
        }
        rule
    });
    rules.fold(world.kwery().rule(open), tollgate::GateBuilder::rule).build().unwrap()
}

/// Returns the cost of a route, by the name that its handler answers with; `None` for a public route.
fn price(name: &str) -> Option<u64> {
    match name {
        "open" => None,
        // No rule is for what no route is for: it needs a key, and costs nothing.
        "fallback" => Some(0),
        route => Some(1 << ROUTES.iter().position(|(name, _)| *name == route).unwrap()),
    }
}

/// Returns the cost of a path without a route: zero, or the cost of the rule that the path is beside, or that it matches
/// decoded.
fn price_beside(target: &[u8]) -> u64 {
    let path = String::from_utf8_lossy(target).replace("%2561", "%25_61");
    // The letters that the targets encode.
    let letters = ["%61a", "%64d", "%66f", "%69i", "%6dm", "%6en", "%6En", "%6fo", "%76v", "%311"];
    let path = letters.iter().fold(path, |path, pair| path.replace(&pair[..3], &pair[3..]));
    let is_decoded = path.as_bytes() != target;
    let is_beside = |(_, pattern): &&(&str, &str)| {
        let bare = pattern.strip_suffix("/{*rest}").unwrap_or(pattern);
        let matched = pattern.split_once('{').and_then(|(above, _)| path.strip_prefix(above));
        path.trim_end_matches('/') == bare && path.len() <= bare.len() + 1
            || is_decoded && matched.is_some_and(|rest| !rest.is_empty() && !rest.contains('%'))
    };
    ROUTES.iter().find(is_beside).and_then(|(name, _)| price(name)).unwrap_or(0)
}

struct Site {
    world: World,
    server: Server,
    reached: Reached,
    full: KeyId,
    restricted: KeyId,
}

impl Site {
    async fn of(framework: Framework) -> Self {
        let world = World::new();
        let full = world.plain_key(KWERY);
        let restricted = world.key(RESTRICTED, |record, _| record.scopes = Some(vec!["data".into()]));
        world.set_balance(full, BALANCE);
        world.set_balance(restricted, BALANCE);
        let reached = Reached::default();
        let server = serve::serve(framework, &gate(&world), reached.clone()).await;
        Self { world, server, reached, full, restricted }
    }

    /// Returns the handler that was reached, and the amount paid by each account.
    fn told(&self, answer: &Answer) -> (Option<String>, u64, u64) {
        let paid = |id| {
            let paid = BALANCE - self.world.balance(id);
            self.world.set_balance(id, BALANCE);
            paid
        };
        let reached = answer.header("x-handler").map(str::to_owned);
        (reached, paid(self.full), paid(self.restricted))
    }

    async fn judge(&self, place: &str, target: &[u8], send: impl AsyncFn(Option<&str>) -> Answer) {
        let nothing = self.told(&send(None).await);
        assert!(matches!(nothing.0.as_deref(), None | Some("open")), "{place}: without a key: {nothing:?}");
        assert_eq!((nothing.1, nothing.2), (0, 0), "{place}");

        let full = self.told(&send(Some(KWERY)).await);
        let owed = full.0.as_deref().map(|name| match name {
            "fallback" => price_beside(target),
            name => price(name).unwrap_or(0),
        });
        assert_eq!(full.1, owed.unwrap_or(0), "{place}: reached {:?} under another rule", full.0);

        let restricted = self.told(&send(Some(RESTRICTED)).await);
        assert!(
            matches!(restricted.0.as_deref(), None | Some("open" | "item")),
            "{place}: with a restricted key: {restricted:?}"
        );
        assert_eq!(restricted.2, restricted.0.as_deref().and_then(price).unwrap_or(0), "{place}");
    }
}

#[tokio::test]
async fn http1_handlers_match_their_own_rules() {
    for &framework in Framework::ALL {
        let site = Site::of(framework).await;
        for (case, target) in TARGETS {
            for method in ["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "get"] {
                let place =
                    format!("{framework:?}, case {case}, {method} {}", String::from_utf8_lossy(target));
                site.judge(&place, target, async |key| {
                    let line = [method.as_bytes(), b" ", target, b" HTTP/1.1"].concat();
                    let key = format!("X-API-Key: {}", key.unwrap_or_default());
                    let forged = &b"X-Original-URL: /open\r\nX-Forwarded-Uri: /open"[..];
                    let with_key: &[&[u8]] = &[&line, forged, key.as_bytes()];
                    let lines = if key.len() > 11 { with_key } else { &with_key[..2] };
                    site.server.http1(lines).await
                })
                .await;
            }
        }
        // The routes are there, or nothing of this would mean anything.
        for (name, pattern) in framework.routes() {
            let path = pattern.replace("{id}", "x").replace("{*rest}", "a/b");
            let line = format!("GET {path} HTTP/1.1");
            let key = format!("X-API-Key: {KWERY}");
            let answer = site.server.http1(&[line.as_bytes(), key.as_bytes()]).await;
            assert_eq!(answer.header("x-handler"), Some(*name), "{framework:?}: {answer:?}");
        }
    }
}

/// A request over HTTP/2 written frame by frame: HPACK literals without a table. A call is a POST that says what it is.
fn frames(is_call: bool, path: &[u8], key: Option<&str>) -> Vec<u8> {
    let text = |text: &[u8]| [&[u8::try_from(text.len()).unwrap()], text].concat();
    // :method and :scheme http of the static table, then :path and :authority.
    let method = if is_call { 0x83 } else { 0x82 };
    let mut block = [vec![method, 0x86, 0x04], text(path), vec![0x01], text(b"localhost")].concat();
    if is_call {
        block.extend([vec![0x00], text(b"content-type"), text(b"application/grpc")].concat());
    }
    if let Some(key) = key {
        block.extend([vec![0x00], text(b"x-api-key"), text(key.as_bytes())].concat());
    }
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let length = u8::try_from(block.len()).unwrap();
    // HEADERS on stream 1, END_STREAM and END_HEADERS.
    let headers = [&[0, 0, length, 1, 5, 0, 0, 0, 1], &block[..]].concat();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], &headers].concat()
}

/// Writes a request, and reads up to what ends it: `HEADERS`, `RST_STREAM`, `GOAWAY`, or the end of the connection.
async fn exchange(server: Server, bytes: &[u8]) {
    let mut stream = TcpStream::connect(server.0).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let [a, b, c, kind, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        if stream.read_exact(&mut payload).await.is_err() || matches!(kind, 1 | 3 | 7) {
            return;
        }
    }
}

#[tokio::test]
async fn http2_handlers_match_their_own_rules() {
    for &framework in Framework::ALL {
        let site = Site::of(framework).await;
        let frames = |target: &[u8], key: Option<&str>| frames(framework.has_calls(), target, key);
        for (case, target) in TARGETS {
            let place = format!("{framework:?}, case {case}, HTTP/2 {}", String::from_utf8_lossy(target));
            site.judge(&place, target, async |key| {
                exchange(site.server, &frames(target, key)).await;
                Answer { status: 0, headers: site.reached.take(), body: String::new() }
            })
            .await;
        }
        // The frames are right: with them the routes are reached.
        exchange(site.server, &frames(b"/v1/admin", Some(KWERY))).await;
        let reached = site.reached.take();
        assert_eq!(reached.get("x-handler").map(HeaderValue::as_bytes), Some(&b"admin"[..]), "{framework:?}");
    }
}
