//! Networks: in allowlists, in trusted proxies, and of clients that are counted together.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::error::ConfigError;

/// Parses a network, such as `192.0.2.0/24`, or an address, which becomes a network of one address.
///
/// # Errors
///
/// Returns an error if the text is not a network, if the network has host bits, or if it is IPv4 mapped into IPv6. Such
/// a network would match nothing, because a mapped address is compared as IPv4.
///
/// # Example
///
/// ```
/// assert!(tollgate::key::parse_network("2001:db8::/32").is_ok());
/// let error = tollgate::key::parse_network("10.0.0.5/8").unwrap_err();
/// assert!(error.to_string().contains("10.0.0.0/8"));
/// ```
pub fn parse_network(text: &str) -> Result<IpNet, ConfigError> {
    let Ok(network) = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) else {
        let expected = "write one as in `192.0.2.0/24` or `2001:db8::/32`";
        return Err(ConfigError::new(text, "invalid network", expected));
    };
    // The error contains the text as it was written, not as it was parsed.
    refusal(network)
        .map_or(Ok(network), |error| Err(ConfigError::new(text, error.problem(), error.expected())))
}

/// Returns true if a host, as in a URL, is this machine.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.parse::<IpAddr>().map(|address| address.to_canonical());
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// The parts of addresses that identify a network: clients whose addresses have the same first bits are counted
/// together.
///
/// Defaults to 32 bits of an IPv4 address and 64 bits of an IPv6 address.
///
/// # Example
///
/// ```
/// use tollgate::account::NetworkCut;
///
/// let cut = NetworkCut::new(24, 48)?;
/// assert_eq!(cut.of("192.0.2.7".parse().unwrap()).to_string(), "192.0.2.0/24");
/// assert_eq!(cut.of("2001:db8:1:2::7".parse().unwrap()).to_string(), "2001:db8:1::/48");
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkCut {
    ipv4: u8,
    ipv6: u8,
}

impl NetworkCut {
    /// Creates a cut with these numbers of bits.
    ///
    /// # Errors
    ///
    /// Returns an error if `ipv4` is not from 1 to 32, or if `ipv6` is not from 1 to 128.
    pub fn new(ipv4: u8, ipv6: u8) -> Result<Self, ConfigError> {
        Self::of_bits(ipv4.into(), ipv6.into())
    }

    /// Creates a cut with these numbers of bits, which may be out of range.
    pub(crate) fn of_bits(ipv4: u32, ipv6: u32) -> Result<Self, ConfigError> {
        let bits = |member, bits: u32, most: u8, example| {
            let valid = u8::try_from(bits).ok().filter(|bits| (1..=most).contains(bits));
            valid.ok_or_else(|| {
                let problem = format!("the number of bits must be from 1 to {most}");
                let expected = format!("write for example `{member} = {example}`");
                ConfigError::new(bits.to_string(), problem, expected).in_member(member)
            })
        };
        Ok(Self { ipv4: bits("ipv4", ipv4, 32, 24)?, ipv6: bits("ipv6", ipv6, 128, 64)? })
    }

    /// The number of bits of an IPv4 address.
    pub fn ipv4(self) -> u8 {
        self.ipv4
    }

    /// The number of bits of an IPv6 address.
    pub fn ipv6(self) -> u8 {
        self.ipv6
    }

    /// Returns true if each network of this cut is within one network of `other`.
    pub(crate) fn is_within(self, other: Self) -> bool {
        self.ipv4 >= other.ipv4 && self.ipv6 >= other.ipv6
    }

    /// Returns the network of an address. An IPv4 address that is mapped into IPv6 is an IPv4 address.
    pub fn of(self, address: IpAddr) -> IpNet {
        let address = address.to_canonical();
        let bits = if address.is_ipv4() { self.ipv4 } else { self.ipv6 };
        IpNet::new(address, bits).map_or_else(|_| address.into(), |network| network.trunc())
    }
}

impl Default for NetworkCut {
    fn default() -> Self {
        Self { ipv4: 32, ipv6: 64 }
    }
}

/// Returns true if an address is in a network. The bits before the host bits are compared at once.
#[inline]
pub(crate) fn contains(network: &IpNet, address: IpAddr) -> bool {
    match (network, address) {
        (IpNet::V4(network), IpAddr::V4(address)) => {
            let differing = network.addr().to_bits() ^ address.to_bits();
            differing.checked_shr(u32::from(32 - network.prefix_len())).unwrap_or_default() == 0
        }
        (IpNet::V6(network), IpAddr::V6(address)) => {
            let differing = network.addr().to_bits() ^ address.to_bits();
            differing.checked_shr(u32::from(128 - network.prefix_len())).unwrap_or_default() == 0
        }
        _ => false,
    }
}

/// Returns the error for a network that cannot match as it is written.
pub(crate) fn refusal(network: IpNet) -> Option<ConfigError> {
    let refuse =
        |problem: &str, expected: &str| Some(ConfigError::new(network.to_string(), problem, expected));
    if network.addr() != network.network() {
        return refuse("the network has host bits", &format!("write `{}`", network.trunc()));
    }
    match network {
        IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => {
            refuse("IPv4-mapped IPv6 networks are not supported", "write an IPv4 network")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_keeps_the_first_bits() {
        let of = |cut: NetworkCut, address: &str| address.parse().map(|address| cut.of(address).to_string());
        for (address, network) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(of(NetworkCut::default(), address).as_deref(), Ok(network));
        }
        for (ipv4, ipv6, member) in [(0, 64, "ipv4"), (33, 64, "ipv4"), (32, 0, "ipv6"), (32, 129, "ipv6")] {
            let error =
                NetworkCut::new(ipv4, ipv6).map_or_else(|error| error.member().to_owned(), |_| String::new());
            assert_eq!(error, member, "{ipv4} {ipv6}");
        }
    }

    #[test]
    fn network_contains_what_its_prefix_covers() {
        let networks =
            ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.128/25", "192.0.2.7/32", "::/0", "2001:db8::/33", "::1/128"];
        let addresses = [
            "0.0.0.0",
            "10.255.0.1",
            "11.0.0.0",
            "192.0.2.7",
            "192.0.2.128",
            "::",
            "::1",
            "2001:db8::9",
            "2001:db8:8000::",
        ];
        for network in networks.map(|network| network.parse::<IpNet>().unwrap_or_default()) {
            for address in addresses.map(|address| address.parse::<IpAddr>().unwrap_or(IpAddr::from([0; 4])))
            {
                assert_eq!(contains(&network, address), network.contains(&address), "{address} in {network}");
            }
        }
    }
}
