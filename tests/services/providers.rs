//! The `providers` example as a process of its own.

#![allow(clippy::expect_used, reason = "a test ends where it fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::signal;

/// Cargo puts examples beside the folder of the test executables.
pub(crate) fn example() -> Command {
    let test = std::env::current_exe().expect("this test has a path");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("it lies in target/PROFILE/deps");
    let path: PathBuf = folder.join("examples").join(format!("providers{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.exists(),
        "{} is missing: `cargo test` builds it, `cargo test --test` does not",
        path.display()
    );
    Command::new(path)
}

/// A running example; it is killed when the test ends, however it ends.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) address: String,
    pub(crate) guide: Vec<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|fault| panic!("{fault}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        pairs.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

pub(crate) fn start(words: &[&str]) -> Running {
    let mut child = example().args(words).stdout(Stdio::piped()).spawn().expect("the example starts");
    let lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
    let mut guide: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    assert!(!guide.is_empty(), "the example ended without a word");
    let first = guide.remove(0);
    let address = first.strip_prefix(&format!("listening {} http://", words[1]));
    let address = address.unwrap_or_else(|| panic!("this is no `listening` line: {first}")).to_owned();
    Running { child, address, guide }
}

impl Running {
    /// Sends a GET as it stands over HTTP/1.1.
    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers, "")
    }

    /// Sends a request as it stands over HTTP/1.1.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut socket = TcpStream::connect(&self.address).expect("the example listens");
        let length = body.len();
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: kwery\r\nConnection: close\r\nContent-Length: {length}\r\n"
        );
        for (name, value) in headers {
            request.extend([name, ": ", value, "\r\n"]);
        }
        socket.write_all((request + "\r\n" + body).as_bytes()).expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        let status =
            head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a head has a status");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// Ends it as Ctrl-C does, and waits until it has ended well.
    pub(crate) fn interrupt(mut self) {
        signal(&self.child, "INT");
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0));
    }

    pub(crate) fn with_key(&self, path: &str, key: &str) -> Answer {
        self.get(path, &[("X-API-Key", key)])
    }
}
