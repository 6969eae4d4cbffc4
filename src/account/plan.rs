//! What a plan grants.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::account::OwnQuota;
use crate::account::{Caps, Grant};
use crate::error::ConfigError;
use crate::name::PlanName;

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

impl Lifetime {
    /// Whether keys can live so long: the three rise, and no key has expired when it is made.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |member: &str, value, problem: &str| {
            let expected = "write times so that shortest, default and longest rise, or leave it out";
            Err(ConfigError::new(as_written(value), problem, expected).in_member(member))
        };
        let named = [("shortest", self.shortest), ("default", self.default), ("longest", self.longest)];
        let said: Vec<_> = named.into_iter().filter_map(|(name, time)| Some((name, time?))).collect();
        if let Some((name, time)) = said.iter().find(|(name, time)| time.is_zero() && *name != "shortest") {
            return refuse(name, *time, "a key would have expired when it is made");
        }
        for pair in said.windows(2) {
            if let [(name, time), (next, most)] = pair
                && time > most
            {
                let problem = format!("this is more than the {next}, which is `{}`", as_written(*most));
                return refuse(name, *time, &problem);
            }
        }
        Ok(())
    }
}

/// A time as a configuration writes it: in the largest unit of which it is a whole number.
pub(crate) fn as_written(time: Duration) -> String {
    let units = [(86_400_000, "day"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let millis = time.as_millis();
    let whole = |(size, _): &&(u128, &str)| millis > 0 && millis.is_multiple_of(*size);
    match units.iter().find(whole) {
        Some((size, unit)) if time.subsec_nanos().is_multiple_of(1_000_000) => {
            let plural = if *unit == "day" && millis > *size { "s" } else { "" };
            format!("{}{unit}{plural}", millis / size)
        }
        _ if time.is_zero() => "0s".to_owned(),
        _ => format!("{time:?}"),
    }
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
    type Err = crate::error::ConfigError;

    /// Reads a quota, or else the name of one.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(' ') { text.parse().map(Self::Policy) } else { Ok(Self::Named(text.to_owned())) }
    }
}
