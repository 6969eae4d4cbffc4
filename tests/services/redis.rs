//! A Redis server of a test's own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{free_port, scratch, signal, skipped};

/// A running server, which a test may kill, pause and start again on the same port. It ends with the value.
#[derive(Debug)]
pub(crate) struct Redis {
    child: Child,
    port: u16,
    folder: PathBuf,
    options: &'static [&'static str],
}

impl Redis {
    /// A server on a private port, with nothing kept on disk; `None`, said loudly, where there is no `redis-server`.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&["--appendonly", "no"])
    }

    /// A server that writes each command to disk before it answers.
    pub(crate) fn start_durable() -> Option<Self> {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// A cluster of one node, which has all slots and refuses what crosses them.
    pub(crate) fn start_cluster() -> Option<Self> {
        let redis = Self::start_with(&["--cluster-enabled", "yes"])?;
        assert_eq!(redis.say(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]), "+OK");
        wait_until(|| redis.say(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
        Some(redis)
    }

    fn start_with(options: &'static [&'static str]) -> Option<Self> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            skipped("redis-server");
            return None;
        }
        let (port, folder) = (free_port(), scratch("redis"));
        let redis = Self { child: launch(port, &folder, options), port, folder, options };
        redis.wait();
        Some(redis)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends the server without a warning, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port, after it was killed; what it kept is gone.
    pub(crate) fn restart(&mut self) {
        self.child = launch(self.port, &self.folder, self.options);
        self.wait();
    }

    /// Stops it in the midst of whatever it does: it is there, and answers nothing.
    pub(crate) fn pause(&self) {
        signal(&self.child, "STOP");
    }

    pub(crate) fn resume(&self) {
        signal(&self.child, "CONT");
    }

    /// Sends one command, its words apart, and returns the answer as it comes over the wire.
    pub(crate) fn say(&self, words: &[&str]) -> String {
        self.say_all(&[words, &["QUIT"]])
    }

    /// The same where a password is asked for.
    pub(crate) fn say_as(&self, password: &str, words: &[&str]) -> String {
        let answer = self.say_all(&[&["AUTH", password], words, &["QUIT"]]);
        answer.strip_prefix("+OK\r\n").unwrap_or(&answer).to_owned()
    }

    fn say_all(&self, commands: &[&[&str]]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for words in commands {
            let mut command = format!("*{}\r\n", words.len()).into_bytes();
            for word in *words {
                write!(command, "${}\r\n{word}\r\n", word.len()).unwrap();
            }
            stream.write_all(&command).unwrap();
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        answer.strip_suffix("+OK\r\n").unwrap_or(&answer).trim_end().to_owned()
    }

    fn wait(&self) {
        let port = self.port;
        wait_until(|| TcpStream::connect(("127.0.0.1", port)).is_ok() && self.say(&["PING"]) == "+PONG");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn wait_until(ready: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !ready() {
        assert!(Instant::now() < until, "redis-server does not come up");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn launch(port: u16, folder: &PathBuf, options: &[&str]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(folder)
        .args(options)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}
