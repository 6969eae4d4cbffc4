//! HTTP servers of five providers of market data. One configuration file defines the gate of each:
//! `cargo run --example providers --features axum`. Options: `--help`.

mod back_ends;
mod backquant;
mod data;
mod kwery;
mod market;
mod options;
mod provider;
mod quantconomy;
mod quantdata;
mod samples;
mod seeding;
mod server;
mod vectrade;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use data::{Data, Fault};
use options::Options;
use provider::{PROVIDERS, Provider};
use server::{Ending, Server};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The exit status for an invalid command line.
const USAGE: u8 = 2;

/// The time limit for the requests in progress when the servers stop.
const GRACE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> ExitCode {
    let complain = |fault: Fault, code| {
        eprintln!("providers: {fault}");
        ExitCode::from(code)
    };
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let options = match Options::parse(words) {
        Ok(options) if options.help => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Ok(options) => options,
        Err(fault) => return complain(fault.into(), USAGE),
    };
    if let Some(provider) = options.openapi {
        return match document(provider) {
            Ok(document) => {
                server::print(&document);
                ExitCode::SUCCESS
            }
            Err(fault) => complain(fault, USAGE),
        };
    }
    let servers = match servers(&options).await {
        Ok(servers) => servers,
        Err(fault) => return complain(fault, USAGE),
    };
    match serve(servers).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => complain(fault, 1),
    }
}

/// Returns the OpenAPI document of a provider's gate.
#[cfg(feature = "openapi")]
fn document(provider: &Provider) -> Result<String, Fault> {
    let gate = tollgate::Config::from_toml(provider.config, provider.name)?.builder()?.build()?;
    Ok(format!("{:#}\n", gate.openapi()))
}

#[cfg(not(feature = "openapi"))]
fn document(_: &Provider) -> Result<String, Fault> {
    Err("--openapi: this example was built without the feature `openapi`".into())
}

/// A server with its address and its shutdown.
type Ready = (SocketAddr, Server, Ending);

/// Returns the servers that the options select.
async fn servers(options: &Options) -> Result<Vec<Ready>, Fault> {
    let mut data = options.data.as_deref().map(|file| read_data(file, options.only)).transpose()?;
    let mut servers = Vec::new();
    let asked = |provider: &&Provider| options.only.is_none_or(|only| only.name == provider.name);
    for provider in PROVIDERS.iter().filter(asked) {
        let own = data.take_if(|data| data.provider == provider.name);
        let address = options.listen.unwrap_or((Ipv4Addr::LOCALHOST, provider.port).into());
        let (server, ending) = Server::new(provider, own, options).await?;
        servers.push((address, server, ending));
    }
    Ok(servers)
}

/// Reads a data file. Its provider must be one of the selected.
fn read_data(file: &Path, only: Option<&Provider>) -> Result<Data, Fault> {
    let unread = |fault: Fault| format!("--data: failed to read {} since {fault}", file.display());
    let read = || Ok(serde_json::from_str::<Data>(&std::fs::read_to_string(file)?)?);
    let data = read().map_err(unread)?;
    if provider::named(&data.provider).is_none() {
        let (name, names) = (&data.provider, provider::names());
        return Err(unread(
            format!("it is for the unknown provider `{name}`; expected one of {names}").into(),
        )
        .into());
    }
    match only {
        Some(only) if only.name != data.provider => Err(format!(
            "--data: {} is for {}, but --only names {}",
            file.display(),
            data.provider,
            only.name
        )
        .into()),
        _ => Ok(data),
    }
}

/// Serves until Ctrl-C, then shuts the servers down.
async fn serve(servers: Vec<Ready>) -> Result<(), Fault> {
    let (mut bound, mut endings) = (Vec::new(), Vec::new());
    for (address, server, ending) in servers {
        let listener = TcpListener::bind(address).await;
        bound.push((
            listener.map_err(|error| format!("failed to listen on {address} since {error}"))?,
            server,
        ));
        endings.push(ending);
    }
    let interrupted = interruption()?;
    let (stop, stopped) = watch::channel(false);
    let mut running = JoinSet::new();
    for (listener, server) in bound {
        let greeting = server.greeting(listener.local_addr()?);
        running.spawn(server.run(listener, stopped.clone()));
        server::print(&greeting);
    }
    let served = tokio::select! {
        () = interrupted => Ok(()),
        Some(ended) = running.join_next() => ended.map_err(Fault::from).and_then(|ended| Ok(ended?)),
    };
    stop.send_replace(true);
    // A client that keeps a request open does not delay the shutdown.
    drop(tokio::time::timeout(GRACE, running.join_all()).await);
    for ending in endings {
        ending.come().await?;
    }
    served
}

/// Waits for Ctrl-C or SIGTERM. The handlers are installed when this function is called.
#[cfg(unix)]
fn interruption() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
fn interruption() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}
