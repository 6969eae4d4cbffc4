//! The server of one provider: its routes behind the gate of its configuration file.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tollgate::config::Text;
use tollgate::{Config, Gate, KeyManager, TollgateLayer};
use tower::Layer;

use crate::back_ends::BackEnds;
use crate::data::{Data, Fault};
use crate::options::Options;
use crate::provider::Provider;
use crate::samples::{Samples, Seed};
use crate::seeding;

/// A server that is about to listen.
pub(crate) struct Server {
    name: &'static str,
    app: Router,
    seed: Seed,
}

/// The interval of the periodic maintenance.
const HOUSEKEEPING: Duration = Duration::from_mins(1);

/// The work to complete after a server has stopped.
pub(crate) struct Ending {
    manager: KeyManager,
    back_ends: BackEnds,
    maintenance: JoinHandle<()>,
}

impl Server {
    /// Returns a server with the accounts and keys of a data file, or with the samples, and its shutdown.
    pub(crate) async fn new(
        provider: &Provider,
        data: Option<Data>,
        options: &Options,
    ) -> Result<(Self, Ending), Fault> {
        let mut config = Config::from_toml(provider.config, &format!("{}.toml", provider.name))?;
        config.proxies.trusted.extend(options.trusted_proxies.iter().copied().map(Text));
        let samples = Samples::read(provider.samples)?;
        let mut seed = match data {
            Some(data) => samples.seed_from(data),
            None => samples.seed(&config.builder()?.build()?.formats())?,
        };
        let back_ends = BackEnds::open(options, provider.name).await?;
        let gate = gate(&mut config, &seed.data, &back_ends)?;
        seeding::put_demo_keys(config.demo_keys()?, &gate, &back_ends).await?;
        seed.note_kept(seeding::put_in(&seed.data, &gate, &back_ends).await?);
        let manager = KeyManager::new(gate.clone())?;
        let routes = (provider.routes)().layer(middleware::from_fn(fail_on_demand));
        // The gate is in front of the whole router, so unknown paths require a key too.
        let app = Router::new().fallback_service(TollgateLayer::new(gate).layer(routes));
        let maintenance = tokio::spawn(maintain(manager.clone(), back_ends.clone()));
        Ok((Self { name: provider.name, app, seed }, Ending { manager, back_ends, maintenance }))
    }

    /// Returns the line with the address, the sample commands and an empty line.
    pub(crate) fn greeting(&self, address: SocketAddr) -> String {
        let base = format!("http://{address}");
        format!("listening {} {base}\n{}\n\n", self.name, self.seed.guide(&base))
    }

    /// Serves until `stop` is true, and completes the requests in progress.
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

impl Ending {
    /// Stores the last uses of keys, and closes the back ends.
    pub(crate) async fn come(self) -> Result<(), Fault> {
        self.maintenance.abort();
        let flushed = self.manager.flush_uses().await;
        self.back_ends.close().await?;
        Ok(flushed?)
    }
}

/// Periodically stores the last uses of keys, and maintains the back ends.
async fn maintain(manager: KeyManager, back_ends: BackEnds) {
    loop {
        tokio::time::sleep(HOUSEKEEPING).await;
        let flushed = manager.flush_uses().await.map_err(Fault::from);
        for fault in [flushed, back_ends.maintain().await].into_iter().filter_map(Result::err) {
            eprintln!("providers: {fault}");
        }
    }
}

/// Builds the gate from the configuration, with the plans of the data and the back ends.
fn gate(config: &mut Config, data: &Data, back_ends: &BackEnds) -> Result<Gate, Fault> {
    data.merge_plans(config)?;
    let builder = config.builder()?.store(Arc::clone(&back_ends.keys));
    let builder = match &back_ends.ledger {
        Some(ledger) => builder.ledger(Arc::clone(ledger)),
        None => builder.ledger(Arc::clone(&back_ends.credits)),
    };
    let builder = match &back_ends.limiter {
        Some(limiter) => builder.limiter(Arc::clone(limiter)),
        None => builder,
    };
    Ok(builder.build()?)
}

/// Answers 500 to a request with the query `fail=500`, to demonstrate that a failure is not charged.
async fn fail_on_demand(request: Request, next: Next) -> Response {
    if request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "fail=500")) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "failed on request\n").into_response();
    }
    next.run(request).await
}

/// Prints a text and flushes it. Errors are ignored: standard output may be closed.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}
