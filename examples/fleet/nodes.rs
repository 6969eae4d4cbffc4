//! Nodes as processes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::Fault;

/// The time within which a node must listen.
const START: Duration = Duration::from_secs(30);

/// A running node. It ends with the value.
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
        let output = child.stdout.take().ok_or("a node without an output")?;
        let first = tokio::time::timeout(START, BufReader::new(output).lines().next_line()).await??;
        let first = first.ok_or("a node ended at once")?;
        let address = first.strip_prefix("listening ").ok_or("a node said something else")?.to_owned();
        Ok(Self { child, address })
    }

    /// Lets it answer what it is at, and end.
    pub(crate) async fn stop(mut self) -> Result<(), Fault> {
        drop(self.child.stdin.take());
        self.ended().await
    }

    /// Asks it to end, as whoever runs it may.
    #[allow(dead_code, reason = "the tests do it")]
    pub(crate) async fn terminate(mut self) -> Result<(), Fault> {
        let id = self.child.id().ok_or("a node ended before it was told to")?;
        let told = Command::new("kill").arg(id.to_string()).status().await?;
        if told.success() { self.ended().await } else { Err("a node was not told to end".into()) }
    }

    async fn ended(&mut self) -> Result<(), Fault> {
        let ended = self.child.wait().await?;
        if ended.success() { Ok(()) } else { Err(format!("a node ended with {ended}").into()) }
    }

    /// Ends it in the midst of whatever it does.
    #[allow(dead_code, reason = "the tests do it")]
    pub(crate) async fn kill(mut self) -> Result<(), Fault> {
        Ok(self.child.kill().await?)
    }
}
