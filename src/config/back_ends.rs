//! The tables under `back_ends`: the guards of the back ends, and the answers while they fail.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::config::text::NotTaken;
use crate::config::{Never, OneOf, Span, Text, Written};
use crate::error::ConfigError;
use crate::gate::GateBuilder;
use crate::words;

/// The policies for the back ends that the service gives the gate. A back end without a table is used as it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackEndsConfig {
    /// The policy for the key store.
    pub store: Option<StorePolicyConfig>,
    /// The policy for the rate limiter.
    pub limiter: Option<LimiterPolicyConfig>,
    /// The policy for the ledger.
    pub ledger: Option<LedgerPolicyConfig>,
}

/// The policy for the key store.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorePolicyConfig {
    /// The maximum duration of one call. Defaults to `1s`.
    pub timeout: Option<Text<Span>>,
    /// The maximum number of calls that wait at once. Defaults to 1024.
    pub waiting: Option<usize>,
    /// The number of consecutive failures that open the circuit. Defaults to 5.
    pub failures: Option<u32>,
    /// The time for which the circuit stays open before one call probes the store. Defaults to `500ms`.
    pub cooldown: Option<Text<Span>>,
    /// The answer while the store fails. Defaults to `deny`.
    pub on_failure: Option<OneOf<Never, DenyOnFailure, StaleConfig>>,
}

/// The time for which known keys are served while the key store fails.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaleConfig {
    /// The time for which a known key is served.
    pub stale: Text<Span>,
    /// The time for which a record that was read is used without another read. Defaults to `10s`.
    #[serde(default)]
    pub cache: Option<Text<Span>>,
}

/// The policy for the rate limiter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimiterPolicyConfig {
    /// The maximum duration of one call. Defaults to `1s`.
    pub timeout: Option<Text<Span>>,
    /// The maximum number of calls that wait at once. Defaults to 1024.
    pub waiting: Option<usize>,
    /// The number of consecutive failures that open the circuit. Defaults to 5.
    pub failures: Option<u32>,
    /// The time for which the circuit stays open before one call probes the limiter. Defaults to `500ms`.
    pub cooldown: Option<Text<Span>>,
    /// The answer while the limiter fails. Defaults to `deny`.
    pub on_failure: Option<Text<OnLimiterFailure>>,
    /// The number of nodes that share the quotas while the limiter fails. Only with `local`. Defaults to 1.
    pub nodes: Option<u32>,
}

/// The policy for the ledger.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerPolicyConfig {
    /// The maximum duration of one call. Defaults to `1s`.
    pub timeout: Option<Text<Span>>,
    /// The maximum number of calls that wait at once. Defaults to 1024.
    pub waiting: Option<usize>,
    /// The number of consecutive failures that open the circuit. Defaults to 5.
    pub failures: Option<u32>,
    /// The time for which the circuit stays open before one call probes the ledger. Defaults to `500ms`.
    pub cooldown: Option<Text<Span>>,
    /// The answer while the ledger fails: `deny`.
    pub on_failure: Option<Text<DenyAlways>>,
}

/// The answer `deny`: requests are denied with 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenyOnFailure;

impl FromStr for DenyOnFailure {
    type Err = NotTaken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "deny" { Ok(Self) } else { Err(NotTaken) }
    }
}

impl Written for DenyOnFailure {
    const HOW: &'static str = "`\"deny\"`";
}

impl Written for StaleConfig {
    const HOW: &'static str = "a table as in `{ stale = \"5min\" }`";
}

/// The only answer while a ledger fails: requests are denied with 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenyAlways;

impl FromStr for DenyAlways {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "deny" {
            return Ok(Self);
        }
        let problem = "a ledger that fails can only deny, because credits must not be spent twice";
        Err(ConfigError::new(text, problem, "write `deny`, or leave the member out"))
    }
}

/// The answer while a rate limiter fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLimiterFailure {
    /// Requests are denied with 503.
    Deny,
    /// Each node limits by its share.
    Local,
    /// Requests are admitted without a limit.
    Allow,
}

impl FromStr for OnLimiterFailure {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "deny" => Ok(Self::Deny),
            "local" => Ok(Self::Local),
            "allow" => Ok(Self::Allow),
            _ => {
                let expected = words::one_of(text, ["deny", "local", "allow"].into_iter());
                Err(ConfigError::new(text, "unknown answer to a failure", expected))
            }
        }
    }
}

impl LimiterPolicyConfig {
    /// Returns the number of nodes for the answer `local`.
    fn nodes(&self) -> Result<NonZeroU32, ConfigError> {
        let is_local = self.on_failure.as_ref().is_some_and(|answer| answer.0 == OnLimiterFailure::Local);
        let refuse = |nodes: u32, problem: &str, expected: &str| {
            let error = ConfigError::new(nodes.to_string(), problem, expected);
            Err(error.in_member("back_ends.limiter.nodes"))
        };
        match self.nodes {
            Some(nodes) if !is_local => {
                let expected = "write `on_failure = \"local\"` beside it, or leave it out";
                refuse(nodes, "only `local` divides quotas among nodes", expected)
            }
            Some(nodes) => match NonZeroU32::new(nodes) {
                Some(nodes) => Ok(nodes),
                None => refuse(0, "there must be a node", "write the number of nodes, 1 or more"),
            },
            None => Ok(NonZeroU32::MIN),
        }
    }
}

#[cfg(feature = "fleet")]
impl BackEndsConfig {
    /// Returns the builder with these policies.
    pub(super) fn apply(&self, builder: GateBuilder) -> Result<GateBuilder, ConfigError> {
        use crate::guard::{BackEndPolicies, LimiterFailure, LimiterPolicy, StorePolicy};

        let mut policies = BackEndPolicies::default();
        if let Some(given) = &self.store {
            let limits =
                limits(given.timeout.as_ref(), given.waiting, given.failures, given.cooldown.as_ref());
            let mut policy = StorePolicy { limits, ..StorePolicy::default() };
            if let Some(OneOf::Table(table)) = &given.on_failure {
                policy.stale = Some(table.stale.0.0);
                policy.cache = time(table.cache.as_ref(), policy.cache);
            }
            policies.store = Some(policy);
        }
        if let Some(given) = &self.limiter {
            let nodes = given.nodes()?;
            let on_failure = match given.on_failure.as_ref().map(|answer| answer.0) {
                None | Some(OnLimiterFailure::Deny) => LimiterFailure::Deny,
                Some(OnLimiterFailure::Local) => LimiterFailure::Local(nodes),
                Some(OnLimiterFailure::Allow) => LimiterFailure::Allow,
            };
            let limits =
                limits(given.timeout.as_ref(), given.waiting, given.failures, given.cooldown.as_ref());
            policies.limiter = Some(LimiterPolicy { limits, on_failure });
        }
        policies.ledger = self.ledger.as_ref().map(|given| {
            limits(given.timeout.as_ref(), given.waiting, given.failures, given.cooldown.as_ref())
        });
        Ok(builder.back_end_policies(policies))
    }
}

#[cfg(feature = "fleet")]
fn limits(
    timeout: Option<&Text<Span>>,
    waiting: Option<usize>,
    failures: Option<u32>,
    cooldown: Option<&Text<Span>>,
) -> crate::guard::GuardLimits {
    let mut limits = crate::guard::GuardLimits::default();
    limits.time = time(timeout, limits.time);
    // A caller that leaves earlier than the time limit is a failure, too.
    limits.given_up = limits.given_up.min(limits.time);
    limits.waiting = waiting.unwrap_or(limits.waiting);
    limits.failures = failures.unwrap_or(limits.failures);
    limits.cooldown = time(cooldown, limits.cooldown);
    limits
}

#[cfg(feature = "fleet")]
fn time(given: Option<&Text<Span>>, otherwise: Duration) -> Duration {
    given.map_or(otherwise, |given| given.0.0)
}

#[cfg(not(feature = "fleet"))]
impl BackEndsConfig {
    pub(super) fn apply(&self, builder: GateBuilder) -> Result<GateBuilder, ConfigError> {
        let member = match self {
            Self { store: Some(_), .. } => "back_ends.store",
            Self { limiter: Some(_), .. } => "back_ends.limiter",
            Self { ledger: Some(_), .. } => "back_ends.ledger",
            _ => return Ok(builder),
        };
        let expected = "enable the feature `fleet`, or leave the table out";
        Err(ConfigError::new("", "this build has no guards of back ends", expected).in_member(member))
    }
}
