//! The headers that the gate adds to its own answers, and the way they are sent.

use axum::Router;
use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use tollgate::{GateBuilder, KeySource, TollgateLayer};
use tower::ServiceExt;

use crate::management_http::fixture::{KEYS, Stage};
use crate::support::service::Inner;
use crate::support::wire::Server;

fn by_query(builder: GateBuilder) -> GateBuilder {
    builder.source(KeySource::query("api-key").unwrap()).limit_headers()
}

/// Sends a request over HTTP/2, with the key in the query.
async fn over_http2(stage: &Stage, key: &str, method: &str, path: &str) -> crate::support::Answer {
    let server = Server::gated(&stage.gate, Inner::default()).await;
    let request = Request::builder().method(method).uri(format!("http://{}{path}?api-key={key}", server.0));
    server.http2(request.body(Empty::<Bytes>::new()).unwrap()).await
}

#[tokio::test]
async fn query_key_management_sends_no_referrer() {
    let stage = Stage::with(by_query);
    let (key, id) = stage.key("ada").await;
    let missing = "00000000-0000-4000-8000-00000000ffff";
    let rows = [
        ("GET", KEYS.to_owned(), 200),
        ("GET", format!("{KEYS}/me"), 200),
        ("GET", format!("{KEYS}/{missing}"), 404),
        ("PUT", KEYS.to_owned(), 405),
        ("DELETE", format!("{KEYS}/{id}"), 204),
    ];
    for (method, path, status) in rows {
        let answer = over_http2(&stage, &key, method, &path).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{method} {path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{method} {path}");
        assert!(answer.header("ratelimit").is_some_and(|told| told.contains(";r=")), "{answer:?}");
        assert!(answer.headers.contains_key("ratelimit-policy"), "{method} {path}");
        assert!(answer.headers.contains_key("x-request-id"), "{method} {path}");
    }
}

#[tokio::test]
async fn http2_head_equals_get_without_body() {
    let stage = Stage::with(by_query);
    let (key, _) = stage.key("ada").await;
    let missing = "00000000-0000-4000-8000-00000000ffff";
    for path in [KEYS.to_owned(), format!("{KEYS}/{missing}"), format!("{KEYS}/no-uuid")] {
        let get = over_http2(&stage, &key, "GET", &path).await;
        let head = over_http2(&stage, &key, "HEAD", &path).await;
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        assert!(!get.body.is_empty(), "{path}");
        let length = get.body.len().to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
}

#[tokio::test]
async fn nested_management_uses_its_full_path() {
    let stage = Stage::with(|builder| builder.management("/v1/account/keys"));
    let (key, id) = stage.key("ada").await;
    let layer = TollgateLayer::new(stage.gate.clone());
    let app = Router::new().nest("/v1", layer.around(Router::new()).into());
    let rows = [
        ("/v1/account/keys".to_owned(), 200),
        (format!("/v1/account/keys/{id}"), 200),
        ("/v1/account/keys/me".to_owned(), 200),
        ("/v1/account/keys/a/b/c".to_owned(), 404),
        ("/v1/account/key".to_owned(), 404),
    ];
    for (path, status) in rows {
        let request = Request::get(&path).header("authorization", format!("Bearer {key}"));
        let answer = app.clone().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
    }
}

/// RFC 9110, section 15.5.6.
#[tokio::test]
async fn wrong_method_answers_with_allow() {
    let stage = Stage::new();
    let (key, id) = stage.key("ada").await;
    let rows = [
        (KEYS.to_owned(), "GET, HEAD, POST", &["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"][..]),
        (format!("{KEYS}/me"), "GET, HEAD", &["POST", "PATCH", "DELETE", "TRACE"]),
        (format!("{KEYS}/{id}"), "GET, HEAD, PATCH, DELETE", &["POST", "PUT", "BREW", "TRACE"]),
        (format!("{KEYS}/{id}/rotate"), "POST", &["GET", "HEAD", "PUT", "DELETE", "TRACE"]),
    ];
    for (path, allowed, methods) in rows {
        for method in methods {
            let answer = stage.send(&key, &format!("{method} {path}"), "").await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.headers["allow"], allowed, "{method} {path}");
        }
    }
}
