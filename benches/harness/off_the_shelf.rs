//! A stack of published middleware: tower-http checks that the key is known, `tower_governor` limits its rate. No record,
//! no account, no scope, no credits.
#![allow(clippy::result_large_err, reason = "tower-http takes the whole response as the error")]

use std::collections::HashSet;
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use sha2::{Digest, Sha256};
use tower::{Layer, Service, service_fn};
use tower_governor::governor::GovernorConfigBuilder;
use tower_governor::key_extractor::KeyExtractor;
use tower_governor::{GovernorError, GovernorLayer};
use tower_http::validate_request::ValidateRequestHeaderLayer;

use super::world;

/// Counts by the key as it was sent.
#[derive(Clone)]
struct ByKey;

impl KeyExtractor for ByKey {
    type Key = String;

    fn extract<B>(&self, request: &Request<B>) -> Result<String, GovernorError> {
        let key = request.headers().get("x-api-key").and_then(|key| key.to_str().ok());
        key.map(str::to_owned).ok_or(GovernorError::UnableToExtractKey)
    }
}

/// The stack around the bench's service.
pub(crate) fn service() -> impl Service<Request, Response = Response, Error = Infallible> {
    let known: HashSet<[u8; 32]> =
        (0..world::KEYS).map(|number| Sha256::digest(world::key(number)).into()).collect();
    let known = Arc::new(known);
    let validate = ValidateRequestHeaderLayer::custom(move |request: &mut Request| {
        let hash =
            request.headers().get("x-api-key").map(|key| <[u8; 32]>::from(Sha256::digest(key.as_bytes())));
        if hash.is_some_and(|hash| known.contains(&hash)) { Ok(()) } else { Err(unauthorized()) }
    });
    let burst = NonZeroU32::MAX;
    let quota = GovernorConfigBuilder::default()
        .period(Duration::from_nanos(1))
        .burst_size(burst.get())
        .key_extractor(ByKey)
        .finish()
        .expect("the quota is possible");
    validate.layer(GovernorLayer::new(quota).layer(service_fn(world::handler)))
}

fn unauthorized() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
}
