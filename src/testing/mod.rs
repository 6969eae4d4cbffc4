//! Tools for the tests of a service that has a gate: a gate with a manual clock and keys, a function that finds the
//! routes that answer without a key, and a comparison of the service's routes with the gate's rules.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use axum::{Router, body::Body, routing::get};
//! use http::{Request, StatusCode};
//! use tollgate::testing::{TestGate, open_routes, unrouted_rules, unruled_routes};
//! use tower::{Layer, ServiceExt};
//!
//! const GATE: &str = r#"
//!     sources = [{ header = "X-API-Key" }]
//!     formats = [{ prefix = "acme_", body = 32 }]
//!     rules = [{ route = "GET /health", public = true }]
//!     plans = { pro = { quotas = ["1 per minute"] } }
//! "#;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let test = TestGate::from_toml(GATE)?;
//! let routes = Router::new().route("/health", get(|| async { "up" })).route("/v1/quotes", get(|| async { "[]" }));
//! let app = test.layer().layer(routes);
//!
//! // Only the public route answers without a key.
//! assert_eq!(open_routes::<Body, _, _>(&app, ["GET /health", "GET /v1/quotes"]).await?, ["GET /health"]);
//!
//! // No rule names the second route, so it is free. With `[default] deny = true`, the gate would deny it.
//! assert_eq!(unruled_routes(test.gate(), ["GET /health", "GET /v1/quotes"]), ["GET /v1/quotes"]);
//! assert!(unrouted_rules(test.gate(), ["GET /health", "GET /v1/quotes"]).is_empty());
//!
//! // The key is admitted once a minute. The next window begins when the clock has advanced by a minute.
//! let key = test.key("pro")?;
//! let call = || Request::get("/v1/quotes").header("X-API-Key", key.expose_secret()).body(Body::empty());
//! assert_eq!(app.clone().oneshot(call()?).await?.status(), StatusCode::OK);
//! assert_eq!(app.clone().oneshot(call()?).await?.status(), StatusCode::TOO_MANY_REQUESTS);
//! test.clock().advance(Duration::from_secs(60));
//! assert_eq!(app.oneshot(call()?).await?.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! ```

mod gate;
mod routes;
mod walk;

pub use gate::TestGate;
pub use routes::{unrouted_rules, unruled_routes};
pub use walk::{documented_routes, open_routes};
