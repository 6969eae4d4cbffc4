//! The OpenAPI document of a gate: that it is valid, that it is true, and that it takes nothing away.
#![cfg(all(feature = "openapi", feature = "config", feature = "testing"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod content;
mod merging;
mod tools;

use tollgate::testing::TestGate;

const GATE: &str = r#"
sources = [{ header = "X-API-Key" }, { query = "api-key" }, { authorization = "Bearer" }]
formats = [{ prefix = "acme_", body = 32 }]
rules = [
    { route = "GET /health", public = true },
    { route = "GET /status", public = true, quotas = [{ quota = "60 per minute", counts = "network" }] },
    { route = "GET /live", public = true, in_flight = { most = 9, counts = "network" } },
    { route = "GET /v1/quotes/{symbol}", cost = 2, scope = "quotes:read", subscription = true, quotas = ["9 per hour"] },
    { route = "GET /v1/ticker", anonymous = true },
    { route = "GET /v1/bars", cost = { parameter = "limit", each = 1, default = 10, most = 50 }, min_plan = "pro" },
    { route = "POST /v1/orders", scope = { all = ["orders:read", "orders:write"] }, agreements = ["terms"] },
    { route = "POST /v1/backtests", weight = { parameter = "years", default = 1, most = 20 }, quotas = ["40 per day"] },
    { route = "POST /v1/chat", weight = { header = "X-Tokens", default = 3, most = 4 } },
    { route = "POST /v1/batch", weight = 5 },
    { route = "POST /v1/tokens", weight = { reserve = 2, most = 50 } },
    { route = "GET /v1/export", in_flight = { most = 2, counts = "account" } },
    { route = "/v1/anything" },
    { route = "/v1/files/*", cost = 7 },
]
agreements = { terms = { url = "https://acme.example/terms" } }

[anonymous]
plan = "free"

[plans.free]
rank = 1
quotas = ["5 per minute"]
caps = { depth = 3 }

[plans.pro]
rank = 2
quotas = ["60 per minute"]

[management]
path = "/account/api-keys"
"#;

/// A gate of this configuration, with more behind it.
fn gate(more: &str) -> TestGate {
    TestGate::from_toml(&format!("{GATE}\n{more}")).unwrap()
}
