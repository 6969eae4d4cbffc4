//! Networks, as allowlists and trusted proxies name them.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::ConfigError;

/// Reads a network, such as `192.0.2.0/24`, or an address, which is a network of one.
///
/// # Errors
///
/// What is no network, one with host bits, and IPv4 mapped into IPv6, which would match nothing: such an address is
/// compared as IPv4.
///
/// # Example
///
/// ```
/// assert!(tollgate::parse_network("2001:db8::/32").is_ok());
/// let error = tollgate::parse_network("10.0.0.5/8").unwrap_err();
/// assert!(error.to_string().contains("10.0.0.0/8"));
/// ```
pub fn parse_network(text: &str) -> Result<IpNet, ConfigError> {
    let Ok(network) = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) else {
        let expected = "write one as in `192.0.2.0/24` or `2001:db8::/32`";
        return Err(ConfigError::new(text, "this is no network", expected));
    };
    // The value is told as it was written, not as it reads.
    refusal(network)
        .map_or(Ok(network), |error| Err(ConfigError::new(text, error.problem(), error.expected())))
}

/// Why a network cannot be meant as it stands.
pub(crate) fn refusal(network: IpNet) -> Option<ConfigError> {
    let refuse =
        |problem: &str, expected: &str| Some(ConfigError::new(network.to_string(), problem, expected));
    if network.addr() != network.network() {
        return refuse("the network has host bits", &format!("write `{}`", network.trunc()));
    }
    match network {
        IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => {
            refuse("an IPv4 address is never compared in this form", "write it as an IPv4 network")
        }
        _ => None,
    }
}
