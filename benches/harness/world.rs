//! Keys, requests, and the service behind every gate: the same for all stacks.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use tollgate::adapter::Peer;

/// The number of keys.
pub(crate) const KEYS: usize = 10_000;

/// The number of keys that are in use when traffic is hot.
pub(crate) const HOT: usize = 64;

/// The prefix of all keys; 32 characters of base 62 follow.
pub(crate) const PREFIX: &str = "acme_";

/// The route that the requests of a bench ask for.
pub(crate) const ROUTE: &str = "/v1/candles/BTC?interval=1h&limit=100";

/// The key of this number.
pub(crate) fn key(number: usize) -> String {
    let (upper, lower) = (mixed(number as u64), mixed(!(number as u64)));
    format!("{PREFIX}{upper:016x}{lower:016x}")
}

/// A request as clients send it, with this key.
pub(crate) fn request(key: &str) -> Request {
    let mut request = keyless(ROUTE);
    request.headers_mut().insert("x-api-key", HeaderValue::from_str(key).expect("keys are ASCII"));
    request
}

/// The same without a key.
pub(crate) fn keyless(route: &str) -> Request {
    Request::get(route)
        .header(HOST, "api.example.com")
        .header(USER_AGENT, "acme-client/1.4")
        .header(ACCEPT, "application/json")
        .header(ACCEPT_ENCODING, "gzip, br")
        .extension(Peer([203, 0, 113, 9].into()))
        .body(Body::empty())
        .expect("the request is well-formed")
}

/// The service behind every gate.
pub(crate) async fn handler(_: Request) -> Result<Response, Infallible> {
    let mut response = Response::new(Body::from("[]"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// The keys of the requests: those below `spread`, all equally likely, in the same sequence in every run.
pub(crate) struct Traffic {
    keys: Vec<String>,
    state: u64,
}

impl Traffic {
    pub(crate) fn over(spread: usize) -> Self {
        Self { keys: (0..spread).map(key).collect(), state: 0 }
    }

    /// One of the hot keys, or what is refused: `missing`, `malformed`, `unknown`.
    pub(crate) fn of(kind: &str) -> Self {
        let keys = match kind {
            "missing" => Vec::new(),
            "malformed" => vec![format!("{PREFIX}too-short")],
            "unknown" => vec![key(KEYS)],
            _ => return Self::over(HOT),
        };
        Self { keys, state: 0 }
    }

    pub(crate) fn request(&mut self) -> Request {
        if self.keys.is_empty() {
            return keyless(ROUTE);
        }
        request(self.key())
    }

    /// The key of the next request.
    pub(crate) fn key(&mut self) -> &str {
        self.state += 1;
        let place = mixed(self.state) % self.keys.len() as u64;
        &self.keys[usize::try_from(place).expect("a place is small")]
    }
}

/// Spreads a number over all bits (splitmix64).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}
