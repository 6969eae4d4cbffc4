//! A Redis server of a test's own.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::certificates::{Authority, Certificate};
use super::{free_port, scratch, signal, skipped};

/// A running server, which a test may kill, pause and start again on the same port. It ends with the value.
#[derive(Debug)]
pub(crate) struct Redis {
    child: Child,
    port: u16,
    folder: PathBuf,
    options: Vec<String>,
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

    /// A server with these options besides the port and the folder.
    pub(crate) fn start_with(options: &[&str]) -> Option<Self> {
        let redis = Self::launched(options)?;
        redis.wait();
        Some(redis)
    }

    fn launched(options: &[&str]) -> Option<Self> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            skipped("redis-server");
            return None;
        }
        let (port, folder) = (free_port(), scratch("redis"));
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        Some(Self { child: launch(port, &folder, &options), port, folder, options })
    }

    /// A server with a port for TLS as well, whose number is returned. It has this certificate, and requires one of each
    /// client that the authority has issued, unless `clients` is `no`.
    pub(crate) fn start_tls(authority: &Authority, own: &Certificate, clients: &str) -> Option<(Self, u16)> {
        let (port, roots) = (free_port(), authority.file());
        let [roots, file, key] = [&roots, &own.file, &own.key].map(|path| path.to_str().unwrap());
        let number = port.to_string();
        let options = ["--tls-port", &number, "--tls-cert-file", file, "--tls-key-file", key];
        let options = [&options[..], &["--tls-ca-cert-file", roots, "--tls-auth-clients", clients]].concat();
        Some((Self::start_with(&options)?, port))
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
        self.launch_again();
        self.wait();
    }

    /// Starts it again, and does not wait until it serves.
    pub(crate) fn launch_again(&mut self) {
        self.child = launch(self.port, &self.folder, &self.options);
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
        // A sentinel does not know `QUIT`.
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        answer.strip_suffix("+OK\r\n").unwrap_or(&answer).trim_end().to_owned()
    }

    /// Waits until the server answers.
    fn wait(&self) {
        let port = self.port;
        wait_until(|| {
            TcpStream::connect(("127.0.0.1", port)).is_ok() && self.say_all(&[&["PING"]]) == "+PONG"
        });
    }
}

/// A cluster of three masters, each with a replica.
#[derive(Debug)]
pub(crate) struct RedisCluster {
    /// The masters of the first, the second and the last third of the slots, and then their replicas.
    pub(crate) nodes: Vec<Redis>,
}

/// The time after which the nodes of a cluster take one of them for dead.
const NODE_TIMEOUT: &str = "500";

const MASTERS: usize = 3;

impl RedisCluster {
    pub(crate) fn start() -> Option<Self> {
        let launched = (0..2 * MASTERS).map(|_| {
            let bus = free_port().to_string();
            let options =
                ["--cluster-enabled", "yes", "--cluster-node-timeout", NODE_TIMEOUT, "--cluster-port"];
            let others = ["--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"];
            Redis::launched(&[&options[..], &[&bus], &others].concat())
        });
        let nodes = launched.collect::<Option<Vec<_>>>()?;
        nodes.iter().for_each(Redis::wait);
        for (place, (node, slots)) in nodes.iter().zip(["0 5460", "5461 10922", "10923 16383"]).enumerate() {
            let (first, last) = slots.split_once(' ').unwrap();
            assert_eq!(node.say(&["CLUSTER", "ADDSLOTSRANGE", first, last]), "+OK");
            assert_eq!(node.say(&["CLUSTER", "SET-CONFIG-EPOCH", &(place + 1).to_string()]), "+OK");
        }
        let first = &nodes[0];
        for node in &nodes[1..] {
            let (port, bus) = (node.port.to_string(), node.options[5].clone());
            assert_eq!(first.say(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]), "+OK");
        }
        let know_all = |node: &Redis| node.say(&["CLUSTER", "INFO"]).contains("cluster_known_nodes:6");
        wait_until(|| nodes.iter().all(know_all));
        for place in 0..MASTERS {
            let answer = nodes[place].say(&["CLUSTER", "MYID"]);
            let id = answer.lines().last().unwrap().to_owned();
            wait_until(|| nodes[MASTERS + place].say(&["CLUSTER", "REPLICATE", &id]) == "+OK");
        }
        let is_ok = |node: &Redis| {
            let ok = node.say(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
            ok && node.say(&["CLUSTER", "NODES"]).matches(" slave ").count()
                + node.say(&["CLUSTER", "NODES"]).matches("myself,slave ").count()
                >= MASTERS
        };
        wait_until(|| nodes.iter().all(is_ok));
        let is_linked = |node: &Redis| node.say(&["INFO", "replication"]).contains("master_link_status:up");
        wait_until(|| nodes[MASTERS..].iter().all(is_linked));
        Some(Self { nodes })
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis://{}?cluster=true", hosts.join(","))
    }

    /// The master at the start of the slot of this key.
    pub(crate) fn first_owner(&self, key: &str) -> usize {
        let slot = self.nodes[0].say(&["CLUSTER", "KEYSLOT", key]);
        let slot: usize = slot.trim_start_matches(':').parse().unwrap();
        slot.min(16_382) / 5461
    }
}

/// A master, a replica, and three sentinels that watch them.
#[derive(Debug)]
pub(crate) struct RedisSentinels {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    sentinels: Vec<Redis>,
}

impl RedisSentinels {
    pub(crate) fn start() -> Option<Self> {
        let (master, replica) = (Redis::start()?, Redis::start()?);
        assert_eq!(replica.say(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]), "+OK");
        let text = format!(
            "sentinel monitor acme 127.0.0.1 {} 2\nsentinel down-after-milliseconds acme 500\n\
             sentinel failover-timeout acme 2000\n",
            master.port
        );
        let sentinels = (0..3).map(|_| {
            let (port, folder) = (free_port(), scratch("sentinel"));
            std::fs::write(folder.join("sentinel.conf"), &text).unwrap();
            let options = vec!["--sentinel".to_owned()];
            Redis { child: launch(port, &folder, &options), port, folder, options }
        });
        let sentinels: Vec<Redis> = sentinels.collect();
        sentinels.iter().for_each(Redis::wait);
        let knows_all = |sentinel: &Redis| {
            let said = sentinel.say_all(&[&["SENTINEL", "MASTER", "acme"]]).replace("\r\n", " ");
            said.contains("num-slaves $1 1 ") && said.contains("num-other-sentinels $1 2 ")
        };
        wait_until(|| sentinels.iter().all(knows_all));
        wait_until(|| replica.say(&["INFO", "replication"]).contains("master_link_status:up"));
        Some(Self { master, replica, sentinels })
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis://{}?sentinel=acme", hosts.join(","))
    }

    /// Has the sentinels promote the replica.
    pub(crate) fn promote(&self) {
        wait_until(|| self.sentinels[0].say_all(&[&["SENTINEL", "FAILOVER", "acme"]]).is_empty());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

pub(crate) fn wait_until(ready: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_mins(1);
    while !ready() {
        assert!(Instant::now() < until, "redis-server does not come up");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn launch(port: u16, folder: &Path, options: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    // A sentinel writes what it knows into its configuration.
    if options.iter().any(|option| option == "--sentinel") {
        command.arg(folder.join("sentinel.conf"));
    }
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(folder)
        .args(options)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}
