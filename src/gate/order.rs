//! The checks and their order.

use std::str::FromStr;

use crate::account::ShadowChecks;
use crate::error::ConfigError;
use crate::words;

/// One check of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// Requires exactly one presented key, which matches a format.
    Format,
    /// Requires that the key is in the store.
    LookUp,
    /// Requires that the key is not revoked, expired or paused.
    KeyStatus,
    /// Requires that the account is neither suspended nor deleted.
    AccountStatus,
    /// Requires the subscription, if the rule requires one.
    Subscription,
    /// Requires the agreements that the rule names, signed by the account.
    Agreements,
    /// Requires that the client's address is on the key's allowlist.
    Addresses,
    /// Requires a free slot of every limit on requests in flight.
    InFlight,
    /// Requires that all quota windows admit the request.
    RateLimits,
    /// Requires that the balance covers the cost.
    Credits,
    /// Requires that the rule's scopes and the key's paths admit a restricted key.
    Scopes,
    /// Requires that the rule is open to the plan.
    Plan,
    /// Requires that the query respects the limits on parameters.
    ParamLimits,
}

impl Check {
    /// All checks, in the default order. Slots, quotas and credits are taken only after all free checks have passed. A
    /// request without a slot draws from no quota. A client from an address that is not allowed learns nothing about the
    /// key.
    pub const ALL: &'static [Self] = &[
        Self::Format,
        Self::LookUp,
        Self::Addresses,
        Self::KeyStatus,
        Self::AccountStatus,
        Self::Subscription,
        Self::Agreements,
        Self::Scopes,
        Self::Plan,
        Self::ParamLimits,
        Self::InFlight,
        Self::RateLimits,
        Self::Credits,
    ];

    /// The name of the check in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::LookUp => "look_up",
            Self::KeyStatus => "key_status",
            Self::AccountStatus => "account_status",
            Self::Subscription => "subscription",
            Self::Agreements => "agreements",
            Self::Addresses => "addresses",
            Self::InFlight => "in_flight",
            Self::RateLimits => "rate_limits",
            Self::Credits => "credits",
            Self::Scopes => "scopes",
            Self::Plan => "plan",
            Self::ParamLimits => "caps",
        }
    }

    /// Returns all checks in a configured order. Every check is always made: checks that the order does not name follow
    /// after the named ones, in the order of [`Check::ALL`].
    pub(crate) fn in_order(named: &[Self]) -> Result<Vec<Self>, ConfigError> {
        let refuse = |place: usize, value: &str, problem, expected: &str| {
            Err(ConfigError::new(value, problem, expected).in_member(format!("order[{place}]")))
        };
        if !named.is_empty() && !named.starts_with(&[Self::Format, Self::LookUp]) {
            let place = usize::from(named[0] == Self::Format);
            let found = named.get(place).map_or("", |check| check.name());
            let expected = "begin with `format`, `look_up`";
            return refuse(place, found, "`format` and `look_up` must be the first checks", expected);
        }
        for (place, check) in named.iter().enumerate() {
            if let Some(other) = named[..place].iter().position(|earlier| earlier == check) {
                let verdict = refuse(place, check.name(), "duplicate check in the order", "list it once");
                return verdict.map_err(|error| error.beside(format!("order[{other}]")));
            }
        }
        let rest = Self::ALL.iter().filter(|check| !named.contains(check));
        Ok(named.iter().chain(rest).copied().collect())
    }
}

/// The checks after the key's look-up, in their order.
#[derive(Debug)]
pub(super) struct Checks {
    pub(super) every: Vec<Check>,
    /// The checks that take a slot, draw or charge. The others have no side effects, so their order does not matter if all of them
    /// pass.
    pub(super) spending: Vec<Check>,
}

impl Checks {
    pub(super) fn new(order: Vec<Check>) -> Self {
        let every: Vec<Check> =
            order.into_iter().filter(|check| !matches!(check, Check::Format | Check::LookUp)).collect();
        let takes = |check: &Check| matches!(check, Check::InFlight | Check::RateLimits | Check::Credits);
        let spending = every.iter().copied().filter(takes).collect();
        Self { every, spending }
    }
}

impl Check {
    /// Returns the set of this check alone.
    #[inline]
    pub(crate) const fn shadow(self) -> ShadowChecks {
        ShadowChecks::of(self as u32)
    }
}

impl FromIterator<Check> for ShadowChecks {
    fn from_iter<I: IntoIterator<Item = Check>>(checks: I) -> Self {
        checks.into_iter().map(Check::shadow).fold(Self::NONE, Self::with)
    }
}

impl FromStr for Check {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|check| check.name() == text).ok_or_else(|| {
            let names = Self::ALL.iter().map(|check| check.name());
            ConfigError::new(text, "unknown check", words::one_of(text, names))
        })
    }
}
