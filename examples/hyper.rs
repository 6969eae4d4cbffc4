//! The gate in front of a service without a router: `cargo run --example hyper`.

use std::{convert::Infallible, error::Error};

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::{server::conn::auto, service::TowerToHyperService};
use tokio::net::TcpListener;
use tollgate::adapter::Peer;
use tollgate::{Config, Gate, MemoryStore, Principal, TollgateLayer};
use tower::{Layer, ServiceExt, service_fn};

const GATE: &str = r#"
sources = [{ header = "X-API-Key" }]
formats = [{ prefix = "acme_", body = 38, checksum = true }]
rules = [{ route = "GET /health", public = true }]
plans = { free = { quotas = ["60 per minute"] } }
demo = [{ key = "acme_demo", id = "00000000-0000-4000-8000-000000000001", account = "demo", plan = "free" }]
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let service = TollgateLayer::new(gate()?).layer(service_fn(answer));
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("without a key:  curl -i http://127.0.0.1:3000/health");
    println!("with a key:     curl -i -H 'X-API-Key: acme_demo' http://127.0.0.1:3000/whoami");
    loop {
        let (stream, peer) = listener.accept().await?;
        // The gate reads the address of the client from the extensions of the request.
        let service = service.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer::from(peer));
            request
        });
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            let service = TowerToHyperService::new(service);
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    // A CORS preflight request has no key. The response has no CORS headers, so browsers do not send the actual request.
    if request.method() == Method::OPTIONS {
        return Ok(Response::new(String::new()));
    }
    let caller = request.extensions().get::<Principal>();
    let who = caller.map_or("nobody".to_owned(), |caller| caller.account().id.to_string());
    Ok(Response::new(format!("{} for {who}\n", request.uri().path())))
}

fn gate() -> Result<Gate, Box<dyn Error>> {
    let (config, store) = (Config::from_toml(GATE, "hyper.toml")?, MemoryStore::new());
    config.demo_keys()?.into_iter().for_each(|demo| store.put_key(demo));
    Ok(config.builder()?.store(store).build()?)
}
