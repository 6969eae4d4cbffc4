//! What a plan grants.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::account::OwnQuota;
use crate::{Caps, Grant, PlanName};

/// What a plan gives in credits. Nothing, zero and no limit are three things.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Allowance {
    /// Nothing: an account spends what its balance was set to.
    #[default]
    None,
    /// So much, again at every period.
    Grant(Grant),
    /// No limit: requests are not charged.
    Unlimited,
}

/// How long a plan's keys live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifetime {
    /// Where none is asked for; `None` for ever.
    pub default: Option<Duration>,
    /// The shortest that may be asked for.
    pub shortest: Option<Duration>,
    /// The longest that may be asked for.
    pub longest: Option<Duration>,
}

/// A plan, as data: what the accounts on it may do.
///
/// # Example
///
/// ```
/// use tollgate::Plan;
///
/// let mut plan = Plan::new("pro");
/// plan.rank = Some(2);
/// plan.quotas.push("600 per minute".parse()?);
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Its name.
    pub name: PlanName,
    /// Its place among the plans: a rule that asks for a plan admits those of the same rank or higher. `None` where it
    /// stands outside their order, as a demo plan does: such a rule admits it only if it names it.
    pub rank: Option<u32>,
    /// How many requests in which time; none is no limit.
    pub quotas: Vec<OwnQuota>,
    /// What it gives in credits.
    pub credits: Allowance,
    /// What it allows of a request's query.
    pub caps: Caps,
    /// What else it includes, by name.
    pub features: BTreeSet<String>,
    /// How many active keys an account may hold; `None` for any number.
    pub max_keys: Option<u32>,
    /// Whether its keys may manage keys through the service's own endpoints.
    pub manages_keys: bool,
    /// How long its keys live.
    pub lifetime: Lifetime,
}

impl Plan {
    /// A plan without limits, credits or features.
    pub fn new(name: impl Into<PlanName>) -> Self {
        Self {
            name: name.into(),
            rank: None,
            quotas: Vec::new(),
            credits: Allowance::None,
            caps: Caps::default(),
            features: BTreeSet::new(),
            max_keys: None,
            manages_keys: true,
            lifetime: Lifetime::default(),
        }
    }
}

impl std::str::FromStr for OwnQuota {
    type Err = crate::ConfigError;

    /// Reads a quota, or else the name of one.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(' ') { text.parse().map(Self::Policy) } else { Ok(Self::Named(text.to_owned())) }
    }
}
