//! The tables `anonymous` and `attempts`, and the table `network` in them.

use serde::Deserialize;

use crate::account::{NetworkCut, QuotaPolicy};
use crate::config::text::Text;
use crate::error::ConfigError;
use crate::gate::{AttemptLimit, GateBuilder};

/// The plan of requests without a key: see [`GateBuilder::anonymous`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnonymousConfig {
    /// The name of the plan.
    pub plan: String,
    /// The parts of addresses that identify a network.
    #[serde(default)]
    pub network: NetworkConfig,
}

impl AnonymousConfig {
    pub(super) fn apply(&self, builder: GateBuilder) -> Result<GateBuilder, ConfigError> {
        let cut = self.network.cut().map_err(|error| error.in_member("anonymous.network"))?;
        Ok(builder.anonymous(self.plan.as_str(), cut))
    }
}

/// The limit on requests without a valid key: see [`AttemptLimit`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptsConfig {
    /// The number of such requests that each network may send, as in `20 per minute`.
    pub quota: Text<QuotaPolicy>,
    /// The number of such requests that each network may send at once. Defaults to the quota.
    #[serde(default)]
    pub burst: Option<u32>,
    /// The parts of addresses that identify a network.
    #[serde(default)]
    pub network: NetworkConfig,
}

/// The parts of addresses that identify a network.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// The number of bits of an IPv4 address. Defaults to 32.
    pub ipv4: Option<u32>,
    /// The number of bits of an IPv6 address. Defaults to 64.
    pub ipv6: Option<u32>,
}

impl AttemptsConfig {
    pub(super) fn limit(&self) -> Result<AttemptLimit, ConfigError> {
        let cut = self.network.cut().map_err(|error| error.in_member("network"))?;
        let mut quota = self.quota.0.clone();
        if let Some(burst) = self.burst {
            quota = quota.with_burst(burst)?;
        }
        Ok(AttemptLimit::new(quota)?.with_network(cut))
    }
}

impl NetworkConfig {
    pub(super) fn cut(&self) -> Result<NetworkCut, ConfigError> {
        let cut = NetworkCut::default();
        let ipv4 = self.ipv4.unwrap_or_else(|| cut.ipv4().into());
        NetworkCut::of_bits(ipv4, self.ipv6.unwrap_or_else(|| cut.ipv6().into()))
    }
}
