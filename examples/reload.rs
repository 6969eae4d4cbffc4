//! A gate whose configuration file may change while it runs: `cargo run --example reload --features axum,watch -- gate.toml`.
//! Change the file, or send the signal `SIGHUP`.

use std::{error::Error, net::SocketAddr};

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tollgate::{Config, Gate, MemoryStore, Principal, TollgateLayer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "examples/providers/kwery.toml".to_owned());
    let config = Config::read(&path)?;
    let store = MemoryStore::new();
    config.demo_keys()?.into_iter().for_each(|demo| store.put_key(demo));
    let gate = config.builder()?.store(store).build()?;

    let told = |reloaded: &Result<_, _>| match reloaded {
        Ok(configuration) => println!("in force: {configuration:?}"),
        Err(error) => eprintln!("rejected: {error}"),
    };
    let _watching = config.watch().on_reload(told).start(&gate)?;
    tokio::spawn(reload_on_hangup(gate.clone(), path));

    let app = Router::new()
        .route("/whoami", get(async |caller: Principal| caller.account().id.to_string()))
        .layer(TollgateLayer::new(gate));
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

#[cfg(unix)]
async fn reload_on_hangup(gate: Gate, path: String) {
    use tokio::signal::unix::{SignalKind, signal};

    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
    while hangups.recv().await.is_some() {
        match gate.reload_file(&path) {
            Ok(configuration) => println!("in force: {configuration:?}"),
            Err(error) => eprintln!("rejected: {error}"),
        }
    }
}

#[cfg(not(unix))]
async fn reload_on_hangup(_: Gate, _: String) {}
