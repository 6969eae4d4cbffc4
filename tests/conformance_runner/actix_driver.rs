//! Sends a request through the gate as a transform of an actix-web application.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::{Method, StatusCode};
use actix_web::test::{TestRequest, init_service, read_body, try_call_service};
use actix_web::{App, HttpRequest, HttpResponse, web};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tollgate::adapter::Peer;
use tollgate::{Gate, TollgateTransform};

use crate::data::Fault;
use crate::fixture::{Seen, wrapped};

/// Status, headers and body of the answer.
pub(crate) async fn exchange(
    gate: &Gate,
    seen: Seen,
    request: &Request<String>,
) -> Result<(u16, HeaderMap, Vec<u8>), Fault> {
    let handler = move |request: HttpRequest| {
        let status = StatusCode::from_u16(wrapped(&seen, request.uri().to_string())).unwrap_or_default();
        async move { HttpResponse::build(status).content_type("text/plain").body("ok") }
    };
    let app = App::new().default_service(web::to(handler)).wrap(TollgateTransform::new(gate.clone()));
    let service = init_service(app).await;
    let answer =
        try_call_service(&service, sent(request)?.to_request()).await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let mut headers = HeaderMap::new();
    for (name, value) in answer.headers() {
        let name = HeaderName::from_bytes(name.as_str().as_bytes())?;
        headers.append(name, HeaderValue::from_bytes(value.as_bytes())?);
    }
    Ok((status, headers, read_body(answer).await.to_vec()))
}

fn sent(request: &Request<String>) -> Result<TestRequest, Fault> {
    let mut sent = TestRequest::with_uri(&request.uri().to_string())
        .method(Method::from_bytes(request.method().as_str().as_bytes())?);
    for (name, value) in request.headers() {
        sent = sent.append_header((name.as_str(), value.as_bytes()));
    }
    if let Some(Peer(address)) = request.extensions().get() {
        sent = sent.peer_addr(SocketAddr::new(IpAddr::clone(address), 443));
    }
    Ok(sent.set_payload(request.body().clone()))
}
