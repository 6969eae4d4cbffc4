//! What `backquant` serves: levels of dealers' gamma exposure.

use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::market::{cents, noise, now, price, today};

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/v2/openapi.json", get(openapi))
        .route(
            "/v2/docs",
            get(async || Html("<!doctype html><title>BackQuant API</title><h1>Swagger UI</h1>\n")),
        )
        .route("/v2/redoc", get(async || Html("<!doctype html><title>BackQuant API</title><h1>ReDoc</h1>\n")))
        .route("/v2/health", get(async || envelope(&json!({"status": "ok"}))))
        .route("/v2/gex/levels", get(levels))
        .fallback(not_found)
}

#[derive(Deserialize)]
struct Asked {
    symbol: Option<String>,
}

async fn levels(Query(asked): Query<Asked>) -> Json<Value> {
    let symbol = asked.symbol.unwrap_or_else(|| "BTCUSDT".into());
    let spot = price(&symbol, now() / 1000);
    let level = |step: u64, distance: f64| {
        let exposure = cents((noise(&symbol, step) - 0.5) * 250.0);
        json!({"strike": cents(spot * distance), "gex_musd": exposure})
    };
    let levels = json!({
        "symbol": symbol,
        "spot": spot,
        "call_wall": level(1, 1.05),
        "put_wall": level(2, 0.95),
        "zero_gamma": cents(spot * 0.99),
        "levels": (0..8).map(|step| level(step, noise(&symbol, step).mul_add(0.2, 0.9))).collect::<Vec<_>>(),
    });
    envelope(&levels)
}

fn envelope(data: &Value) -> Json<Value> {
    Json(json!({"success": true, "data": data, "meta": {"version": "2.0", "timestamp": today()}}))
}

async fn openapi() -> Json<Value> {
    let header = json!({"type": "apiKey", "in": "header", "name": "X-API-Key"});
    let levels = json!({"get": {"summary": "Gamma exposure by strike", "parameters": [
        {"name": "symbol", "in": "query", "schema": {"type": "string"}},
    ], "responses": {"200": {"description": "The levels"}}}});
    let health = json!({"get": {"security": [], "responses": {"200": {"description": "Up"}}}});
    Json(json!({
        "openapi": "3.1.0",
        "info": {"title": "BackQuant API", "version": "2.0"},
        "components": {"securitySchemes": {"key": header}},
        "security": [{"key": []}],
        "paths": {"/v2/gex/levels": levels, "/v2/health": health},
    }))
}

async fn not_found() -> (StatusCode, Json<Value>) {
    let error = json!({"code": "NOT_FOUND", "message": "No such endpoint"});
    let meta = json!({"version": "2.0", "timestamp": today()});
    (StatusCode::NOT_FOUND, Json(json!({"success": false, "error": error, "meta": meta})))
}
