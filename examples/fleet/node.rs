//! One node: a process with its own connections and its own cache.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tollgate::adapter::GatedRouter;
use tollgate::{KeyManager, TollgateLayer};

use crate::back_ends::BackEnds;
use crate::options::Options;
use crate::{Fault, housekeeping, interruption};

/// The time limit for the requests in progress when the node stops.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) async fn run(options: &Options) -> Result<(), Fault> {
    let told = told_to_stop()?;
    let back_ends = BackEnds::open(options).await?;
    let gate = back_ends.gate()?;
    let manager = KeyManager::new(gate.clone())?;
    let routes = Router::new()
        .route("/health", get(async || "up\n"))
        .route("/report", get(async || "a report\n"))
        .route("/free", get(async || "for free\n"))
        .route("/rare", get(async || "rarely\n"));
    let listener = TcpListener::bind(&options.listen).await?;
    println!("listening http://{}", listener.local_addr()?);
    let keeping = tokio::spawn(housekeeping::keep(manager.clone(), back_ends.credits.clone()));
    serve(listener, TollgateLayer::new(gate).around(routes), told).await?;
    keeping.abort();
    let written = manager.flush_uses().await;
    back_ends.close().await?;
    Ok(written?)
}

/// Serves until the node is stopped, and completes the requests in progress. A client that keeps a request open does not
/// delay the end.
async fn serve(
    listener: TcpListener,
    app: GatedRouter,
    told: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Fault> {
    let (stop, mut stopped) = watch::channel(false);
    let mut late = stop.subscribe();
    tokio::spawn(async move {
        told.await;
        stop.send_replace(true);
        // The receivers wait for the value, not for the end of the channel.
        stop.closed().await;
    });
    let stopping = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
    let too_late = async move {
        drop(late.wait_for(|stopped| *stopped).await);
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = axum::serve(listener, app).with_graceful_shutdown(stopping) => Ok(served?),
        () = too_late => Ok(()),
    }
}

/// Waits for Ctrl-C, for SIGTERM, or for the end of standard input, which the parent process closes or which closes when
/// the parent ends.
fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let interrupted = interruption::interruption()?;
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let read = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop((read, tell));
    });
    Ok(async move {
        tokio::select! {
            () = interrupted => {}
            _closed = told => {}
        }
    })
}
