//! Gates within nested routers: `cargo run --example axum_nested --features axum`.
//!
//! A gate in a nested router checks the whole path, so one configuration is sufficient for all of them. Routes outside the
//! nested routers need no key.

use std::{error::Error, net::SocketAddr};

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tollgate::{Config, Gate, MemoryStore, Principal, TollgateLayer};

const GATE: &str = r#"
sources = [{ header = "X-API-Key" }]
formats = [{ prefix = "acme_", body = 38, checksum = true }]
rules = [
    { route = "GET /v1/health", public = true },
    { route = "GET /admin/report", min_plan = "staff" },
]
plans = { free = { rank = 1 }, staff = { rank = 2 } }

[[demo]]
key = "acme_demo"
id = "00000000-0000-4000-8000-000000000001"
account = "demo"
plan = "free"
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let layer = TollgateLayer::new(gate()?);
    let v1 = Router::new().route("/health", get(async || "up\n")).route("/whoami", get(whoami));
    let admin = Router::new().route("/report", get(async || "the report\n"));
    // `around` also checks unknown paths of the nested router. With `route_layer`, they are answered 404 without a key.
    let app = Router::new()
        .route("/", get(async || "public\n"))
        .nest("/v1", layer.around(v1).into())
        .nest("/admin", layer.around(admin).into());

    println!("without a key:    curl -i http://127.0.0.1:3000/");
    println!("without a key:    curl -i http://127.0.0.1:3000/v1/health");
    println!("with a key:       curl -i -H 'X-API-Key: acme_demo' http://127.0.0.1:3000/v1/whoami");
    println!("a higher plan:    curl -i -H 'X-API-Key: acme_demo' http://127.0.0.1:3000/admin/report");
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

fn gate() -> Result<Gate, Box<dyn Error>> {
    let (config, store) = (Config::from_toml(GATE, "axum_nested.toml")?, MemoryStore::new());
    config.demo_keys()?.into_iter().for_each(|demo| store.put_key(demo));
    Ok(config.builder()?.store(store).build()?)
}

async fn whoami(caller: Principal) -> String {
    format!("you are {}\n", caller.account().id)
}
