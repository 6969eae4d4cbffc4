//! The routes of `quantdata`: a tool on options.

use axum::extract::OriginalUri;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::market::{Listing, cents, count, noise, today};

pub(crate) fn routes() -> Router {
    Router::new().route("/v1/options/tool/gainers-losers", post(gainers_losers)).fallback(not_found)
}

/// The body may contain filters. This example ignores them.
async fn gainers_losers(listing: Listing) -> Json<Value> {
    const TICKERS: [&str; 8] = ["AAPL", "AMD", "AMZN", "META", "MSFT", "NVDA", "SPY", "TSLA"];
    let mover = |(place, ticker): (u64, &&str)| {
        let change = cents(noise(ticker, place).mul_add(240.0, -80.0));
        json!({
            "id": format!("{ticker}-{}", 10 + place),
            "ticker": ticker,
            "contract": format!("{ticker}261218C{:05}000", 100 + count(ticker, place, 400)),
            "changePercent": change,
            "premium": 10_000 + count(ticker, place + 1, 4_000_000),
        })
    };
    let (movers, next) = listing.of((0..).zip(&TICKERS).map(mover));
    let (gainers, losers): (Vec<Value>, Vec<Value>) =
        movers.into_iter().partition(|mover| mover["changePercent"].as_f64() >= Some(0.0));
    Json(json!({"asOf": today(), "gainers": gainers, "losers": losers, "nextCursor": next}))
}

async fn not_found(OriginalUri(uri): OriginalUri) -> Response {
    let problem = json!({
        "type": "https://quantdata.us/errors/not-found",
        "title": "Not Found",
        "status": 404,
        "detail": "There is no such endpoint.",
        "instance": uri.path(),
    });
    (StatusCode::NOT_FOUND, [(CONTENT_TYPE, "application/problem+json")], problem.to_string()).into_response()
}
