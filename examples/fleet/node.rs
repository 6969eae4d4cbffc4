//! One node: its own process, with its own connections and its own cache.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tollgate::{
    Abandoned, CachedStore, Config, Database, GuardLimits, Guarded, LeaseTerms, LeasedLedger,
    RedisAnnouncements, RedisLimiter, RedisServer, SqlLedger, SqlStore, TollgateLayer,
};

use crate::Fault;
use crate::gate::{GATE, STALE_FOR_AT_MOST};
use crate::options::Options;

/// How long a server is waited for. A settlement that is not confirmed in this time is tried again while its request is
/// answered; if the node dies before it is through, a request that was served is given back.
const PATIENCE: Duration = Duration::from_secs(5);

/// For how long a charge may be open before it is given back: longer than any request takes, and than a lease lasts.
const ABANDONED_AFTER: Duration = Duration::from_mins(1);

pub(crate) async fn run(options: &Options) -> Result<(), Fault> {
    let (database, redis) = (Database::connect(&options.postgres).await?, RedisServer::open(&options.redis)?);
    let store = CachedStore::builder(guarded(SqlStore::new(&database)))
        .stale_for_at_most(STALE_FOR_AT_MOST)
        .announcements(RedisAnnouncements::new(redis.clone()))
        .build()?;
    let credits = SqlLedger::new(&database);
    let builder = Config::from_toml(GATE, "fleet.toml")?.builder()?.managed_store(store);
    let builder = builder.limiter(guarded(RedisLimiter::new(redis))).credit_authority(credits.clone());
    let leased = options.lease.map(|nodes| {
        let mut terms = LeaseTerms::of_nodes(nodes);
        terms.idle = Duration::from_secs(1);
        Arc::new(LeasedLedger::new(guarded(credits.clone()), terms))
    });
    let gate = match &leased {
        Some(leased) => builder.ledger(Arc::clone(leased)),
        None => builder.ledger(guarded(credits.clone())),
    };
    let routes = Router::new()
        .route("/health", get(async || "up\n"))
        .route("/report", get(async || "a report\n"))
        .route("/free", get(async || "for free\n"));
    let app = TollgateLayer::new(gate.build()?).around(routes);

    let listener = TcpListener::bind(&options.listen).await?;
    println!("listening http://{}", listener.local_addr()?);
    let sweeping = tokio::spawn(sweep(credits));
    axum::serve(listener, app).with_graceful_shutdown(told_to_stop()).await?;
    sweeping.abort();
    if let Some(leased) = leased {
        // What it holds of the accounts' credits goes back.
        leased.close().await?;
    }
    Ok(())
}

fn guarded<T>(back_end: T) -> Guarded<T> {
    let mut limits = GuardLimits::default();
    limits.time = PATIENCE;
    Guarded::with_limits(back_end, limits)
}

/// Gives back the charges of nodes that have died. Any number of nodes may do it.
async fn sweep(credits: SqlLedger) {
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        if let Err(error) = credits.close_abandoned(ABANDONED_AFTER, Abandoned::Refund).await {
            eprintln!("open charges were not looked at: {error}");
        }
    }
}

/// A node ends when whoever started it closes its standard input, also by dying.
async fn told_to_stop() {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let read = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop((read, tell));
    });
    let _closed: Result<(), _> = told.await;
}
