//! A network that can be made bad.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What is bad about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Connections end, and no new one comes about.
    Cut,
    /// Everything takes so much longer, both ways.
    Slow(Duration),
    /// The server gets what is sent and acts on it; its answers are lost. The connection ends when the network is good again.
    LosesAnswers,
}

/// Passes on what is sent to a port.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    fault: Arc<watch::Sender<Fault>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fault = Arc::new(watch::Sender::new(Fault::None));
        let told = Arc::clone(&fault);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *told.borrow() != Fault::Cut {
                    tokio::spawn(carry(client, server, told.subscribe()));
                }
            }
        });
        Self { port, fault, accepting }
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Carries one connection, until one side ends it or the network is cut.
async fn carry(client: TcpStream, server: u16, mut fault: watch::Receiver<Fault>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let (asks, answers) = (fault.clone(), fault.clone());
    tokio::select! {
        () = pass(from_client, to_server, asks, false) => {}
        () = pass(from_server, to_client, answers, true) => {}
        () = until_broken(&mut fault) => {}
    }
}

/// What was lost is missed when the network is good again: the connection cannot go on.
async fn until_broken(fault: &mut watch::Receiver<Fault>) {
    let bad =
        fault.wait_for(|fault| matches!(fault, Fault::Cut | Fault::LosesAnswers)).await.map(|fault| *fault);
    if matches!(bad, Ok(Fault::LosesAnswers)) {
        let _good = fault.wait_for(|fault| *fault != Fault::LosesAnswers).await;
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    fault: watch::Receiver<Fault>,
    is_answer: bool,
) {
    let mut bytes = vec![0; 64 * 1024];
    let mut lost = false;
    loop {
        let Ok(read @ 1..) = from.read(&mut bytes).await else { return };
        let now = *fault.borrow();
        if let Fault::Slow(time) = now {
            tokio::time::sleep(time).await;
        }
        // A stream from which something was lost cannot go on.
        lost |= is_answer && now == Fault::LosesAnswers;
        if !lost && to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
