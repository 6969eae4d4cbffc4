//! Nodes as processes.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::Fault;

/// A running node. It ends with the value.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    /// Where it listens, as in `http://127.0.0.1:4000`.
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
        let first = BufReader::new(output).lines().next_line().await?.ok_or("a node ended at once")?;
        let address = first.strip_prefix("listening ").ok_or("a node said something else")?.to_owned();
        Ok(Self { child, address })
    }

    /// Lets it answer what it is at, and end.
    pub(crate) async fn stop(mut self) -> Result<(), Fault> {
        drop(self.child.stdin.take());
        let ended = self.child.wait().await?;
        if ended.success() { Ok(()) } else { Err(format!("a node ended with {ended}").into()) }
    }

    /// Ends it in the midst of whatever it does.
    #[allow(dead_code, reason = "the tests do it")]
    pub(crate) async fn kill(mut self) -> Result<(), Fault> {
        Ok(self.child.kill().await?)
    }
}
