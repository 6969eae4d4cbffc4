//! A receiver of webhooks in Python, which verifies them with the reference library.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::{free_port, has_python_module, scratch, skipped};

/// A place for a receiver: it may be started and stopped, and keeps its port and what it received.
pub(crate) struct WebhookReceiver {
    pub(crate) port: u16,
    pub(crate) folder: PathBuf,
    secret: String,
    child: Option<Child>,
}

impl WebhookReceiver {
    /// Returns a receiver that is not started.
    pub(crate) fn new(secret: &str) -> Option<Self> {
        if !has_python_module("standardwebhooks") {
            skipped("python3 with standardwebhooks");
            return None;
        }
        let (port, folder) = (free_port(), scratch("webhooks"));
        Some(Self { port, folder, secret: secret.to_owned(), child: None })
    }

    pub(crate) fn start(&mut self, mode: &str) {
        self.start_with(mode, &[]);
    }

    pub(crate) fn start_with(&mut self, mode: &str, environment: &[(&str, &str)]) {
        self.stop();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/services/webhook_receiver.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(self.port.to_string()).arg(&self.secret).arg(self.file()).arg(mode);
        command.envs(environment.iter().copied()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "listening\n");
        self.child = Some(child);
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("received.jsonl")
    }

    /// Returns the requests so far.
    pub(crate) fn received(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.file()).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Returns the ids of the requests so far, and checks that each request was verified.
    pub(crate) fn verified_ids(&self) -> Vec<String> {
        let id = |request: &Value| {
            assert_eq!(request["problem"], Value::Null, "{request}");
            assert_eq!(request["headers"]["webhook-id"], request["body"]["data"]["id"]);
            request["headers"]["webhook-id"].as_str().unwrap().to_owned()
        };
        self.received().iter().map(id).collect()
    }
}

impl Drop for WebhookReceiver {
    fn drop(&mut self) {
        self.stop();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
