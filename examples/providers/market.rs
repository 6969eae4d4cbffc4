//! Parts that the five providers share: generated market data, and lists in pages.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::Deserialize;
use serde_json::Value;
use tollgate::account::ParamLimit;
use tollgate::clock::{SystemClock, Timestamp};
use tollgate::{Clock, Principal};

/// The default number of items in a page.
const PAGE: usize = 20;

/// The maximum number of items in a page.
const LARGEST_PAGE: usize = 100;

/// Returns a pseudo-random number in `0.0..1.0`. Equal arguments give equal numbers.
pub(crate) fn noise(name: &str, step: u64) -> f64 {
    // FNV-1a and the finalizer of MurmurHash3, so that similar inputs give very different numbers.
    let bytes = name.bytes().chain(step.to_le_bytes());
    let mut hash = bytes.fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    f64::from(u32::try_from(hash >> 32).unwrap_or_default()) / 4_294_967_296.0
}

/// Rounds to two decimal places.
pub(crate) fn cents(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

/// Returns a pseudo-random integer below a bound. Equal arguments give equal integers.
pub(crate) fn count(name: &str, step: u64, below: u32) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 0 and `below`"
    )]
    let count = (noise(name, step) * f64::from(below)) as u32;
    count
}

/// Returns the price of a symbol at a step: within 5 % of a level that depends on the symbol.
pub(crate) fn price(symbol: &str, step: u64) -> f64 {
    let level = match symbol.get(..3) {
        Some("BTC") => 64_000.0,
        Some("ETH") => 3_100.0,
        _ => 20.0 + 400.0 * noise(symbol, 0),
    };
    cents(level * (0.95 + 0.1 * noise(symbol, step)))
}

/// Returns the milliseconds since 1970.
pub(crate) fn now() -> u64 {
    u64::try_from(SystemClock::new().now().wall().as_millis()).unwrap_or_default()
}

/// Returns the time in the format of RFC 3339.
pub(crate) fn today() -> String {
    SystemClock::new().now().wall().to_string()
}

/// Returns the same without fractions of a second.
pub(crate) fn whole_seconds() -> String {
    let millis = SystemClock::new().now().wall().as_millis();
    Timestamp::from_millis(millis - millis.rem_euclid(1_000)).to_string()
}

/// Returns the caller's remaining credits; `None` if the request is free.
pub(crate) fn credits_left(caller: Option<&Principal>) -> Option<u64> {
    caller?.balance().map(tollgate::Credits::get)
}

/// The requested page of a list, within the limits of the caller.
#[derive(Debug)]
pub(crate) struct Listing {
    limit: usize,
    cursor: Option<String>,
    pages: bool,
}

#[derive(Deserialize)]
struct Asked {
    limit: Option<usize>,
    cursor: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Listing {
    type Rejection = QueryRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, QueryRejection> {
        let Query(asked) = Query::<Asked>::from_request_parts(parts, state).await?;
        let caller = parts.extensions.get::<Principal>();
        let caps = caller.map(Principal::caps);
        let most = caps.and_then(|caps| caps.at_most("limit")).and_then(|most| usize::try_from(most).ok());
        let limit = asked.limit.unwrap_or(PAGE).min(most.unwrap_or(LARGEST_PAGE));
        let fixed = |(name, cap): (&str, ParamLimit)| name == "cursor" && cap == ParamLimit::Forbidden;
        Ok(Self { limit, cursor: asked.cursor, pages: !caps.is_some_and(|caps| caps.iter().any(fixed)) })
    }
}

impl Listing {
    /// Returns the items of the page, and the cursor of the next page: the id of the last item. The items are in the
    /// order of their ids.
    pub(crate) fn of(self, items: impl IntoIterator<Item = Value>) -> (Vec<Value>, Option<String>) {
        let id = |item: &Value| item["id"].as_str().unwrap_or_default().to_owned();
        let behind = |item: &Value| self.cursor.as_ref().is_none_or(|cursor| id(item) > *cursor);
        let mut rest = items.into_iter().filter(behind);
        let page: Vec<Value> = rest.by_ref().take(self.limit).collect();
        let more = self.pages && rest.next().is_some();
        let next = page.last().filter(|_| more).map(id);
        (page, next)
    }
}
