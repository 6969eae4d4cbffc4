//! An nginx of a test's own, in front of a server.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{free_port, scratch, skipped};

/// A running nginx that passes all requests on, and adds the client's address to `X-Forwarded-For`. It ends with the value.
#[derive(Debug)]
pub(crate) struct Nginx {
    child: Child,
    port: u16,
    folder: PathBuf,
}

/// The address from which nginx connects to the server.
pub(crate) const PROXY: &str = "127.0.0.1";

impl Nginx {
    /// Starts an nginx in front of a server; `None`, said loudly, where there is no `nginx`.
    pub(crate) fn before(server: SocketAddr) -> Option<Self> {
        // Debian's package puts it where only root looks.
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let command = || {
            let mut command = Command::new("nginx");
            command.env("PATH", &path).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        if command().arg("-v").status().is_err() {
            skipped("nginx");
            return None;
        }
        let (port, folder) = (free_port(), scratch("nginx"));
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary =
            temporary.map(|name| format!("{name}_temp_path {}/{name};", folder.display())).join(" ");
        let configuration = format!(
            "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
            events {{}}
            http {{
                access_log off; {temporary}
                server {{
                    listen 127.0.0.1:{port};
                    location / {{
                        proxy_pass http://{server};
                        proxy_bind {PROXY};
                        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                    }}
                }}
            }}",
            folder = folder.display()
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, configuration).unwrap();
        let error_log = folder.join("error.log");
        let child = command().arg("-p").arg(&folder).arg("-e").arg(&error_log).arg("-c").arg(&file).spawn();
        let nginx = Self { child: child.unwrap(), port, folder };
        let started = Instant::now();
        while TcpStream::connect(nginx.address()).is_err() {
            let log = || std::fs::read_to_string(&error_log).unwrap_or_default();
            assert!(started.elapsed() < Duration::from_secs(20), "nginx does not start: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(nginx)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
