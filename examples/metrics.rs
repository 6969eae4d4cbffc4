//! Metrics for Prometheus: `cargo run --example metrics --features axum,metrics -- --listen 127.0.0.1:3000`.
//!
//! `examples/metrics/grafana.json` is a dashboard for these metrics. Alerts are printed to the standard error.

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::net::TcpListener;
use tollgate::alert::{AlertSink, Delivery};
use tollgate::metrics::DURATION_BUCKETS;
use tollgate::usage::UsageOptions;
use tollgate::{Account, Config, KeyManager, MemoryStore, NewKey, StoreFuture, TollgateLayer};

const GATE: &str = r#"
sources = [{ header = "X-API-Key" }]
formats = [{ prefix = "acme_", body = 38, checksum = true }]
default = { deny = true }
rules = [
    { route = "GET /v1/quotes/{symbol}", cost = 1 },
    { route = "GET /v1/candles/{symbol}", cost = 5 },
]

[plans.pro]
quotas = ["600 per minute"]
credits = { amount = 1000, every = "1day" }

[[alerts]]
when = { balance_below = "20%" }

[[alerts]]
when = { revoked = true }
"#;

/// Prints alerts. A service would send mails, or configure `[[webhooks]]`.
#[derive(Debug)]
struct Printer;

impl AlertSink for Printer {
    fn name(&self) -> &'static str {
        "printer"
    }

    fn deliver(&self, delivery: &Delivery) -> StoreFuture<()> {
        let account = delivery.alert.account.as_ref().map_or("none", |account| account.as_str());
        eprintln!("alert {} of the account {account}", delivery.alert.kind.name());
        StoreFuture::ready(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--listen"), Some(address)) => address.parse()?,
        (None, None) => ([127, 0, 0, 1], 3000).into(),
        _ => return Err("usage: metrics [--listen ADDR]".into()),
    };
    // The recorder is installed first: back ends and gates register their metrics when they are created.
    let exporter = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BUCKETS)?
        .install_recorder()?;

    let store = MemoryStore::new();
    store.put_account(Account::new("acme", "pro"));
    let builder = Config::from_toml(GATE, "metrics.toml")?.builder()?.store(store);
    let builder = builder.usage_options(UsageOptions::default()).metrics();
    let gate = builder.alert_sink(Printer).build()?;
    let key = KeyManager::new(gate.clone())?.issue(NewKey::new("acme", "example")).await?;

    let api = Router::new()
        .route("/v1/quotes/{symbol}", get(async || "1.08\n"))
        .route("/v1/candles/{symbol}", get(async || "[]\n"))
        .layer(TollgateLayer::new(gate));
    let upkeep = exporter.clone();
    let app = Router::new().route("/metrics", get(async move || exporter.render())).merge(api);
    // Between two scrapes, the exporter keeps every sample of a histogram, unless it is told to add them up.
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });

    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    println!("listening http://{address}");
    println!("metrics http://{address}/metrics");
    println!("key {}", key.secret.expose_secret());
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
