//! Sends a request through the gate as a tower layer.

use std::convert::Infallible;
use std::future::ready;

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use tollgate::{Gate, TollgateService};
use tower::ServiceExt;

use crate::data::Fault;
use crate::fixture::{Seen, wrapped};

/// Status, headers and body of the answer.
pub(crate) async fn exchange(
    gate: &Gate,
    seen: Seen,
    request: &Request<String>,
) -> Result<(u16, HeaderMap, Vec<u8>), Fault> {
    let service = tower::service_fn(move |request: Request<Body>| {
        let mut response = Response::new(Body::from("ok"));
        let status = wrapped(&seen, request.uri().to_string());
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
        ready(Ok::<_, Infallible>(response))
    });
    let request = request.clone().map(Body::from);
    let (head, body) = TollgateService::new(service, gate.clone()).oneshot(request).await?.into_parts();
    Ok((head.status.as_u16(), head.headers, body.collect().await?.to_bytes().to_vec()))
}
