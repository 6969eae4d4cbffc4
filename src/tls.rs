//! TLS settings of the connections that this crate opens itself.

#[cfg(feature = "redis-tls")]
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::client::WantsClientCert;
use tokio_rustls::rustls::crypto::ring::default_provider;
#[cfg(feature = "redis-tls")]
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio_rustls::rustls::{ClientConfig, ConfigBuilder, RootCertStore};

#[cfg(feature = "redis-tls")]
use crate::error::ConfigError;

/// Returns the settings that trust the certificates of the system, or the reason that there are none.
#[cfg(feature = "webhooks")]
pub(crate) fn of_system() -> Result<Arc<ClientConfig>, String> {
    Ok(Arc::new(trusting(system_roots()?)?.with_no_client_auth()))
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("the system has no certificates: install them, or set SSL_CERT_FILE".to_owned());
    }
    Ok(roots)
}

/// The provider is named here: another crate of the service may use rustls with another one.
fn trusting(roots: RootCertStore) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots))
}

/// PEM files with certificates: those that are trusted, and those of this client.
#[cfg(feature = "redis-tls")]
#[derive(Debug, Default)]
pub(crate) struct TlsFiles {
    /// The authorities that are trusted. `None` for those of the system.
    pub(crate) roots: Option<PathBuf>,
    /// The certificate of this client, followed by its intermediate certificates.
    pub(crate) certificate: Option<PathBuf>,
    /// The private key of that certificate.
    pub(crate) key: Option<PathBuf>,
}

#[cfg(feature = "redis-tls")]
impl TlsFiles {
    /// Reads the files. An error names the member of a URL that names the file.
    pub(crate) fn read(&self) -> Result<Arc<ClientConfig>, ConfigError> {
        let roots = match &self.roots {
            Some(path) => roots_in(path)?,
            None => system_roots().map_err(|problem| {
                ConfigError::new("", problem, "name a file with the authorities that are trusted")
                    .in_member("sslrootcert")
            })?,
        };
        let fault = |problem: String| ConfigError::new("", problem, "use another certificate");
        let config = trusting(roots).map_err(fault)?;
        let config = match (&self.certificate, &self.key) {
            (None, None) => config.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let chain = certificates("sslcert", certificate)?;
                let read = PrivateKeyDer::from_pem_file(key);
                let read = read.map_err(|error| unreadable("sslkey", key, &error))?;
                let accepted = config.with_client_auth_cert(chain, read);
                accepted.map_err(|error| unreadable("sslkey", key, &error))?
            }
            (Some(_), None) => return Err(alone("sslcert", "sslkey")),
            (None, Some(_)) => return Err(alone("sslkey", "sslcert")),
        };
        Ok(Arc::new(config))
    }
}

#[cfg(feature = "redis-tls")]
fn roots_in(path: &Path) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("sslrootcert", path)? {
        roots.add(certificate).map_err(|error| unreadable("sslrootcert", path, &error))?;
    }
    Ok(roots)
}

#[cfg(feature = "redis-tls")]
fn certificates(member: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| unreadable(member, path, &error))?;
    if read.is_empty() {
        return Err(unreadable(member, path, &"it contains no certificate"));
    }
    Ok(read)
}

#[cfg(feature = "redis-tls")]
fn unreadable(member: &str, path: &Path, error: &dyn std::fmt::Display) -> ConfigError {
    let problem = format!("the file cannot be used since {error}");
    ConfigError::new(path.display().to_string(), problem, "name a PEM file").in_member(member)
}

#[cfg(feature = "redis-tls")]
fn alone(member: &str, other: &str) -> ConfigError {
    let problem = "a certificate and its private key belong together";
    ConfigError::new("", problem, format!("name both files, also by `{other}`")).in_member(member)
}
