//! The routes of `quantconomy`: entries of an economic calendar, and SEC filings.

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tollgate::Principal;

use crate::market::{Listing, cents, count, credits_left, noise};

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/", get(async || Json(json!({"name": "QuantConomy API", "version": "v1"}))))
        .route("/health", get(async || Json(json!({"status": "ok"}))))
        .route("/api/v1/entries", get(entries))
        .route("/api/v1/sec/filings", get(filings))
        .fallback(not_found)
}

async fn entries(listing: Listing, caller: Option<Principal>) -> Json<Value> {
    const SERIES: [(&str, &str); 4] = [
        ("US CPI, year on year", "%"),
        ("US unemployment rate", "%"),
        ("Euro area HICP, year on year", "%"),
        ("Japan policy rate", "%"),
    ];
    let entry = |place: u64| {
        let (series, unit) = SERIES[count("series", place, 4) as usize];
        json!({
            "id": format!("ent_{place:05}"),
            "series": series,
            "period": format!("{}-{:02}", 2010 + place / 12, place % 12 + 1),
            "value": cents(noise(series, place) * 6.0),
            "unit": unit,
        })
    };
    list(listing.of((0..180).map(entry)), caller.as_ref())
}

async fn filings(listing: Listing, caller: Option<Principal>) -> Json<Value> {
    const COMPANIES: [(&str, &str); 3] =
        [("AAPL", "0000320193"), ("MSFT", "0000789019"), ("NVDA", "0001045810")];
    const FORMS: [&str; 3] = ["10-K", "10-Q", "8-K"];
    let filing = |place: u64| {
        let (ticker, cik) = COMPANIES[count("company", place, 3) as usize];
        json!({
            "id": format!("fil_{place:05}"),
            "ticker": ticker,
            "cik": cik,
            "form": FORMS[count("form", place, 3) as usize],
            "filedAt": format!("2025-{:02}-{:02}", place % 12 + 1, place % 28 + 1),
        })
    };
    list(listing.of((0..90).map(filing)), caller.as_ref())
}

fn list((data, next): (Vec<Value>, Option<String>), caller: Option<&Principal>) -> Json<Value> {
    let meta = json!({"count": data.len(), "nextCursor": next, "creditsLeft": credits_left(caller)});
    Json(json!({"data": data, "meta": meta}))
}

async fn not_found() -> (StatusCode, Json<Value>) {
    (
        StatusCode::NOT_FOUND,
        Json(json!({"error": {"code": "NOT_FOUND", "message": "There is no such endpoint."}})),
    )
}
