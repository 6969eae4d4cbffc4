//! The client's address, as reported by trusted proxies.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderName;
use ipnet::IpNet;
use smallvec::SmallVec;

use crate::error::ConfigError;
use crate::header;
use crate::network::contains;
use crate::request::{Channel, RequestView};

/// The proxies that are trusted to report the client's address. Defaults to none.
///
/// One header is read from right to left. While an address belongs to a trusted proxy, the address to its left is
/// examined. The first other address is the client's. An element that is not an address ends the search, and the
/// client's address is then unknown. If all addresses are trusted, the client's address is the peer's.
///
/// # Example
///
/// ```
/// use tollgate::gate::TrustedProxies;
///
/// let proxies = TrustedProxies::new(["10.0.0.0/8".parse().unwrap()]);
/// assert!(proxies.reading("x-real-ip").is_ok());
/// ```
#[derive(Debug, Clone)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    header: HeaderName,
    /// The header's name as configured, if it was.
    named: Option<String>,
    /// False if connections have no peer address.
    has_peers: bool,
}

impl Default for TrustedProxies {
    fn default() -> Self {
        Self::new([])
    }
}

impl TrustedProxies {
    /// Trusts the proxies in these networks and their `X-Forwarded-For` header.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let header = HeaderName::from_static("x-forwarded-for");
        Self { networks: networks.into_iter().collect(), header, named: None, has_peers: true }
    }

    /// Reads another header. It must contain only addresses, separated by commas.
    ///
    /// # Errors
    ///
    /// Returns an error if the name is not a valid header name, or if the header has another meaning to clients, proxies
    /// and servers, such as `Host`. `Forwarded` is an error too, because its syntax is not supported.
    pub fn reading(mut self, name: &str) -> Result<Self, ConfigError> {
        let refuse = |problem: &str| {
            let expected = "write a header that contains plain addresses, as in `X-Forwarded-For`";
            ConfigError::new(name, problem, expected).in_member("header")
        };
        self.header = name.parse().map_err(|_| refuse("invalid header name"))?;
        if self.header == http::header::FORWARDED {
            return Err(refuse("the syntax of this header is not supported"));
        }
        if header::is_reserved(&self.header) {
            return Err(refuse(header::MEANS_SOMETHING_ELSE));
        }
        self.named = Some(name.to_owned());
        Ok(self)
    }

    /// States that connections have no peer address, as over a Unix socket. No client's address is known then. A gate that
    /// counts networks, or that trusts a proxy, is refused when it is built.
    #[must_use]
    pub fn without_peers(mut self) -> Self {
        self.has_peers = false;
        self
    }

    /// Returns true if connections have a peer address.
    pub(crate) fn has_peers(&self) -> bool {
        self.has_peers
    }

    /// Returns true if any proxy is trusted.
    pub(crate) fn trusts_anyone(&self) -> bool {
        !self.networks.is_empty()
    }

    /// The networks of the trusted proxies.
    pub(crate) fn networks(&self) -> &[IpNet] {
        &self.networks
    }

    /// The header's name as configured. `None` if it was not.
    pub(crate) fn named(&self) -> Option<&str> {
        self.named.as_deref()
    }

    /// The header that is read.
    pub(crate) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Returns true if the peer on the socket is a trusted proxy.
    #[inline]
    pub(crate) fn trusts_peer(&self, view: &RequestView<'_>) -> bool {
        !self.networks.is_empty() && view.peer().is_some_and(|peer| self.trusts(peer))
    }

    /// Returns true if the request came over an encrypted channel: by the word of a trusted proxy, or else by that of the
    /// server.
    pub(crate) fn is_encrypted(&self, view: &RequestView<'_>) -> bool {
        static PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
        let (mut is_told, mut is_secure) = (false, true);
        if self.trusts_peer(view) {
            view.each(&PROTO, &mut |line| {
                for proto in line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    is_told = true;
                    is_secure &= proto.eq_ignore_ascii_case(b"https") || proto.eq_ignore_ascii_case(b"wss");
                }
            });
        }
        if is_told { is_secure } else { view.channel() == Some(Channel::Tls) }
    }

    /// Returns the client's address, or `None` if it is unknown.
    #[inline]
    pub(crate) fn client(&self, view: &RequestView<'_>) -> Option<IpAddr> {
        let peer = view.peer()?.to_canonical();
        if self.networks.is_empty() || !self.trusts(peer) { Some(peer) } else { self.behind(peer, view) }
    }

    /// Returns the address of the client behind a trusted peer.
    fn behind(&self, peer: IpAddr, view: &RequestView<'_>) -> Option<IpAddr> {
        let mut lines: SmallVec<[&[u8]; 4]> = SmallVec::new();
        view.each(&self.header, &mut |line| lines.push(line));
        for element in lines.iter().rev().flat_map(|line| line.rsplit(|&byte| byte == b',')) {
            match address(element) {
                None => return None,
                Some(hop) if self.trusts(hop) => {}
                Some(hop) => return Some(hop),
            }
        }
        Some(peer)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| contains(network, address))
    }
}

/// Parses an address in the forms that proxies write: plain, or with a port. An IPv6 address with a port is in
/// brackets. A zone is accepted only for link-local addresses, and is removed.
fn address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?.trim_matches([' ', '\t']);
    let plain = || text.parse::<IpAddr>().ok();
    let with_port =
        || text.parse::<SocketAddr>().ok().filter(|_| !text.contains('%')).map(|socket| socket.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let zoned = || {
        let (address, _zone) = text.split_once('%')?;
        let address = address.parse::<Ipv6Addr>().ok()?;
        address.is_unicast_link_local().then_some(IpAddr::V6(address))
    };
    plain().or_else(with_port).or_else(bracketed).or_else(zoned).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn only_proxy_address_forms_are_parsed() {
        let read = |text: &str| address(text.as_bytes()).map(|address| address.to_string());
        assert_eq!(read(" 1.2.3.4 ").as_deref(), Some("1.2.3.4"));
        assert_eq!(read("1.2.3.4:80").as_deref(), Some("1.2.3.4"));
        assert_eq!(read("[::1]:80").as_deref(), Some("::1"));
        assert_eq!(read("[::1]").as_deref(), Some("::1"));
        assert_eq!(read("::ffff:1.2.3.4").as_deref(), Some("1.2.3.4"));
        assert_eq!(read("fe80::1%eth0").as_deref(), Some("fe80::1"));
        for refused in
            ["", "unknown", "010.0.0.1", "10.1", "0x0a000001", "::1%eth0", "1.2.3.4.", "1.2.3.4 5", "_hidden"]
        {
            assert_eq!(read(refused), None, "{refused}");
        }
    }
}
