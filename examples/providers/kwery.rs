//! The routes of `kwery`: candles and trades.

use axum::extract::{OriginalUri, Path, Query};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate::Principal;

use crate::market::{Listing, cents, count, credits_left, noise, now, price};

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/v1/candles", get(candles))
        .route("/v1/candles/{symbol}", get(candles_of))
        .route("/v1/trades", get(trades))
        .fallback(not_found)
}

#[derive(Deserialize)]
struct Asked {
    symbol: Option<String>,
    interval: Option<String>,
}

impl Asked {
    fn symbol(&self) -> &str {
        self.symbol.as_deref().unwrap_or("BTC")
    }

    /// The name of the interval, and its milliseconds.
    fn interval(&self) -> (&str, u64) {
        match self.interval.as_deref() {
            Some("1m") => ("1m", 60_000),
            Some("1d") => ("1d", 86_400_000),
            _ => ("1h", 3_600_000),
        }
    }
}

/// The response contains the URI that the handler received. The gate has removed a key from its query.
async fn candles(
    Query(asked): Query<Asked>,
    OriginalUri(uri): OriginalUri,
    listing: Listing,
    caller: Option<Principal>,
) -> Json<Value> {
    let (interval, millis) = asked.interval();
    let newest = now() / millis;
    let candle = |back: u64| {
        let step = newest - back;
        let (open, close) = (price(asked.symbol(), step), price(asked.symbol(), step + 1));
        json!({
            "id": format!("{back:06}"),
            "time": step * millis,
            "open": open,
            "high": cents(open.max(close) * 1.002),
            "low": cents(open.min(close) * 0.998),
            "close": close,
            "volume": cents(900.0 * noise(asked.symbol(), step)),
        })
    };
    let (candles, next) = listing.of((0..500).map(candle));
    let meta =
        json!({"next": next, "request": uri.to_string(), "credits_left": credits_left(caller.as_ref())});
    Json(json!({"symbol": asked.symbol(), "interval": interval, "candles": candles, "meta": meta}))
}

async fn candles_of(
    Path(symbol): Path<String>,
    Query(asked): Query<Asked>,
    uri: OriginalUri,
    listing: Listing,
    caller: Option<Principal>,
) -> Json<Value> {
    candles(Query(Asked { symbol: Some(symbol), ..asked }), uri, listing, caller).await
}

async fn trades(
    Query(asked): Query<Asked>,
    OriginalUri(uri): OriginalUri,
    listing: Listing,
    caller: Option<Principal>,
) -> Json<Value> {
    let newest = now() / 250;
    let trade = |back: u64| {
        let step = newest - back;
        let side = if noise(asked.symbol(), step) < 0.5 { "buy" } else { "sell" };
        let amount = 0.001 * f64::from(1 + count(asked.symbol(), step, 2_000));
        json!({"id": format!("{back:06}"), "time": step * 250, "side": side, "price": price(asked.symbol(), step), "amount": amount})
    };
    let (trades, next) = listing.of((0..1_000).map(trade));
    let meta =
        json!({"next": next, "request": uri.to_string(), "credits_left": credits_left(caller.as_ref())});
    Json(json!({"symbol": asked.symbol(), "trades": trades, "meta": meta}))
}

async fn not_found() -> (StatusCode, Json<Value>) {
    (StatusCode::NOT_FOUND, Json(json!({"error": "not_found", "message": "There is no such endpoint."})))
}
