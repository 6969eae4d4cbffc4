//! A PostgreSQL server of a test's own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::certificates::{Authority, Certificate};
use super::{free_port, scratch, signal, skipped};

/// A running server, which a test may kill, pause and start again on the same port. It ends with the value.
#[derive(Debug)]
pub(crate) struct Postgres {
    child: Child,
    port: u16,
    folder: PathBuf,
    programs: PathBuf,
    databases: AtomicU32,
    /// Settings besides those of every test.
    settings: Vec<String>,
}

impl Postgres {
    /// A server on a private port; `None`, said loudly, where there is no `initdb`.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(|_| Vec::new())
    }

    /// A server that accepts connections over TLS only. The role `tollgate` needs nothing else, `gate` needs its password
    /// `right` and a certificate of the authority, and `guest` the password `right`.
    pub(crate) fn start_tls(authority: &Authority, own: &Certificate) -> Option<Self> {
        let server = Self::start_with(|folder| {
            let copies = ["server.pem", "server.key", "ca.pem"].map(|name| folder.join(name));
            for (from, to) in [&own.file, &own.key, &authority.file()].into_iter().zip(&copies) {
                std::fs::copy(from, to).unwrap();
                run(Command::new("chmod").arg("600").arg(to));
                if is_root() {
                    run(Command::new("chown").arg("postgres").arg(to));
                }
            }
            let rules = "hostssl all tollgate 127.0.0.1/32 trust\n\
                         hostssl all gate 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n\
                         hostssl all guest 127.0.0.1/32 scram-sha-256\n";
            std::fs::write(folder.join("pg_hba.conf"), rules).unwrap();
            let files = ["ssl_cert_file", "ssl_key_file", "ssl_ca_file"].into_iter().zip(copies);
            let files = files.map(|(setting, file)| format!("{setting}={}", file.display()));
            files.chain(["ssl=on".to_owned()]).collect()
        })?;
        for role in ["gate", "guest"] {
            server.say("postgres", &format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'right'"));
        }
        Some(server)
    }

    /// A replica of this server, which follows it.
    pub(crate) fn replica(&self) -> Self {
        let (port, folder) = (free_port(), scratch("replica"));
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(&folder));
        }
        let mut copy = unprivileged(&self.programs.join("pg_basebackup"));
        let from = self.port.to_string();
        copy.args(["-h", "127.0.0.1", "-p", &from, "-U", "tollgate", "-R", "-c", "fast", "-D"]).arg(&folder);
        run(&mut copy);
        run(Command::new("chmod").arg("700").arg(&folder));
        let child = launch(&self.programs, port, &folder, &self.settings);
        let (programs, settings) = (self.programs.clone(), self.settings.clone());
        let replica = Self { child, port, folder, programs, databases: AtomicU32::new(0), settings };
        replica.wait();
        replica
    }

    /// The same address at this server.
    pub(crate) fn way_to(&self, url: &str) -> String {
        let (start, name) = url.rsplit_once('/').unwrap();
        format!("{}:{}/{name}", start.rsplit_once(':').unwrap().0, self.port)
    }

    fn start_with(prepare: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
        let Some(programs) = programs() else {
            skipped("initdb");
            return None;
        };
        let (port, folder) = (free_port(), scratch("postgres"));
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(&folder));
        }
        let mut initdb = unprivileged(&programs.join("initdb"));
        initdb
            .args(["--auth=trust", "--username=tollgate", "--no-sync", "--encoding=UTF8", "-D"])
            .arg(&folder);
        run(&mut initdb);
        let settings = prepare(&folder);
        let child = launch(&programs, port, &folder, &settings);
        let server = Self { child, port, folder, programs, databases: AtomicU32::new(0), settings };
        server.wait();
        Some(server)
    }

    /// A server that all tests share which run at the same time, each in a database of its own.
    pub(crate) fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Some(server);
        }
        let server = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&server);
        Some(server)
    }

    /// The address of a new and empty database.
    pub(crate) fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.say("postgres", &format!("CREATE DATABASE {name}"));
        format!("postgres://tollgate@127.0.0.1:{}/{name}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Says something to a database, and returns its answer: columns apart by `|`, a line each row.
    pub(crate) fn say(&self, database: &str, words: &str) -> String {
        let answer = self.psql(database, words);
        assert!(answer.status.success(), "{words}: {}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8_lossy(&answer.stdout).trim_end().to_owned()
    }

    /// Ends the server and all that serve its connections without a warning, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.to_children("KILL");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port, after it was killed; what was committed is there.
    pub(crate) fn restart(&mut self) {
        self.child = launch(&self.programs, self.port, &self.folder, &self.settings);
        self.wait();
    }

    /// Stops it in the midst of whatever it does: it is there, and answers nothing.
    pub(crate) fn pause(&self) {
        signal(&self.child, "STOP");
        self.to_children("STOP");
    }

    pub(crate) fn resume(&self) {
        self.to_children("CONT");
        signal(&self.child, "CONT");
    }

    /// Sends a signal to those that serve connections.
    fn to_children(&self, name: &str) {
        let parent = self.child.id().to_string();
        // There may be none: then nobody is told.
        let _ = Command::new("pkill").arg(format!("-{name}")).args(["-P", &parent]).status().unwrap();
    }

    fn psql(&self, database: &str, words: &str) -> std::process::Output {
        let port = self.port.to_string();
        // The client may lie elsewhere than the server.
        let beside = self.programs.join("psql");
        let mut psql = Command::new(if beside.exists() { beside } else { "psql".into() });
        psql.args(["-h", "127.0.0.1", "-p", &port, "-U", "tollgate", "-d", database, "-XAtc", words]);
        psql.output().unwrap()
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        while !self.psql("postgres", "SELECT 1").status.success() {
            assert!(Instant::now() < until, "postgres does not come up on port {}", self.port);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It may be paused, or killed already: neither keeps this from ending it.
        self.to_children("KILL");
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Returns the folder of the server's programs: on the PATH, or where Debian keeps them, the newest.
fn programs() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    folders.into_iter().find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

/// A program that refuses to run as root, run as somebody else there.
pub(crate) fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"])
        .arg(program)
        .current_dir("/");
    command
}

pub(super) fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn launch(programs: &Path, port: u16, folder: &Path, settings: &[String]) -> Child {
    let port = port.to_string();
    let quiet = ["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=200"];
    unprivileged(&programs.join("postgres"))
        .args([OsStr::new("-D"), folder.as_os_str(), OsStr::new("-p"), OsStr::new(&port)])
        .args(["-h", "127.0.0.1"])
        .args(quiet)
        .args(settings.iter().flat_map(|setting| ["-c", setting]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
