//! The gate around an actix-web application: `cargo run --example actix --features actix-web`.

use std::error::Error;

use actix_web::{App, HttpServer, middleware::NormalizePath, web};
use tollgate::account::ParamLimits;
use tollgate::{Config, Gate, MemoryStore, Principal, TollgateTransform};

const GATE: &str = r#"
sources = [{ header = "X-API-Key" }, { query = "api-key" }]
formats = [{ prefix = "acme_", body = 38, checksum = true }]
rules = [{ route = "GET /health", public = true }]
plans = { free = { quotas = ["60 per minute"], caps = { limit = 3 } } }

[[demo]]
key = "acme_demo"
id = "00000000-0000-4000-8000-000000000001"
account = "demo"
plan = "free"
"#;

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The clones share one gate, so all workers use the same one.
    let gate = gate()?;
    let server = HttpServer::new(move || {
        App::new()
            .route("/health", web::get().to(async || "up\n"))
            .route("/whoami", web::get().to(whoami))
            .route("/list", web::get().to(list))
            .wrap(TollgateTransform::new(gate.clone()))
            // The transform that is added last runs first. The gate checks the path that is routed.
            .wrap(NormalizePath::trim())
    });
    println!("without a key:  curl -i http://127.0.0.1:3000/health");
    println!("with a key:     curl -i -H 'X-API-Key: acme_demo' http://127.0.0.1:3000/whoami");
    println!("in the query:   curl -i 'http://127.0.0.1:3000/list?api-key=acme_demo'");
    server.bind("127.0.0.1:3000")?.run().await?;
    Ok(())
}

fn gate() -> Result<Gate, Box<dyn Error>> {
    let (config, store) = (Config::from_toml(GATE, "actix.toml")?, MemoryStore::new());
    config.demo_keys()?.into_iter().for_each(|demo| store.put_key(demo));
    Ok(config.builder()?.store(store).build()?)
}

async fn whoami(caller: Principal) -> String {
    format!("you are {}\n", caller.account().id)
}

/// Returns as many items as the caller's plan allows.
async fn list(caps: ParamLimits) -> String {
    let most = caps.at_most("limit").unwrap_or(100);
    (1..=most).map(|number| number.to_string()).collect::<Vec<_>>().join("\n")
}
