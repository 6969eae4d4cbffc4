//! Over real sockets: bytes that are no text, and `HEAD`.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use actix_web::HttpServer;
use actix_web::http::KeepAlive;
use support::providers::public;
use support::wire::Server;
use tollgate::DenialKind;

use super::*;

/// Serves from a thread of its own, for as long as the test runs.
async fn serve(gate: Gate, routes: fn(&mut web::ServiceConfig)) -> Server {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || {
                App::new().configure(routes).wrap(TollgateTransform::new(gate.clone()))
            });
            let server = server.keep_alive(KeepAlive::Disabled).client_disconnect_timeout(Duration::ZERO);
            let server = server.workers(1).disable_signals().bind_auto_h2c("127.0.0.1:0").unwrap();
            tell.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    Server(tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap())
}

#[tokio::test]
async fn non_ascii_bytes_in_the_key_are_401() {
    let world = World::new();
    world.plain_key(KEY);
    let denials = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&denials);
    let gate = world.kwery().on_denial(move |denial| noted.lock().unwrap().push(denial.kind()));
    let server = serve(gate.build().unwrap(), |app| {
        app.route("/v1", web::get().to(who));
    })
    .await;
    let send =
        async |key: &[u8]| server.http1(&[b"GET /v1 HTTP/1.1", &[b"X-API-Key: ", key].concat()]).await.status;
    assert_eq!(send(KEY.as_bytes()).await, 200);
    let mut count = 0;
    for byte in 0x80..=0xff_u8 {
        for key in [[KEY.as_bytes(), &[byte]].concat(), [&[byte], KEY.as_bytes()].concat()] {
            assert_eq!(send(&key).await, 401, "{byte:#x}");
            count += 1;
        }
    }
    for tail in [&b"\xc2\xa0"[..], b"\xef\xbb\xbf", b"\xc3\xa9"] {
        assert_eq!(send(&[KEY.as_bytes(), tail].concat()).await, 401, "{tail:?}");
        count += 1;
    }
    // The bytes came to the gate as they were sent: there was a key, and it had no shape of one.
    assert_eq!(*denials.lock().unwrap(), vec![DenialKind::InvalidFormat; count]);
}

/// Answers with a header of the request's.
async fn echo(request: HttpRequest) -> HttpResponse {
    let note = request.headers().get("x-note").unwrap().clone();
    HttpResponse::Ok().insert_header(("x-note", note)).body("it is the same")
}

#[tokio::test]
async fn other_headers_pass_byte_for_byte() {
    let world = World::new();
    world.plain_key(KEY);
    let gate = world
        .kwery()
        .request_ids(tollgate::respond::RequestIds::default().in_every_answer())
        .build()
        .unwrap();
    let server = serve(gate, |app| {
        app.route("/v1", web::get().to(echo));
    })
    .await;
    let note: Vec<u8> = [&b"a"[..], &(0x80..=0xff).collect::<Vec<u8>>(), b"z"].concat();
    let head = b"GET /v1 HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: \xff\r\nX-API-Key: ";
    let answer = server.raw(&[&head[..], KEY.as_bytes(), b"\r\nX-Note: ", &note, b"\r\n\r\n"].concat()).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    assert!(answer.windows(note.len()).any(|bytes| bytes == note), "{}", String::from_utf8_lossy(&answer));
    // An id that is no text is not taken.
    let id = b"\r\nx-request-id: req_";
    assert!(answer.windows(id.len()).any(|bytes| bytes.eq_ignore_ascii_case(id)));
}

/// Routes for `GET` alone, and such for both.
fn some_with_head(app: &mut web::ServiceConfig) {
    let text = async || "text";
    app.route("/open", web::get().to(text)).route("/v1/candles", web::get().to(text));
    for path in ["/both", "/v1/both"] {
        app.service(web::resource(path).get(text).head(text));
    }
    app.service(web::resource("/v1/resource").get(text));
}

#[tokio::test]
async fn head_follows_the_routes() {
    let world = World::new();
    let id = world.plain_key(KEY);
    let rules = ["GET /v1/candles", "GET /v1/both", "GET /v1/resource"].map(costly);
    let rules = rules.into_iter().chain(["GET /open", "GET /both"].map(public));
    let gate = rules.fold(world.kwery(), tollgate::GateBuilder::rule).build().unwrap();
    let server = serve(gate, some_with_head).await;
    let key = format!("X-API-Key: {KEY}");
    // Without a key, and with one; what has been paid.
    let rows = [
        ("/open", 404, 404, 0),
        ("/both", 200, 200, 0),
        ("/v1/candles", 401, 404, 10),
        ("/v1/resource", 401, 405, 10),
        ("/v1/both", 401, 200, 10),
    ];
    for (path, without, with, paid) in rows {
        world.set_balance(id, 100);
        let line = format!("HEAD {path} HTTP/1.1");
        let bare = server.http1(&[line.as_bytes()]).await;
        assert_eq!((bare.status, bare.body.as_str()), (without, ""), "{path}");
        let keyed = server.http1(&[line.as_bytes(), key.as_bytes()]).await;
        assert_eq!((keyed.status, keyed.body.as_str()), (with, ""), "{path}");
        assert_eq!(account(&world, id), (100 - paid, 0), "{path}");
    }
    let head = server.http1(&[b"HEAD /both HTTP/1.1"]).await;
    assert_eq!(head.header("content-length"), Some("4"), "the head is that of the answer to GET");
}
