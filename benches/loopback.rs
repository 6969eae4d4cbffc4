//! Throughput over loopback: each stack as a server of one thread on one core, driven from another core over 64
//! connections that wait for each response.
//!
//! ```text
//! cargo bench --bench loopback --features axum,actix-web,tonic
//! ```
//!
//! The servers: axum with ten routes, bare, behind a tower layer that does nothing, behind the hand-written middleware,
//! behind tower-http and `tower_governor`, and behind the gate (`around`); actix-web and tonic, bare and behind the gate. All
//! have 10,000 keys. Requests have one of 64 of them, or any of them.
//!
//! The figure is the requests per second of processor time of the server, relative to the bare server of the same framework:
//! the throughput of a core that runs only the server. Rounds of all servers alternate, and the medians are compared.
//! `busy` is the share of the time in which the server ran: if it is below 0.95, another process used the core.
//!
//! It needs Linux, two cores and `taskset`.
#![allow(clippy::expect_used, reason = "what is constant here cannot fail")]
#![allow(clippy::cast_precision_loss, reason = "figures are shown to three places")]

#[path = "loopback/client.rs"]
mod client;
mod harness;
#[path = "loopback/servers.rs"]
mod servers;

use std::env;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::rounds::{self, median};
use harness::world::{HOT, KEYS};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 15;

/// The time in which a server is measured in a round.
const MEASURED: Duration = Duration::from_millis(400);

/// The protocol that a server speaks.
#[derive(Clone, Copy)]
enum Protocol {
    Http,
    Grpc,
}

/// The servers, in groups that start with the bare server of the comparison.
const SERVERS: [(&str, &str, Protocol); 9] = [
    ("bare", "bare", Protocol::Http),
    ("layer", "bare", Protocol::Http),
    ("handwritten", "bare", Protocol::Http),
    ("bearer_governor", "bare", Protocol::Http),
    ("tollgate", "bare", Protocol::Http),
    ("actix_bare", "actix_bare", Protocol::Http),
    ("actix", "actix_bare", Protocol::Http),
    ("tonic_bare", "tonic_bare", Protocol::Grpc),
    ("tonic", "tonic_bare", Protocol::Grpc),
];

/// A server in its own process. It ends at the end of its standard input.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(name: &str) -> Self {
        let this = env::current_exe().expect("the path of the binary");
        let mut process = Command::new("taskset")
            .args(["-c", "0"])
            .arg(this)
            .args(["--serve", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`taskset` starts the server: install util-linux");
        let mut address = String::new();
        let output = process.stdout.take().expect("standard output is piped");
        BufReader::new(output).read_line(&mut address).expect("the server prints its address");
        Self { process, address: address.trim().parse().expect("an address") }
    }

    /// The processor time of all its threads.
    fn processor_time(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("the server runs");
        let of_task = |task: std::fs::DirEntry| {
            let times = std::fs::read_to_string(task.path().join("schedstat")).expect("the server runs");
            times.split_whitespace().next().expect("a time").parse::<u64>().expect("a time")
        };
        Duration::from_nanos(tasks.map(|task| of_task(task.expect("the server runs"))).sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// The measurements of one server under one kind of traffic.
#[derive(Default)]
struct Measured {
    requests_per_second: Vec<f64>,
    busy: Vec<f64>,
}

fn main() {
    if rounds::is_trial() {
        return;
    }
    let args: Vec<String> = env::args().collect();
    if let Some(place) = args.iter().position(|arg| arg == "--serve") {
        return servers::serve(&args[place + 1]);
    }
    let pinned = Command::new("taskset").args(["-cp", "1", &std::process::id().to_string()]).output();
    assert!(pinned.is_ok_and(|done| done.status.success()), "`taskset` pins the client to the second core");
    let servers = SERVERS.map(|(name, ..)| Server::start(name));
    let spreads = [HOT, KEYS];
    let mut measured: Vec<[Measured; 2]> = servers.iter().map(|_| Default::default()).collect();
    for _ in 0..ROUNDS {
        for (place, server) in servers.iter().enumerate() {
            for (spread, measured) in spreads.iter().zip(&mut measured[place]) {
                let (requests, busy) = client::drive(server, SERVERS[place].2, *spread);
                measured.requests_per_second.push(requests / busy.as_secs_f64());
                measured.busy.push(busy.as_secs_f64() / MEASURED.as_secs_f64());
            }
        }
    }
    report(&spreads, measured);
}

fn report(spreads: &[usize], measured: Vec<[Measured; 2]>) {
    println!("{:<18} {:>8} {:>11} {:>7} {:>8}", "server", "keys", "requests/s", "busy", "of bare");
    let (mut bare, mut lines) = ([0.0; 2], Vec::new());
    for ((name, of, _), measured) in SERVERS.iter().zip(measured) {
        for ((keys, measured), bare) in spreads.iter().zip(measured).zip(&mut bare) {
            let (pace, busy) = (median(measured.requests_per_second), median(measured.busy));
            if name == of {
                *bare = pace;
            } else {
                lines.push(format!("{name}_{keys}={:.3}", pace / *bare));
            }
            println!("{name:<18} {keys:>8} {pace:>11.0} {busy:>7.2} {:>8.3}", pace / *bare);
        }
    }
    println!("\n{}", lines.join("\n"));
}
