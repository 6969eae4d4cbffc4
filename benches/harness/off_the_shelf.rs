//! A stack of published middleware: tower-http checks that the key is known, and `tower_governor` limits its rate. It has no
//! records, accounts, scopes or credits.
#![allow(clippy::result_large_err, reason = "tower-http takes the whole response as the error")]

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use governor::clock::QuantaInstant;
use governor::middleware::NoOpMiddleware;
use http::StatusCode;
use sha2::{Digest, Sha256};
use tower::{Layer, Service, service_fn};
use tower_governor::governor::GovernorConfigBuilder;
use tower_governor::key_extractor::KeyExtractor;
use tower_governor::{GovernorError, GovernorLayer};
use tower_http::validate_request::{ValidateRequest, ValidateRequestHeaderLayer};

use super::world;

/// Extracts the key of the rate limit: the presented API key.
#[derive(Clone)]
struct ByKey;

impl KeyExtractor for ByKey {
    type Key = String;

    fn extract<B>(&self, request: &Request<B>) -> Result<String, GovernorError> {
        let key = request.headers().get("x-api-key").and_then(|key| key.to_str().ok());
        key.map(str::to_owned).ok_or(GovernorError::UnableToExtractKey)
    }
}

/// Returns the middleware around the service of the bench.
pub(crate) fn service(keys: usize) -> impl Service<Request, Response = Response, Error = Infallible> {
    validate(keys).layer(limit().layer(service_fn(world::handler)))
}

/// Adds the middleware around all routes of a router.
pub(crate) fn around(router: Router, keys: usize) -> Router {
    router.layer(limit()).layer(validate(keys))
}

/// Rejects a key that is not one of this number of keys.
fn validate(
    keys: usize,
) -> ValidateRequestHeaderLayer<impl ValidateRequest<Body, ResponseBody = Body> + Clone> {
    let known: HashSet<[u8; 32]> =
        (0..keys).map(|number| Sha256::digest(world::key(number)).into()).collect();
    let known = Arc::new(known);
    ValidateRequestHeaderLayer::custom(move |request: &mut Request| {
        let hash =
            request.headers().get("x-api-key").map(|key| <[u8; 32]>::from(Sha256::digest(key.as_bytes())));
        if hash.is_some_and(|hash| known.contains(&hash)) { Ok(()) } else { Err(unauthorized()) }
    })
}

fn limit() -> GovernorLayer<ByKey, NoOpMiddleware<QuantaInstant>, Body> {
    let quota = GovernorConfigBuilder::default()
        .period(Duration::from_nanos(1))
        .burst_size(u32::MAX)
        .key_extractor(ByKey)
        .finish()
        .expect("the quota is possible");
    GovernorLayer::new(quota)
}
fn unauthorized() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
}
