//! A service with two routes behind a gate: `cargo run --example quickstart --features axum`.

use std::{error::Error, net::SocketAddr, sync::Arc};

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tollgate::{Account, Config, KeyManager, MemoryStore, NewKey, Principal, TollgateLayer};

const GATE: &str = r#"
sources = [{ header = "X-API-Key" }]
formats = [{ prefix = "acme_", body = 38, checksum = true }]
rules = [{ route = "GET /health", public = true }]
plans = { free = { quotas = ["60 per minute"] } }
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = Arc::new(MemoryStore::new());
    let gate = Config::from_toml(GATE, "quickstart.toml")?.builder()?.store(Arc::clone(&store)).build()?;

    store.put_account(Account::new("wile", "free"));
    let issued = KeyManager::new(gate.clone())?.issue(NewKey::new("wile", "my first key")).await?;

    let routes = Router::new().route("/health", get(async || "up\n")).route("/whoami", get(whoami));
    // The gate is in front of the whole router, including unknown paths.
    let app = TollgateLayer::new(gate).around(routes);

    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("public:         curl -i http://127.0.0.1:3000/health");
    println!("without a key:  curl -i http://127.0.0.1:3000/whoami");
    let key = issued.secret.expose_secret();
    println!("with a key:     curl -i -H 'X-API-Key: {key}' http://127.0.0.1:3000/whoami");
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(interrupt()).await?;
    Ok(())
}

async fn whoami(caller: Principal) -> String {
    format!("you are {}, on the plan {}\n", caller.account().id, caller.plan().name)
}

async fn interrupt() {
    // If the signal handler cannot be installed, the process runs until it is killed.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
