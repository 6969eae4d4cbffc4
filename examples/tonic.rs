//! A gRPC server behind a gate, and one call to it: `cargo run --example tonic --features tonic`.

use std::{error::Error, sync::Arc};

use tokio::net::TcpListener;
use tollgate::{Account, Config, KeyId, KeyRecord, MemoryStore, TollgateLayer};
use tonic::transport::{Channel, Server, server::TcpIncoming};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

const GATE: &str = r#"
sources = [{ header = "x-api-key" }, { authorization = "Bearer" }]
formats = [{ prefix = "acme_", body = 38, checksum = true }]
plans = { free = { quotas = ["60 per minute"] } }
# A rule for a whole service; one for a method names it: `/grpc.health.v1.Health/Check`.
rules = [{ route = "/grpc.health.v1.Health/*", scope = "*" }]
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = Arc::new(MemoryStore::new());
    let gate = Config::from_toml(GATE, "gate.toml")?.builder()?.store(Arc::clone(&store)).build()?;

    let key = gate.formats()[0].generate()?;
    let hash = gate.hasher().hash(key.expose_secret().as_bytes());
    store.put_key(KeyRecord::new(KeyId::generate(), hash, Account::new("wile", "free").into()));

    // The gate is in front of all services, including unknown paths.
    let (_reporter, health) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = Server::builder().layer(TollgateLayer::new(gate)).add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let mut client = HealthClient::new(Channel::from_shared(format!("http://{address}"))?.connect().await?);
    match client.check(HealthCheckRequest::default()).await {
        Ok(_) => return Err("a call without a key was served".into()),
        Err(refused) => println!("without a key: {:?}, {}", refused.code(), refused.message()),
    }
    let mut call = tonic::Request::new(HealthCheckRequest::default());
    call.metadata_mut().insert("x-api-key", key.expose_secret().parse()?);
    println!("with a key:    {:?}", client.check(call).await?.into_inner());
    Ok(())
}
