//! The routes of `vectrade`: eleven kinds of data about a stock.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::market::{Listing, cents, count, noise, now, price, today};

type Family = fn(&str) -> Value;

/// The kinds of data that are one object for each symbol.
const FAMILIES: [(&str, Family); 8] = [
    ("quotes", quote),
    ("fundamentals", fundamentals),
    ("technicals", technicals),
    ("analyst", analyst),
    ("earnings", earnings),
    ("sentiment", sentiment),
    ("etf", etf),
    ("ai", ai),
];

pub(crate) fn routes() -> Router {
    let mut routes = Router::new()
        .route("/v1/vq/news/{symbol}", get(news))
        .route("/v1/vq/insider/{symbol}", get(insider))
        .route("/v1/vq/options/{symbol}", get(options));
    for (name, family) in FAMILIES {
        let answer =
            async move |Path(symbol): Path<String>| Json(json!({"symbol": symbol, "data": family(&symbol)}));
        routes = routes.route(&format!("/v1/vq/{name}/{{symbol}}"), get(answer));
    }
    routes.fallback(not_found)
}

fn quote(symbol: &str) -> Value {
    let last = price(symbol, now() / 1000);
    json!({"last": last, "bid": cents(last - 0.01), "ask": cents(last + 0.01), "volume": count(symbol, 2, 90_000_000), "as_of": today()})
}

fn fundamentals(symbol: &str) -> Value {
    json!({"pe": cents(8.0 + 30.0 * noise(symbol, 3)), "eps": cents(9.0 * noise(symbol, 4)), "employees": count(symbol, 5, 200_000)})
}

fn technicals(symbol: &str) -> Value {
    json!({"rsi_14": cents(100.0 * noise(symbol, 6)), "sma_50": price(symbol, 50), "sma_200": price(symbol, 200)})
}

fn analyst(symbol: &str) -> Value {
    json!({"consensus": "buy", "target": cents(price(symbol, 7) * 1.1), "analysts": 5 + count(symbol, 8, 40)})
}

fn earnings(symbol: &str) -> Value {
    let quarter = |quarter: u64| {
        let estimate = cents(0.5 + 3.0 * noise(symbol, 10 + quarter));
        json!({"quarter": format!("2025-Q{quarter}"), "eps_estimate": estimate, "eps": cents(estimate * (0.9 + 0.2 * noise(symbol, 20 + quarter)))})
    };
    (1..=4).map(quarter).collect()
}

fn sentiment(symbol: &str) -> Value {
    json!({"score": cents(noise(symbol, 30).mul_add(2.0, -1.0)), "mentions": count(symbol, 31, 5_000)})
}

fn etf(symbol: &str) -> Value {
    let holding = |(place, name): (u64, &str)| json!({"symbol": name, "weight": cents(7.0 * noise(symbol, 40 + place))});
    json!({"expense_ratio": 0.09, "holdings": (0..).zip(["AAPL", "MSFT", "NVDA", "AMZN"]).map(holding).collect::<Vec<_>>()})
}

fn ai(symbol: &str) -> Value {
    json!({"summary": format!("{symbol} trades in the middle of its range of the last year."), "confidence": cents(noise(symbol, 50))})
}

async fn news(Path(symbol): Path<String>, listing: Listing) -> Json<Value> {
    let article = |place: u32| json!({"id": format!("news_{place:04}"), "headline": format!("{symbol}: note {place} of the trading day"), "source": "VecTrade Wire"});
    list(&symbol, listing.of((1..=60).map(article)))
}

async fn insider(Path(symbol): Path<String>, listing: Listing) -> Json<Value> {
    let trade = |place: u64| {
        let side = if noise(&symbol, place) < 0.5 { "buy" } else { "sell" };
        json!({"id": format!("ins_{place:04}"), "side": side, "shares": 100 + count(&symbol, place, 50_000), "price": price(&symbol, place)})
    };
    list(&symbol, listing.of((1..=40).map(trade)))
}

async fn options(Path(symbol): Path<String>, listing: Listing) -> Json<Value> {
    let spot = price(&symbol, 0);
    let contract = |place: u64| {
        let kind = if place.is_multiple_of(2) { "put" } else { "call" };
        let strike = cents(spot * noise(&symbol, place / 2).mul_add(0.4, 0.8));
        json!({"id": format!("opt_{place:04}"), "type": kind, "strike": strike, "open_interest": count(&symbol, place, 12_000)})
    };
    list(&symbol, listing.of((1..=80).map(contract)))
}

fn list(symbol: &str, (data, next): (Vec<Value>, Option<String>)) -> Json<Value> {
    Json(json!({"symbol": symbol, "data": data, "next_cursor": next}))
}

async fn not_found() -> (StatusCode, Json<Value>) {
    (
        StatusCode::NOT_FOUND,
        Json(json!({"error": {"type": "not_found_error", "message": "No such resource"}})),
    )
}
