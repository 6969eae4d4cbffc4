//! The effect of a parser on a request before the gate sees it: real sockets, HTTP/1.1 and HTTP/2.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use support::providers::{KWERY, QUANTCONOMY, QUANTDATA, public};
use support::wire::{Server, parse};
use support::{Answer, World};
use tollgate::rule::Cost;
use tollgate::{Credits, Gate, Rule};

async fn kwery(world: &World) -> Server {
    world.plain_key(KWERY);
    let gate = world.kwery().rule(public("GET /v2/health")).build().unwrap();
    Server::gated(&gate, world.inner.clone()).await
}

fn key_line(name: &str, tail: &[u8]) -> Vec<u8> {
    [name.as_bytes(), KWERY.as_bytes(), tail].concat()
}

fn refused(world: &World, answer: &Answer, status: u16, why: &str) {
    assert_eq!((answer.status, world.calls()), (status, 0), "{why}: {answer:?}");
    if status == 401 {
        answer.check(&[KWERY.to_owned(), QUANTDATA.to_owned()]);
    }
}

#[tokio::test]
async fn two_key_headers_are_refused() {
    let world = World::new();
    let server = kwery(&world).await;
    let (key, other) = (key_line("X-API-Key: ", b""), b"x-api-key: kwery_live_other_key".to_vec());
    for lines in [[&key, &key], [&key, &other], [&other, &key]] {
        let answer = server.http1(&[b"GET /v1 HTTP/1.1", lines[0], lines[1]]).await;
        refused(&world, &answer, 401, "two lines");
    }
    let request =
        Request::get(format!("http://{}/v1", server.0)).header("x-api-key", KWERY).header("x-api-key", KWERY);
    refused(
        &world,
        &server.http2(request.body(Empty::<Bytes>::new()).unwrap()).await,
        401,
        "two fields over HTTP/2",
    );
    assert_eq!(server.http1(&[b"GET /v1 HTTP/1.1", &key]).await.status, 200);
}

#[tokio::test]
async fn bearer_without_token_is_missing() {
    let world = World::new();
    let gate = world.quantdata().build().unwrap();
    let server = Server::gated(&gate, world.inner.clone()).await;
    let missing = "Missing or malformed Authorization header. Expected: Bearer qd_...";
    for line in [
        &b"Authorization: Bearer "[..],
        b"Authorization: Bearer",
        b"Authorization:",
        b"Authorization: Bearer\t",
    ] {
        let answer = server.http1(&[b"GET /v1/x HTTP/1.1", line]).await;
        refused(&world, &answer, 401, "HTTP/1.1");
        assert_eq!(answer.member("/detail"), missing, "{}", String::from_utf8_lossy(line));
    }
    let request = Request::get(format!("http://{}/v1/x", server.0)).header("authorization", "Bearer ");
    let answer = server.http2(request.body(Empty::<Bytes>::new()).unwrap()).await;
    refused(&world, &answer, 401, "HTTP/2");
    assert_eq!(answer.member("/detail"), missing);
}

#[tokio::test]
async fn http1_trims_spaces_around_the_key() {
    let world = World::new();
    let server = kwery(&world).await;
    // The parser takes them away before anybody can see them (RFC 9112, section 5.1) ...
    for line in
        [key_line("X-API-Key:   ", b"  "), key_line("X-API-Key:", b""), key_line("X-API-Key:\t", b"\t ")]
    {
        assert_eq!(server.http1(&[b"GET /v1 HTTP/1.1", &line]).await.status, 200);
    }
    // ... which HTTP/2 has no need to: what is left of them there is no part of a key.
    let request = Request::get(format!("http://{}/v1", server.0)).header("x-api-key", format!("{KWERY} "));
    let answer = server.http2(request.body(Empty::<Bytes>::new()).unwrap()).await;
    assert_eq!((answer.status, world.calls()), (401, 3));
}

#[tokio::test]
async fn http2_demo_key_with_a_space_is_refused() {
    let world = World::new();
    world.plain_key("mtk_demo");
    world.plain_key(QUANTCONOMY);
    let gate = world.quantconomy().build().unwrap();
    let server = Server::gated(&gate, world.inner.clone()).await;
    let send = |value: String| {
        let request = Request::get(format!("http://{}/api", server.0)).header("authorization", value);
        server.http2(request.body(Empty::<Bytes>::new()).unwrap())
    };
    assert_eq!(send("Bearer mtk_demo".into()).await.status, 200);
    assert_eq!(send("Bearer mtk_demo ".into()).await.status, 401);
    assert_eq!(send(format!("Bearer {QUANTCONOMY}\t")).await.status, 401);
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn non_ascii_and_control_bytes_are_refused() {
    let world = World::new();
    let server = kwery(&world).await;
    let rows: [(Vec<u8>, u16, &str); 7] = [
        (key_line("X-API-Key: ", b"\xc2\xa0"), 401, "no-break space"),
        (key_line("X-API-Key: ", b"\xff"), 401, "no UTF-8"),
        (key_line("X-API-Key: ", b"\0"), 400, "NUL"),
        (key_line("X-API-Key: ", b"\x01"), 400, "control byte"),
        (key_line("X-API-Key : ", b""), 400, "space before the colon"),
        (key_line("X-API-Key: ", b"\r\n folded"), 400, "obs-fold"),
        (key_line("X-API-Key:\r\n ", b""), 400, "obs-fold before the key"),
    ];
    for (line, status, why) in rows {
        refused(&world, &server.http1(&[b"GET /v1 HTTP/1.1", &line]).await, status, why);
    }
    // A bare line feed ends the line: what follows it is another header, never a part of the key.
    let answer = server.http1(&[b"GET /v1 HTTP/1.1", &key_line("X-API-Key: ", b"\nX-Evil: 1")]).await;
    assert!(matches!(answer.status, 200 | 400), "{answer:?}");
    if answer.status == 200 {
        assert_eq!(world.inner.seen().headers["x-api-key"].as_bytes(), KWERY.as_bytes());
    }
}

#[tokio::test]
async fn key_of_60_kilobytes_is_401() {
    let world = World::new();
    let server = kwery(&world).await;
    let line = [&b"X-API-Key: "[..], &vec![b'k'; 60_000]].concat();
    refused(&world, &server.http1(&[b"GET /v1 HTTP/1.1", &line]).await, 401, "60 kB");
}

#[tokio::test]
async fn key_in_a_trailer_is_ignored() {
    let world = World::new();
    let server = kwery(&world).await;
    let trailer = String::from_utf8(key_line("X-API-Key: ", b"")).unwrap();
    let chunked = format!(
        "POST /v1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-API-Key\r\n\r\n\
         2\r\n{{}}\r\n0\r\n{trailer}\r\n\r\n"
    );
    refused(&world, &parse(&server.raw(chunked.as_bytes()).await), 401, "trailer");
}

#[tokio::test]
async fn fragment_is_not_part_of_the_path() {
    let world = World::new();
    let server = kwery(&world).await;
    for target in ["/v1/admin#/v2/health", "/v1/admin#?x=/v2/health", "/v1/admin?a=1#/v2/health"] {
        let answer = server.http1(&[format!("GET {target} HTTP/1.1").as_bytes()]).await;
        assert!(matches!(answer.status, 400 | 401) && world.calls() == 0, "{target}: {answer:?}");
    }
    // What is behind the sign is no part of the path: this is the public route.
    assert_eq!(server.http1(&[b"GET /v2/health#/v1/admin HTTP/1.1"]).await.status, 200);
    assert_eq!(world.inner.seen().uri.path(), "/v2/health");
}

#[tokio::test]
async fn absolute_form_is_judged_by_its_path() {
    let world = World::new();
    let server = kwery(&world).await;
    for target in [
        "http://evil.example/v1/admin",
        "http://x/v1/admin?/v2/health",
        "http://a@b/v2/health/",
        "http://v2/health",
        "http:///v2/health",
    ] {
        let answer = server.http1(&[format!("GET {target} HTTP/1.1").as_bytes()]).await;
        assert!(matches!(answer.status, 400 | 401) && world.calls() == 0, "{target}: {answer:?}");
    }
    assert_eq!(server.http1(&[b"GET http://evil.example/v2/health HTTP/1.1"]).await.status, 200);
    // The rewritten address keeps its form when the key is taken out.
    let target = format!("GET http://evil.example/v1?a=1&api-key={KWERY} HTTP/1.1");
    assert_eq!(server.http1(&[target.as_bytes()]).await.status, 200);
    assert_eq!(world.inner.seen().uri.path_and_query().unwrap(), "/v1?a=1");
}

/// Targets that are not paths.
#[tokio::test]
async fn asterisk_and_authority_form_are_refused() {
    let world = World::new();
    let server = kwery(&world).await;
    let key = key_line("X-API-Key: ", b"");
    for head in [
        &b"OPTIONS * HTTP/1.1"[..],
        b"CONNECT evil.example:443 HTTP/1.1",
        b"GET v2/health HTTP/1.1",
        b"GET  HTTP/1.1",
        b"GET * HTTP/1.1",
    ] {
        let answer = server.http1(&[head, &key]).await;
        refused(&world, &answer, 400, &String::from_utf8_lossy(head));
    }
}

/// A request over HTTP/2 written frame by frame: HPACK literals without a table.
fn frames(path: &str) -> Vec<u8> {
    let literal =
        |index: u8, value: &str| [&[index, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat();
    // :method GET and :scheme http of the static table, then :path and :authority.
    let block = [vec![0x82, 0x86], literal(0x04, path), literal(0x01, "localhost")].concat();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let length = u8::try_from(block.len()).unwrap();
    // HEADERS on stream 1, END_STREAM and END_HEADERS; then GOAWAY, so that the server closes.
    let headers = [&[0, 0, length, 1, 5, 0, 0, 0, 1], &block[..]].concat();
    let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], &headers, &goaway].concat()
}

#[tokio::test]
async fn http2_path_without_slash_is_never_served() {
    let world = World::new();
    let server = kwery(&world).await;
    for path in ["v2/health", "v1/admin", "pkg.Svc/Method", "*", "http://x/v2/health"] {
        server.raw(&frames(path)).await;
        assert_eq!(world.calls(), 0, "{path}");
    }
    // The frames are right: with the slash the same bytes are served.
    server.raw(&frames("/v2/health")).await;
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn head_without_key_equals_get() {
    let world = World::new();
    let server = kwery(&world).await;
    let id = &b"X-Request-ID: one"[..];
    let get = server.http1(&[b"GET /v1/x HTTP/1.1", id]).await;
    let head = server.http1(&[b"HEAD /v1/x HTTP/1.1", id]).await;
    refused(&world, &head, 401, "HEAD");
    let fields = |answer: &Answer| {
        let mut headers = answer.headers.clone();
        headers.remove("date");
        headers
    };
    assert_eq!(fields(&head), fields(&get));
    assert!(head.body.is_empty() && !get.body.is_empty());
    assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()));
}

#[tokio::test]
async fn http2_websocket_without_key_is_401() {
    let world = World::new();
    let server = kwery(&world).await;
    let connect = |key: Option<&str>| {
        let mut request = Request::builder().method("CONNECT").uri(format!("http://{}/v1/stream", server.0));
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        let mut request = request.body(Empty::<Bytes>::new()).unwrap();
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        server.http2(request)
    };
    refused(&world, &connect(None).await, 401, "no key");
    assert_eq!((connect(Some(KWERY)).await.status, world.calls()), (200, 1));
}

#[tokio::test]
async fn reset_streams_leave_no_charge_open() {
    let world = World::new();
    let id = world.plain_key(KWERY);
    world.set_balance(id, 10_000);
    let mut rule = Rule::new("/v1").unwrap();
    rule.cost = Cost::Fixed(Credits::new(1));
    let gate: Gate = world.kwery().rule(rule).build().unwrap();
    let server = Server::gated(&gate, world.inner.clone()).await;
    let stream = tokio::net::TcpStream::connect(server.0).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..500 {
        let Ok(mut ready) = client.clone().ready().await else { break };
        let request = Request::get(format!("http://{}/v1", server.0))
            .header("x-api-key", KWERY)
            .body(Empty::<Bytes>::new())
            .unwrap();
        let Ok((response, mut sender)) = ready.send_request(request.map(drop), false) else { break };
        sender.send_reset(h2::Reason::CANCEL);
        drop(response);
    }
    drop(client);
    let _ = connection.await;
    // The server goes on, and no charge stays open.
    let line = key_line("X-API-Key: ", b"");
    assert_eq!(server.http1(&[b"GET /v1 HTTP/1.1", &line]).await.status, 200);
    assert_eq!(world.ledger.open_charges(&world.account_of(id)), 0);
    assert_eq!(world.balance(id) + world.calls() as u64, 10_000);
}
