//! A TCP proxy on loopback that imitates a bad network between a test and a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
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
}

/// What every connection goes by.
#[derive(Debug, Clone, Copy)]
struct Network {
    fault: Fault,
    /// The port that new connections are passed on to.
    server: u16,
    /// Connections begun under an earlier number stay silent for ever.
    epoch: u64,
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
        let network = Arc::new(watch::Sender::new(Network { fault: Fault::None, server, epoch: 0 }));
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
            network.epoch += u64::from(network.fault == Fault::Silent || fault == Fault::Silent);
            network.fault = fault;
        });
    }

    /// Silences every connection that is open now, for ever and without an end; new ones are served.
    pub(crate) fn strand(&self) {
        self.network.send_modify(|network| network.epoch += 1);
    }

    /// Passes new connections on to another port. Open ones stay where they are.
    pub(crate) fn point_to(&self, server: u16) {
        self.network.send_modify(|network| network.server = server);
    }

    /// How many connections were ever accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are open.
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
    tokio::select! {
        () = pass(from_client, to_server, asks, epoch, false) => {}
        () = pass(from_server, to_client, answers, epoch, true) => {}
        () = until_broken(&mut network) => {}
    }
}

/// Returns when a connection cannot go on: it was cut, or it lost an answer that is missed now.
async fn until_broken(network: &mut watch::Receiver<Network>) {
    let bad = network.wait_for(|now| matches!(now.fault, Fault::Cut | Fault::LosesAnswers)).await;
    if bad.is_ok_and(|now| now.fault == Fault::LosesAnswers) {
        let _good = network.wait_for(|now| now.fault != Fault::LosesAnswers).await;
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
    epoch: u64,
    is_answer: bool,
) {
    let mut bytes = vec![0; 64 * 1024];
    let mut lost = false;
    loop {
        let Ok(read @ 1..) = from.read(&mut bytes).await else { return };
        let Ok(now) = network.wait_for(|now| now.fault != Fault::Hold).await.map(|now| *now) else { return };
        if let Fault::Slow(time) = now.fault {
            tokio::time::sleep(time).await;
        }
        // A stream from which something was lost cannot go on.
        lost |= now.epoch != epoch || (is_answer && now.fault == Fault::LosesAnswers);
        if !lost && to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
