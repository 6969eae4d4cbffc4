//! The keys, the requests and the service behind the gate. They are the same for all stacks.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use tollgate::adapter::Peer;

/// The number of keys.
pub(crate) const KEYS: usize = 10_000;

/// The number of keys that the requests of hot traffic use.
pub(crate) const HOT: usize = 64;

/// The address of the client.
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The allowed networks of each key.
pub(crate) const NETWORKS: [&str; 2] = ["198.51.100.0/24", "127.0.0.0/8"];

/// The prefix of all keys. It is followed by 32 characters of base 62.
pub(crate) const PREFIX: &str = "acme_";

/// The path of the requests of a bench.
pub(crate) const ROUTE: &str = "/v1/candles/BTC?interval=1h&limit=100";

/// Returns the key with this number.
pub(crate) fn key(number: usize) -> String {
    let (upper, lower) = (mixed(number as u64), mixed(!(number as u64)));
    format!("{PREFIX}{upper:016x}{lower:016x}")
}

/// Returns a request with this key.
pub(crate) fn request(key: &str) -> Request {
    let mut request = keyless(ROUTE);
    request.headers_mut().insert("x-api-key", HeaderValue::from_str(key).expect("keys are ASCII"));
    request
}

/// Returns a request without a key.
pub(crate) fn keyless(route: &str) -> Request {
    Request::get(route)
        .header(HOST, "api.example.com")
        .header(USER_AGENT, "acme-client/1.4")
        .header(ACCEPT, "application/json")
        .header(ACCEPT_ENCODING, "gzip, br")
        .extension(Peer(PEER.into()))
        .body(Body::empty())
        .expect("the request is well-formed")
}

/// The handler of the service behind the gate.
pub(crate) async fn handler(_: Request) -> Result<Response, Infallible> {
    let mut response = Response::new(Body::from("[]"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// The sequence of requests to a stack. It is the same in every run.
pub(crate) struct Traffic {
    /// The key of a request, from a random number.
    key: Box<dyn Fn(u64) -> Option<String>>,
    state: u64,
}

impl Traffic {
    fn new(key: impl Fn(u64) -> Option<String> + 'static) -> Self {
        Self { key: Box::new(key), state: 0 }
    }

    /// Requests with the first `spread` keys, all equally likely.
    pub(crate) fn uniform(spread: usize) -> Self {
        Self::new(move |random| Some(key(below(spread, random))))
    }

    /// Requests with the first `spread` keys by Zipf's law: the key of rank k is drawn with a probability of about 1/k.
    /// Keys of adjacent ranks do not have adjacent numbers.
    pub(crate) fn zipf(spread: usize) -> Self {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rank =
            move |random: u64| ((spread as f64 + 1.0).powf(random as f64 / 2_f64.powi(64))) as usize - 1;
        Self::new(move |random| Some(key(rank(random).min(spread - 1) * 7_368_787 % spread)))
    }

    /// Requests with each of the first `spread` keys in turn.
    pub(crate) fn each(spread: usize) -> Self {
        let next = std::cell::Cell::new(0);
        Self::new(move |_| Some(key(next.replace(next.get() + 1) % spread)))
    }

    /// Requests without a key.
    pub(crate) fn missing() -> Self {
        Self::new(|_| None)
    }

    /// Requests with a key that is too short.
    pub(crate) fn malformed() -> Self {
        Self::new(|_| Some(format!("{PREFIX}too-short")))
    }

    /// Requests with `spread` well-formed keys that no store has, all equally likely.
    pub(crate) fn unknown(spread: usize) -> Self {
        Self::new(move |random| Some(key(UNKNOWN + below(spread, random))))
    }

    pub(crate) fn request(&mut self) -> Request {
        match self.next() {
            Some(key) => request(&key),
            None => keyless(ROUTE),
        }
    }

    /// Returns the key of the next request, if it has one.
    pub(crate) fn next(&mut self) -> Option<String> {
        self.state += 1;
        (self.key)(mixed(self.state))
    }
}

/// The number of the first unknown key.
const UNKNOWN: usize = 1 << 40;

fn below(spread: usize, random: u64) -> usize {
    usize::try_from(random % spread as u64).expect("a number of a key is small")
}

/// Mixes the bits of a number (splitmix64).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}
