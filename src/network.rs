//! Networks in allowlists and in trusted proxies.

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
