//! One provider's server: a gate from its configuration file, in front of its routes.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tollgate::config::{Network, Text};
use tollgate::{Config, Gate, MemoryLedger, MemoryStore, TollgateLayer};
use tower::Layer;

use crate::data::{Data, Fault};
use crate::provider::Provider;
use crate::samples::{Samples, Seed};

/// A server that is about to listen.
pub(crate) struct Server {
    name: &'static str,
    app: Router,
    seed: Seed,
}

impl Server {
    /// A server with the accounts and keys of a data file, or else with the samples.
    pub(crate) fn new(provider: &Provider, data: Option<Data>, proxies: &[Network]) -> Result<Self, Fault> {
        let mut config = Config::from_toml(provider.config, &format!("{}.toml", provider.name))?;
        config.proxies.trusted.extend(proxies.iter().copied().map(Text));
        let samples = Samples::read(provider.samples)?;
        let seed = match data {
            Some(data) => samples.seed_from(data),
            None => samples.seed(config.builder()?.build()?.formats())?,
        };
        let gate = gate(&mut config, &seed.data)?;
        let routes = (provider.routes)().layer(middleware::from_fn(fail_on_demand));
        // The gate stands in front of the whole router: unknown paths need a key too.
        let app = Router::new().fallback_service(TollgateLayer::new(gate).layer(routes));
        Ok(Self { name: provider.name, app, seed })
    }

    /// The line that says that it is ready, what to try, and an empty line.
    pub(crate) fn greeting(&self, address: SocketAddr) -> String {
        let base = format!("http://{address}");
        format!("listening {} {base}\n{}\n\n", self.name, self.seed.guide(&base))
    }

    /// Serves until it is told to stop, and until what it is at by then is answered.
    pub(crate) async fn run(
        self,
        listener: TcpListener,
        mut stop: watch::Receiver<bool>,
    ) -> std::io::Result<()> {
        let service = self.app.into_make_service_with_connect_info::<SocketAddr>();
        let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
        axum::serve(listener, service).with_graceful_shutdown(stopped).await
    }
}

/// A gate as the configuration says, with the data's plans, accounts, balances and keys.
fn gate(config: &mut Config, data: &Data) -> Result<Gate, Fault> {
    data.merge_plans(config)?;
    let (store, ledger) = (Arc::new(MemoryStore::new()), Arc::new(MemoryLedger::new()));
    for record in config.demo_keys()? {
        store.put_key(record);
    }
    let gate =
        config.builder()?.managed_store(Arc::clone(&store)).credit_authority(Arc::clone(&ledger)).build()?;
    data.seed(&gate, &store, &ledger)?;
    Ok(gate)
}

/// Fails where the query says `fail=500`, so that it can be seen what a failure costs.
async fn fail_on_demand(request: Request, next: Next) -> Response {
    if request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "fail=500")) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "failed, as the query asks\n").into_response();
    }
    next.run(request).await
}

/// Prints at once and as a whole; nobody may be reading, which is no reason to stop.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}
