//! Real servers for tests, each started by the test that needs it, on a private port with a folder of its own.
#![allow(dead_code, reason = "no test uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod certificates;
pub(crate) mod nginx;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod providers;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod webhook_receiver;

use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// An empty folder that no other test uses.
pub(crate) fn scratch(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("tollgate-{name}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Says that a test is skipped for want of a program. Where the environment demands all services, it fails instead.
pub(crate) fn skipped(program: &str) {
    let demanded = std::env::var_os("TOLLGATE_REQUIRE_SERVICES").is_some_and(|value| value == "1");
    assert!(!demanded, "`{program}` is not on the PATH, and TOLLGATE_REQUIRE_SERVICES=1 demands it");
    // Not `eprintln!`: what a test prints is kept back, unless it fails.
    std::io::stderr().write_all(format!("SKIPPED: `{program}` is not on the PATH\n").as_bytes()).unwrap();
}

/// Returns true if there is a Python that can import this module.
pub(crate) fn has_python_module(name: &str) -> bool {
    let found = Command::new("python3").args(["-c", &format!("import {name}")]).output();
    found.is_ok_and(|output| output.status.success())
}

/// Sends a signal, such as `STOP`.
pub(crate) fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().unwrap();
    assert!(sent.success(), "the signal {name} was not sent");
}
