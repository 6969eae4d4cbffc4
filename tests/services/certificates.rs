//! Certificates of a test's own authority.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{scratch, skipped};

/// An authority that issues certificates. Its files go with the value.
#[derive(Debug)]
pub(crate) struct Authority {
    folder: PathBuf,
}

/// The files of a certificate and its private key.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) file: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// A new authority; `None`, said loudly, where there is no `openssl`.
    pub(crate) fn new() -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            skipped("openssl");
            return None;
        }
        let authority = Self { folder: scratch("certificates") };
        // Two authorities have two names.
        let name = authority.folder.file_name().unwrap().to_str().unwrap();
        openssl(
            &authority.folder,
            &format!("req -x509 {EC} -nodes -keyout ca.key -out ca.pem -subj /CN={name} -days 2"),
        );
        Some(authority)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Issues a certificate for these hosts, such as `DNS:localhost,IP:127.0.0.1`. One of -1 days has expired.
    pub(crate) fn issue(&self, name: &str, hosts: &str, days: i32) -> Certificate {
        let extensions = format!("subjectAltName={hosts}\nbasicConstraints=critical,CA:FALSE\n");
        std::fs::write(self.folder.join(format!("{name}.ext")), extensions).unwrap();
        openssl(
            &self.folder,
            &format!("req {EC} -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"),
        );
        openssl(
            &self.folder,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile {name}.ext \
                 -out {name}.pem"
            ),
        );
        let [file, key] = ["pem", "key"].map(|end| self.folder.join(format!("{name}.{end}")));
        Certificate { file, key }
    }
}

const EC: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1";

impl Drop for Authority {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
