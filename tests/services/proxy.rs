//! A TCP proxy on loopback that imitates a bad network between a test and a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, JoinSet};

/// A fault of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Ends every connection, and each new one as soon as it is accepted.
    Cut,
    /// Delays every byte by this time, both ways.
    Slow(Duration),
    /// Passes requests on and drops the answers. Connections that lost an answer end with the fault.
    LosesAnswers,
    /// Passes nothing on, either way. What was sent meanwhile arrives when the fault ends.
    Hold,
    /// Accepts connections and passes nothing on. Connections that were open during the fault stay silent for ever, and
    /// are never closed by the proxy.
    Silent,
    /// Answers every command of a Redis client by this text in place of the server. What a client says of itself at the
    /// beginning of a connection goes to the server, unless that is refused as well.
    Replies {
        text: &'static str,
        to_greetings: bool,
    },
    /// Writes this text and ends the connection, as a server does that has no room for it.
    Refuses(&'static str),
}

/// The settings of every connection.
#[derive(Debug, Clone, Copy)]
struct Network {
    fault: Fault,
    /// The port that new connections are passed on to.
    server: u16,
    epoch: u64,
    /// The permanent fault of connections that began in an earlier epoch.
    kept: Fault,
}

impl Network {
    fn fault_of(self, epoch: u64) -> Fault {
        if epoch < self.epoch { self.kept } else { self.fault }
    }
}

/// A proxy for one port.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    network: Arc<watch::Sender<Network>>,
    accepted: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy for a server on this port.
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let network = Arc::new(watch::Sender::new(Network {
            fault: Fault::None,
            server,
            epoch: 0,
            kept: Fault::Silent,
        }));
        let (accepted, open) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (told, counts) = (Arc::clone(&network), (Arc::clone(&accepted), Arc::clone(&open)));
        let accepting = tokio::spawn(async move {
            // The connections end with the proxy.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                counts.0.fetch_add(1, Ordering::SeqCst);
                if told.borrow().fault != Fault::Cut {
                    connections.spawn(carry(client, told.subscribe(), Open::new(&counts.1)));
                }
            }
        });
        Self { port, network, accepted, open, accepting }
    }

    /// Begins a fault, and ends the one before it.
    pub(crate) fn set(&self, fault: Fault) {
        self.network.send_modify(|network| {
            if network.fault == Fault::Silent || fault == Fault::Silent {
                (network.epoch, network.kept) = (network.epoch + 1, Fault::Silent);
            }
            network.fault = fault;
        });
    }

    /// Silences every connection that is open now, for ever and without an end; new ones are served.
    pub(crate) fn strand(&self) {
        self.keep(Fault::Silent);
    }

    /// Gives a fault to every connection that is open now, for ever; new ones are served.
    pub(crate) fn keep(&self, fault: Fault) {
        self.network.send_modify(|network| (network.epoch, network.kept) = (network.epoch + 1, fault));
    }

    /// Passes new connections on to another port. Open ones stay where they are.
    pub(crate) fn point_to(&self, server: u16) {
        self.network.send_modify(|network| network.server = server);
    }

    /// Returns the number of connections ever accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Returns the number of open connections.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Counts a connection for as long as it is open.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Carries one connection, until one side ends it or the network is cut.
async fn carry(client: TcpStream, mut network: watch::Receiver<Network>, _open: Open) {
    let Network { server, epoch, .. } = *network.borrow();
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let (asks, answers) = (network.clone(), network.clone());
    let to_client = Arc::new(Mutex::new(to_client));
    tokio::select! {
        () = pass(from_client, Side::Server(to_server, Arc::clone(&to_client)), asks, epoch) => {}
        () = pass(from_server, Side::Client(Arc::clone(&to_client)), answers, epoch) => {}
        text = until_broken(&mut network, epoch) => drop(to_client.lock().await.write_all(text.as_bytes()).await),
    }
}

/// Returns when a connection cannot go on, with its last words: it is refused, cut, or lost an answer that is missed now.
async fn until_broken(network: &mut watch::Receiver<Network>, epoch: u64) -> &'static str {
    let breaks = |fault| matches!(fault, Fault::Cut | Fault::LosesAnswers | Fault::Refuses(_));
    let bad = network.wait_for(|now| breaks(now.fault_of(epoch))).await.map(|now| now.fault_of(epoch));
    match bad {
        Ok(Fault::Refuses(text)) => return text,
        Ok(Fault::LosesAnswers) => {
            let _good = network.wait_for(|now| now.fault_of(epoch) != Fault::LosesAnswers).await;
        }
        _ => {}
    }
    ""
}

/// The target of forwarded bytes.
enum Side {
    /// To the server; the client is answered in its place.
    Server(OwnedWriteHalf, Arc<Mutex<OwnedWriteHalf>>),
    Client(Arc<Mutex<OwnedWriteHalf>>),
}

async fn pass(mut from: OwnedReadHalf, mut to: Side, mut network: watch::Receiver<Network>, epoch: u64) {
    let mut bytes = vec![0; 64 * 1024];
    let mut lost = false;
    loop {
        let Ok(read @ 1..) = from.read(&mut bytes).await else { return };
        let good = network.wait_for(|now| now.fault_of(epoch) != Fault::Hold).await;
        let Ok(fault) = good.map(|now| now.fault_of(epoch)) else { return };
        if let Fault::Slow(time) = fault {
            tokio::time::sleep(time).await;
        }
        // A stream from which something was lost cannot go on.
        lost |= fault == Fault::Silent || (fault == Fault::LosesAnswers && matches!(to, Side::Client(_)));
        let bytes = &bytes[..read];
        let passed = match (&mut to, fault) {
            _ if lost => Ok(()),
            (Side::Server(_, client), Fault::Replies { text, to_greetings })
                if to_greetings || !greets(bytes) =>
            {
                client.lock().await.write_all(text.repeat(commands(bytes)).as_bytes()).await
            }
            (Side::Server(server, _), _) => server.write_all(bytes).await,
            (Side::Client(client), _) => client.lock().await.write_all(bytes).await,
        };
        if passed.is_err() {
            return;
        }
    }
}

/// Returns `true` where a Redis client speaks of itself.
fn greets(bytes: &[u8]) -> bool {
    let name = String::from_utf8_lossy(bytes).split("\r\n").nth(2).map(str::to_ascii_uppercase);
    name.is_some_and(|name| ["HELLO", "AUTH", "CLIENT", "SELECT"].contains(&&*name))
}

/// Returns the number of a Redis client's commands in these bytes: arrays of strings, each with its length before it.
fn commands(mut bytes: &[u8]) -> usize {
    let mut commands = 0;
    while let Some(words) = number(&mut bytes, b'*') {
        commands += 1;
        for _ in 0..words {
            let length = number(&mut bytes, b'$').unwrap_or(0);
            bytes = bytes.get(length + 2..).unwrap_or_default();
        }
    }
    commands
}

fn number(bytes: &mut &[u8], mark: u8) -> Option<usize> {
    let line = bytes.strip_prefix(&[mark])?;
    let end = line.iter().position(|byte| *byte == b'\r')?;
    let number = std::str::from_utf8(&line[..end]).ok()?.parse().ok();
    *bytes = line.get(end + 2..)?;
    number
}
