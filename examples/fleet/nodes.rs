//! The processes of nodes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::Fault;

/// The time limit for the start of a node.
const START: Duration = Duration::from_secs(30);

/// A running node. It is killed when the value is dropped.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    /// The address of the node, as in `http://127.0.0.1:4000`.
    pub(crate) address: String,
}

impl Node {
    /// Starts a node, and waits until it listens.
    pub(crate) async fn start(program: &Path, arguments: &[&str]) -> Result<Self, Fault> {
        let mut child = Command::new(program)
            .arg("node")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().ok_or("the node has no standard output")?;
        let first = tokio::time::timeout(START, BufReader::new(output).lines().next_line()).await??;
        let first = first.ok_or("the node ended at its start")?;
        let address = first
            .strip_prefix("listening ")
            .ok_or("the first line of the node is not its address")?
            .to_owned();
        Ok(Self { child, address })
    }

    /// Stops the node after the requests in progress.
    pub(crate) async fn stop(mut self) -> Result<(), Fault> {
        drop(self.child.stdin.take());
        self.ended().await
    }

    /// Sends SIGTERM to the node, and waits for its end.
    #[allow(dead_code, reason = "only the tests use it")]
    pub(crate) async fn terminate(mut self) -> Result<(), Fault> {
        let id = self.child.id().ok_or("the node ended before the signal")?;
        let sent = Command::new("kill").arg(id.to_string()).status().await?;
        if sent.success() { self.ended().await } else { Err("failed to send a signal to the node".into()) }
    }

    async fn ended(&mut self) -> Result<(), Fault> {
        let ended = self.child.wait().await?;
        if ended.success() { Ok(()) } else { Err(format!("a node ended with {ended}").into()) }
    }

    /// Kills the node.
    #[allow(dead_code, reason = "only the tests use it")]
    pub(crate) async fn kill(mut self) -> Result<(), Fault> {
        Ok(self.child.kill().await?)
    }
}
