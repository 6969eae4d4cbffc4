//! The routes of `backquant`: levels of dealers' gamma exposure.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::market::{cents, noise, now, price, whole_seconds};

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/v2/openapi.json", get(openapi))
        .route(
            "/v2/docs",
            get(async || Html("<!doctype html><title>BackQuant API</title><h1>Swagger UI</h1>\n")),
        )
        .route("/v2/redoc", get(async || Html("<!doctype html><title>BackQuant API</title><h1>ReDoc</h1>\n")))
        .route("/v2/health", get(async |id: RequestId| envelope(&json!({"status": "ok"}), &id)))
        .route("/v2/gex/levels", get(levels))
        .fallback(not_found)
}

#[derive(Deserialize)]
struct Asked {
    symbol: Option<String>,
}

async fn levels(id: RequestId, Query(asked): Query<Asked>) -> Json<Value> {
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
    envelope(&levels, &id)
}

/// The request id, from the header that the gate adds to the request.
struct RequestId(String);

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let id = parts.headers.get("x-request-id").and_then(|id| id.to_str().ok());
        Ok(Self(id.unwrap_or_default().to_owned()))
    }
}

fn envelope(data: &Value, id: &RequestId) -> Json<Value> {
    Json(json!({"success": true, "data": data, "meta": meta(id)}))
}

fn meta(RequestId(id): &RequestId) -> Value {
    json!({"version": "2.0", "timestamp": whole_seconds(), "request_id": id})
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

async fn not_found(id: RequestId) -> (StatusCode, Json<Value>) {
    let error = json!({"code": "NOT_FOUND", "message": "No such endpoint"});
    (StatusCode::NOT_FOUND, Json(json!({"success": false, "error": error, "meta": meta(&id)})))
}
