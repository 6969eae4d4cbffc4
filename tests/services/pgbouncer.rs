//! A `PgBouncer` of a test's own, in front of a PostgreSQL server.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::postgres::{Postgres, is_root, run, unprivileged};
use super::{free_port, scratch, skipped};

/// A running pooler. It ends with the value.
#[derive(Debug)]
pub(crate) struct PgBouncer {
    child: Child,
    pub(crate) port: u16,
    folder: PathBuf,
}

impl PgBouncer {
    /// A pooler in this mode, with `server` connections to each database; `None`, said loudly, where there is no
    /// `pgbouncer`.
    pub(crate) fn start(postgres: &Postgres, mode: &str, server: u32) -> Option<Self> {
        let Some(program) = program() else {
            skipped("pgbouncer");
            return None;
        };
        let (port, folder) = (free_port(), scratch("pgbouncer"));
        let (users, settings) = (folder.join("users.txt"), folder.join("pgbouncer.ini"));
        std::fs::write(&users, "\"tollgate\" \"\"\n").unwrap();
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\ndefault_pool_size = {server}\n\
             max_client_conn = 500\n",
            postgres.port(),
            users.display(),
        );
        std::fs::write(&settings, text).unwrap();
        if is_root() {
            run(Command::new("chown").arg("-R").arg("postgres").arg(&folder));
        }
        let child = unprivileged(&program)
            .arg("--quiet")
            .arg(&settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pooler = Self { child, port, folder };
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "pgbouncer does not come up on port {port}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(pooler)
    }

    /// The address of a database by way of the pooler.
    pub(crate) fn way_to(&self, url: &str) -> String {
        let name = url.rsplit('/').next().unwrap();
        format!("postgres://tollgate@127.0.0.1:{}/{name}", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn program() -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
    // Debian keeps it where only an administrator's PATH leads.
    let folders = folders.into_iter().chain([Path::new("/usr/sbin").to_owned()]);
    folders.map(|folder| folder.join("pgbouncer")).find(|program| program.exists())
}
