//! The URL of a Redis server: its hosts, the login, TLS, and the layout of the servers.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
#[cfg(feature = "redis-tls")]
use std::sync::Arc;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion, RedisConnectionInfo};

use crate::error::ConfigError;
use crate::network::is_loopback;

/// The address of a server or of several, and the way to connect to it.
pub(super) struct Address {
    /// The endpoints in the URL: the server, the first nodes of a cluster, or the sentinels. Never empty.
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) layout: Layout,
    pub(super) login: RedisConnectionInfo,
    /// The settings of TLS. `None` for connections in clear text.
    #[cfg(feature = "redis-tls")]
    pub(super) tls: Option<Arc<tokio_rustls::rustls::ClientConfig>>,
    /// True if connections use TLS.
    is_tls: bool,
    /// True if connections in clear text may leave this machine.
    is_insecure: bool,
}

/// The place of one server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Endpoint {
    Tcp(String, u16),
    Unix(PathBuf),
}

/// The layout of the servers.
pub(super) enum Layout {
    /// One server.
    One,
    /// A master and its replicas, watched by sentinels.
    Sentinel {
        /// The name of the master.
        master: String,
        /// The login at the sentinels.
        login: RedisConnectionInfo,
    },
    /// The nodes of a cluster.
    Cluster,
}

/// The default port of a sentinel.
const SENTINEL_PORT: u16 = 26_379;

const EXAMPLE: &str = "write one as in `redis://user:password@host:6379/0`";

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, ConfigError> {
        let invalid = || ConfigError::new("", "invalid address of a Redis server", EXAMPLE);
        let (start, query) = url.split_once('?').unwrap_or((url, ""));
        let (scheme, rest) = start.split_once("://").ok_or_else(invalid)?;
        let is_unix = scheme.ends_with("unix");
        let is_tls = matches!(scheme, "rediss" | "valkeys");
        // A password with such a character would be cut off, and its end would be taken for something else.
        if query.contains('@') {
            return Err(invalid());
        }
        if url.contains('#') {
            let problem = "the address of a Redis server has a fragment";
            return Err(ConfigError::new(
                "",
                problem,
                "remove `#` and the text behind it, or write it as `%23`",
            ));
        }
        let parameters = Parameters::read(query, is_unix)?;
        parameters.check(is_tls)?;

        let (server, hosts) = if is_unix {
            (format!("{start}?{}", parameters.of_socket), Vec::new())
        } else {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let (user, hosts) =
                authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
            let plain =
                if scheme.starts_with("valkey") || scheme.starts_with("redis") { "redis" } else { scheme };
            let user = if user.is_empty() { String::new() } else { format!("{user}@") };
            (format!("{plain}://{user}localhost/{path}"), hosts.split(',').collect())
        };
        let info = server.as_str().into_connection_info().map_err(|_| invalid())?;
        // RESP3 reports a lost connection at once, not only when the next command fails.
        let login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let mut endpoints = Vec::with_capacity(hosts.len().max(1));
        if let ConnectionAddr::Unix(path) = info.addr() {
            endpoints.push(Endpoint::Unix(path.clone()));
        }
        let port = if parameters.sentinel.is_some() { SENTINEL_PORT } else { 6379 };
        for host in hosts {
            endpoints.push(Endpoint::in_url(host, port).ok_or_else(invalid)?);
        }
        let address = Self {
            layout: parameters.layout(&endpoints, &login)?,
            endpoints,
            login,
            #[cfg(feature = "redis-tls")]
            tls: if is_tls { Some(parameters.files.read()?) } else { None },
            is_tls,
            is_insecure: parameters.is_insecure,
        };
        match address.endpoints.iter().find(|endpoint| !address.permits(endpoint)) {
            None => Ok(address),
            Some(endpoint) => {
                let problem = "connections to this host are not encrypted";
                let expected = "use `rediss://`, or add `?insecure=true` if the network is trusted";
                Err(ConfigError::new(endpoint.to_string(), problem, expected).in_member("redis"))
            }
        }
    }

    /// Returns true if a connection to this server may be opened: it is encrypted, or does not leave this machine, or
    /// the URL permits clear text.
    pub(super) fn permits(&self, endpoint: &Endpoint) -> bool {
        self.is_tls || self.is_insecure || endpoint.is_local()
    }
}

impl fmt::Display for Address {
    /// Writes the endpoints, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, endpoint) in self.endpoints.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{endpoint}")?;
        }
        Ok(())
    }
}

impl Endpoint {
    /// Reads a host of a URL: `host`, `host:port`, `[address]` or `[address]:port`.
    fn in_url(host: &str, default: u16) -> Option<Self> {
        let info: ConnectionInfo = format!("redis://{host}").as_str().into_connection_info().ok()?;
        let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
        match info.addr() {
            ConnectionAddr::Tcp(name, port) if !host.contains('/') => {
                Some(Self::Tcp(name.clone(), if has_port { *port } else { default }))
            }
            _ => None,
        }
    }

    fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(host, _) => is_loopback(host),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.parse::<IpAddr>().is_ok_and(|host| host.is_ipv6()) => {
                write!(f, "[{host}]:{port}")
            }
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// The parameters of a URL.
#[derive(Default)]
struct Parameters {
    is_cluster: bool,
    is_insecure: bool,
    sentinel: Option<String>,
    sentinel_user: Option<String>,
    sentinel_password: Option<String>,
    #[cfg(feature = "redis-tls")]
    files: crate::tls::TlsFiles,
    /// The first parameter that needs TLS.
    of_tls: Option<&'static str>,
    /// The parameters of a Unix socket that the `redis` crate reads.
    of_socket: String,
}

impl Parameters {
    fn read(query: &str, is_unix: bool) -> Result<Self, ConfigError> {
        let mut read = Self::default();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, encoded) = part.split_once('=').unwrap_or((part, ""));
            let value = percent_encoding::percent_decode_str(encoded).decode_utf8();
            let value = value.map_err(|_| {
                ConfigError::new("", "the value is not UTF-8", "encode it as UTF-8").in_member(name)
            })?;
            match name {
                "cluster" => read.is_cluster = flag(name, &value)?,
                "insecure" => read.is_insecure = flag(name, &value)?,
                "sentinel" => read.sentinel = Some(value.into_owned()),
                "sentinel_user" => read.sentinel_user = Some(value.into_owned()),
                "sentinel_password" => read.sentinel_password = Some(value.into_owned()),
                "sslrootcert" => read.file("sslrootcert", &value),
                "sslcert" => read.file("sslcert", &value),
                "sslkey" => read.file("sslkey", &value),
                "db" | "user" | "pass" if is_unix => {
                    read.of_socket.push_str(part);
                    read.of_socket.push('&');
                }
                // The protocol is always RESP3.
                "protocol" => {}
                _ => {
                    let problem = "unknown parameter in the address of a Redis server";
                    let expected = "use `cluster`, `sentinel`, `sentinel_user`, `sentinel_password`, `sslrootcert`, \
                                    `sslcert`, `sslkey` or `insecure`";
                    return Err(ConfigError::new(name, problem, expected));
                }
            }
        }
        Ok(read)
    }

    fn file(&mut self, name: &'static str, path: &str) {
        self.of_tls.get_or_insert(name);
        #[cfg(feature = "redis-tls")]
        {
            let file = Some(PathBuf::from(path));
            match name {
                "sslrootcert" => self.files.roots = file,
                "sslcert" => self.files.certificate = file,
                _ => self.files.key = file,
            }
        }
        let _ = path;
    }

    fn check(&self, is_tls: bool) -> Result<(), ConfigError> {
        if is_tls && cfg!(not(feature = "redis-tls")) {
            let problem = "this build does not support connections to Redis over TLS";
            return Err(ConfigError::new("rediss", problem, "enable tollgate's feature `redis-tls`"));
        }
        if is_tls && self.is_insecure {
            let problem = "a connection over TLS is not insecure, and its certificates are always verified";
            let expected = "remove `insecure`, or name the authority of the certificate by `sslrootcert`";
            return Err(ConfigError::new("true", problem, expected).in_member("insecure"));
        }
        match self.of_tls {
            Some(name) if !is_tls => {
                let problem = "the connection does not use TLS";
                Err(ConfigError::new("", problem, "write `rediss://`, or remove the parameter")
                    .in_member(name))
            }
            _ => Ok(()),
        }
    }

    fn layout(&self, endpoints: &[Endpoint], login: &RedisConnectionInfo) -> Result<Layout, ConfigError> {
        let refuse = |member: &str, value: &str, problem: &str, expected: &str| {
            Err(ConfigError::new(value, problem, expected).in_member(member))
        };
        let is_of_sentinels = self.sentinel_user.is_some() || self.sentinel_password.is_some();
        let has_socket = endpoints.iter().any(|endpoint| matches!(endpoint, Endpoint::Unix(_)));
        if has_socket && (self.is_cluster || self.sentinel.is_some()) {
            let member = if self.is_cluster { "cluster" } else { "sentinel" };
            return refuse(member, "", "a Unix socket leads to one server", "name hosts instead");
        }
        match &self.sentinel {
            Some(_) if self.is_cluster => refuse(
                "cluster",
                "true",
                "a cluster has no sentinels",
                "remove one of `cluster` and `sentinel`",
            ),
            Some(master) if master.is_empty() => refuse(
                "sentinel",
                "",
                "the name of the master is empty",
                "write one as in `sentinel=mymaster`",
            ),
            Some(master) => {
                let mut login = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
                if let Some(user) = &self.sentinel_user {
                    login = login.set_username(user);
                }
                if let Some(password) = &self.sentinel_password {
                    login = login.set_password(password);
                }
                Ok(Layout::Sentinel { master: master.clone(), login })
            }
            None if is_of_sentinels => {
                let expected = "name the master as in `sentinel=mymaster`";
                refuse("sentinel_user", "", "the address names no sentinels", expected)
            }
            None if self.is_cluster && login.db() != 0 => {
                let database = login.db().to_string();
                refuse("cluster", &database, "a cluster has only the database 0", "remove the database")
            }
            None if self.is_cluster => Ok(Layout::Cluster),
            None if endpoints.len() > 1 => {
                let problem = "the address names several hosts";
                let expected = "add `?cluster=true`, or `?sentinel=` with the name of the master";
                refuse("redis", &endpoints.len().to_string(), problem, expected)
            }
            None => Ok(Layout::One),
        }
    }
}

fn flag(name: &str, value: &str) -> Result<bool, ConfigError> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => {
            let problem = "the parameter is neither `true` nor `false`";
            Err(ConfigError::new(value, problem, "write `true` or `false`").in_member(name))
        }
    }
}
