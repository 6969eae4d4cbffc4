//! The order of the layers of a service, and the data for its handlers: `cargo run --example axum --features axum`.

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{Json, Router, routing::get};
use http::StatusCode;
use tokio::net::TcpListener;
use tollgate::account::ParamLimits;
use tollgate::{Config, MemoryStore, Principal, TollgateLayer};
use tower::ServiceBuilder;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::{compression::CompressionLayer, cors::CorsLayer, timeout::TimeoutLayer, trace::TraceLayer};

const GATE: &str = r#"
sources = [{ header = "X-API-Key" }]
formats = [{ prefix = "acme_", body = 38, checksum = true }]
rules = [{ route = "GET /health", public = true }]
plans = { free = { quotas = ["60 per minute"], caps = { limit = 3 } } }

[[demo]]
key = "acme_demo"
id = "00000000-0000-4000-8000-000000000001"
account = "demo"
plan = "free"
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::from_toml(GATE, "axum.toml")?;
    let store = MemoryStore::new();
    config.demo_keys()?.into_iter().for_each(|demo| store.put_key(demo));
    let gate = config.builder()?.store(store).build()?;

    let routes = Router::new()
        .route("/health", get(async || "up\n"))
        .route("/whoami", get(async |caller: Principal| caller.account().id.to_string()))
        .route("/list", get(list));
    // From the outermost to the innermost layer. Denials have a request id, are traced, and have CORS headers. A request
    // that times out is not charged.
    let layers = ServiceBuilder::new()
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(TraceLayer::new_for_http())
        .layer(CorsLayer::permissive())
        .layer(TollgateLayer::new(gate))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(10)))
        .layer(CompressionLayer::new());
    let app: Router = Router::new().fallback_service(layers.service(routes));

    println!("curl -i -H 'X-API-Key: acme_demo' http://127.0.0.1:3000/list");
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

/// Returns as many items as the caller's plan allows.
async fn list(caps: ParamLimits) -> Json<Vec<u64>> {
    Json((1..=caps.at_most("limit").unwrap_or(100)).collect())
}
