//! Plans and quotas in the configuration file.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde::Deserialize;

use crate::account::as_written;
use crate::account::{
    Allowance, Budget, CalendarUnit, CurrencyTerms, ExpiredRefunds, Grant, GrantPeriod, InFlightLimit,
    Lifetime, NetworkCut, Overage, ParamLimit, ParamLimits, Plan, PlanRule, QuotaPolicy, QuotaRef,
    QuotaScope, Rollover,
};
use crate::amount::{Credits, Currency};
use crate::config::ShadowConfig;
use crate::config::attempts::NetworkConfig;
use crate::config::text::{Never, OneOf, Span, Text, Written};
use crate::error::ConfigError;

/// A plan: its quotas, credits, limits on parameters, features and keys.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlanConfig {
    /// The rank of the plan among the plans.
    pub rank: Option<u32>,
    /// The quotas: how many requests each window allows.
    pub quotas: Vec<QuotaConfig>,
    /// The limit on requests in flight. Defaults to no limit.
    pub in_flight: Option<InFlightConfig>,
    /// The terms of the plan for single rules, by a route of the rule.
    pub rules: BTreeMap<String, PlanRuleConfig>,
    /// The credits that the plan grants. Defaults to none.
    pub credits: Option<CreditsConfig>,
    /// The credits that each key may spend in each period. Defaults to no budget.
    pub budget: Option<BudgetConfig>,
    /// The grants and budgets in other currencies than `credits`.
    pub currencies: BTreeMap<String, CurrencyConfig>,
    /// The policy for a final cost above the charge that the credits do not cover: `cap` or `debt`. Defaults to `cap`.
    pub overage: Option<Text<Overage>>,
    /// The policy for credits that are returned to a bucket that has expired: `forfeit` or `keep`. Defaults to
    /// `forfeit`.
    pub expired_refunds: Option<Text<ExpiredRefunds>>,
    /// The limits on query parameters, by parameter name.
    pub caps: BTreeMap<String, ParamLimitConfig>,
    /// The names of the features that the plan includes.
    pub features: BTreeSet<String>,
    /// The highest number of active keys of an account. Defaults to unlimited.
    pub max_keys: Option<MaxKeys>,
    /// True if the plan's keys may manage keys. Defaults to `true`.
    pub manages_keys: Option<bool>,
    /// The lifetime of the plan's keys.
    pub key_lifetime: LifetimeConfig,
    /// The checks that are made in shadow for keys on the plan.
    pub shadow: ShadowConfig,
}

/// The terms that a plan has for one rule.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlanRuleConfig {
    /// The quotas of the rule for keys on the plan.
    pub quotas: Vec<QuotaConfig>,
}

/// The lifetime of a plan's keys.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LifetimeConfig {
    /// The lifetime of a key whose request asks for none.
    pub default: Option<Text<Span>>,
    /// The shortest lifetime that may be requested.
    pub shortest: Option<Text<Span>>,
    /// The longest lifetime that may be requested.
    pub longest: Option<Text<Span>>,
}

impl LifetimeConfig {
    fn lifetime(&self) -> Lifetime {
        let time = |span: &Option<Text<Span>>| span.as_ref().map(|span| span.0.0);
        Lifetime {
            default: time(&self.default),
            shortest: time(&self.shortest),
            longest: time(&self.longest),
        }
    }
}

/// A quota: `"60 per minute"`, the name of a quota under `[quotas]`, or a table that also names what the quota counts.
pub type QuotaConfig = OneOf<Never, QuotaRef, QuotaTable>;

/// A quota with the key, account, network or pool whose requests it counts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaTable {
    /// The quota, as in `60 per minute`.
    pub quota: Text<QuotaPolicy>,
    /// The owner whose requests the quota counts: `key`, `account`, `network` or `pool:NAME`. Defaults to `key`.
    #[serde(default)]
    pub counts: Option<Text<QuotaScope>>,
    /// The parts of addresses that identify a network, for a quota that counts networks.
    #[serde(default)]
    pub network: Option<NetworkConfig>,
    /// The number of requests that a full window admits at once. Defaults to the quota.
    #[serde(default)]
    pub burst: Option<u32>,
    /// The name of the quota. Defaults to the name of its window.
    #[serde(default)]
    pub name: Option<String>,
    /// The unit of the quota, as in `tokens`. With `requests`, the quota counts each request once, whatever its weight.
    #[serde(default)]
    pub unit: Option<String>,
    /// True if the quota is counted, and denies no request.
    #[serde(default)]
    pub shadow: bool,
}

/// A limit on requests in flight: a number, or a table that also names what the limit counts.
pub type InFlightConfig = OneOf<u32, Never, InFlightTable>;

/// A limit on requests in flight with the key, account, network or pool whose requests it counts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InFlightTable {
    /// The maximum number of requests in flight.
    pub most: u32,
    /// The owner whose requests the limit counts: `key`, `account`, `network` or `pool:NAME`. Defaults to `key`.
    #[serde(default)]
    pub counts: Option<Text<QuotaScope>>,
    /// The parts of addresses that identify a network, for a limit that counts networks.
    #[serde(default)]
    pub network: Option<NetworkConfig>,
}

impl Written for InFlightTable {
    const HOW: &'static str = "a table as in `{ most = 8, counts = \"account\" }`";
}

impl InFlightConfig {
    pub(super) fn limit(&self) -> Result<InFlightLimit, ConfigError> {
        let table = match self {
            Self::Number(most) => {
                return InFlightLimit::new(*most).map_err(|error| error.in_member("in_flight"));
            }
            Self::Text(never) => match *never {},
            Self::Table(table) => table,
        };
        let counts = scope(table.counts.as_ref(), table.network.as_ref());
        let counts = counts.map_err(|error| error.in_member("in_flight"))?;
        let limit = InFlightLimit::new(table.most).map_err(|error| error.in_member("in_flight.most"))?;
        Ok(limit.counting(counts))
    }
}

impl Written for QuotaRef {
    const HOW: &'static str = "a quota as in `\"60 per minute\"`";
}

impl Written for QuotaTable {
    const HOW: &'static str = "a table as in `{ quota = \"60 per minute\", counts = \"account\" }`";
}

impl FromStr for QuotaScope {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.strip_prefix("pool:")) {
            ("key", _) => Ok(Self::Key),
            ("account", _) => Ok(Self::Account),
            ("network", _) => Ok(Self::Network(NetworkCut::default())),
            (_, Some(name)) if !name.is_empty() => Ok(Self::Pool(name.into())),
            _ => Err(ConfigError::new(
                text,
                "unknown value for `counts`",
                "write `key`, `account`, `network` or `pool:NAME`",
            )),
        }
    }
}

/// Credits: `"unlimited"`, or a grant.
pub type CreditsConfig = OneOf<Never, Unlimited, GrantConfig>;

/// The grant and the budget of a plan in a currency.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CurrencyConfig {
    /// The credits that the plan grants. Defaults to none.
    pub credits: Option<CreditsConfig>,
    /// The credits that each key may spend in each period. Defaults to no budget.
    pub budget: Option<BudgetConfig>,
}

/// A budget: an amount, and either `every` or `calendar`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetConfig {
    /// The amount that a key may spend in each period.
    pub amount: u64,
    /// The time between the starts of two periods.
    #[serde(default)]
    pub every: Option<Text<Span>>,
    /// The calendar unit at whose start a period starts: `hour`, `day` or `month`.
    #[serde(default)]
    pub calendar: Option<Text<CalendarUnit>>,
    /// The IANA time zone of the calendar.
    #[serde(default)]
    pub zone: Option<String>,
}

/// The unspent credits that are left to the next period of a grant.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RolloverConfig {
    /// The least amount. Defaults to 0.
    pub least: u64,
    /// The greatest amount. Defaults to `least`.
    pub most: Option<u64>,
}

/// A grant: an amount, and either `every` or `calendar`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantConfig {
    /// The balance after each refill.
    pub amount: u64,
    /// The time between two refills.
    #[serde(default)]
    pub every: Option<Text<Span>>,
    /// The calendar unit whose start refills the balance: `hour`, `day` or `month`.
    #[serde(default)]
    pub calendar: Option<Text<CalendarUnit>>,
    /// The IANA time zone of the calendar.
    #[serde(default)]
    pub zone: Option<String>,
    /// The priority of the granted credits: credits of a lower number are spent first. Defaults to 100.
    #[serde(default)]
    pub priority: Option<u16>,
    /// The unspent credits that are left to the next period. Defaults to none.
    #[serde(default)]
    pub rollover: Option<RolloverConfig>,
}

impl Written for GrantConfig {
    const HOW: &'static str = "a table as in `{ amount = 1000, calendar = \"month\", zone = \"UTC\" }`";
}

/// The word `unlimited`.
#[derive(Debug, Clone, Copy)]
pub struct Unlimited;

impl Written for Unlimited {
    const HOW: &'static str = "`\"unlimited\"`";
}

impl FromStr for Unlimited {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "unlimited" {
            return Ok(Self);
        }
        Err(ConfigError::new(text, "invalid value", "write `unlimited`, or a limit"))
    }
}

/// A limit on a query parameter: a highest number, or `"forbidden"`.
pub type ParamLimitConfig = OneOf<u64, Forbidden, Never>;

/// The word `forbidden`.
#[derive(Debug, Clone, Copy)]
pub struct Forbidden;

impl Written for Forbidden {
    const HOW: &'static str = "`\"forbidden\"`";
}

impl FromStr for Forbidden {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "forbidden" {
            return Ok(Self);
        }
        Err(ConfigError::new(text, "invalid cap", "write the largest allowed number, or `forbidden`"))
    }
}

/// The highest number of active keys: a number, or `"unlimited"`.
pub type MaxKeys = OneOf<u32, Unlimited, Never>;

/// Returns the owner whose requests a limit counts together.
fn scope(
    counts: Option<&Text<QuotaScope>>,
    network: Option<&NetworkConfig>,
) -> Result<QuotaScope, ConfigError> {
    let mut counts = counts.map(|counts| counts.0.clone()).unwrap_or_default();
    if let Some(network) = network {
        let QuotaScope::Network(cut) = &mut counts else {
            let problem = "`network` is only valid with `counts = \"network\"`";
            let expected = "write `counts = \"network\"`, or leave `network` out";
            return Err(ConfigError::new("", problem, expected).in_member("network"));
        };
        *cut = network.cut().map_err(|error| error.in_member("network"))?;
    }
    Ok(counts)
}

impl QuotaConfig {
    pub(super) fn quota(&self) -> Result<QuotaRef, ConfigError> {
        let table = match self {
            Self::Number(never) => match *never {},
            Self::Text(quota) => return Ok(quota.clone()),
            Self::Table(table) => table,
        };
        let counts = scope(table.counts.as_ref(), table.network.as_ref())?;
        let mut policy = table.quota.0.clone().counting(counts);
        if let Some(burst) = table.burst {
            policy = policy.with_burst(burst)?;
        }
        if let Some(unit) = &table.unit {
            policy = policy.with_unit(unit)?;
        }
        if table.shadow {
            policy = policy.in_shadow();
        }
        let named = table.name.as_deref().map_or(Ok(policy.clone()), |name| policy.with_name(name));
        named.map(QuotaRef::Policy)
    }

    /// Returns the policy that is defined under `[quotas]` with this name.
    pub(super) fn policy(&self, name: &str) -> Result<QuotaPolicy, ConfigError> {
        match self.quota().map_err(|error| error.in_member(format!("quotas.{name}")))? {
            QuotaRef::Policy(policy) => Ok(policy),
            QuotaRef::Named(other) => {
                let problem = "a named quota cannot refer to another named quota";
                Err(ConfigError::new(other, problem, "write for example `60 per minute`")
                    .in_member(format!("quotas.{name}")))
            }
        }
    }
}

/// Returns the quotas of a list.
pub(super) fn quota_refs(quotas: &[QuotaConfig]) -> Result<Vec<QuotaRef>, ConfigError> {
    let quota = |(place, quota): (usize, &QuotaConfig)| {
        quota.quota().map_err(|error| error.in_member(format!("quotas[{place}]")))
    };
    quotas.iter().enumerate().map(quota).collect()
}

impl PlanConfig {
    pub(super) fn plan(&self, name: &str) -> Result<Plan, ConfigError> {
        let mut plan = Plan::new(name);
        plan.rank = self.rank;
        plan.quotas = quota_refs(&self.quotas)?;
        plan.in_flight = self.in_flight.as_ref().map(InFlightConfig::limit).transpose()?;
        for (route, terms) in &self.rules {
            let quotas =
                quota_refs(&terms.quotas).map_err(|error| error.in_member(format!("rules.{route}")))?;
            plan.rules.insert(route.clone(), PlanRule { quotas });
        }
        (plan.credits, plan.budget) = (allowance(self.credits.as_ref())?, budget(self.budget.as_ref())?);
        for (name, terms) in &self.currencies {
            let within = |error: ConfigError| error.in_member(format!("currencies.{name}"));
            let currency = currency_of_plan(name).map_err(within)?;
            let credits = allowance(terms.credits.as_ref()).map_err(within)?;
            let budget = budget(terms.budget.as_ref()).map_err(within)?;
            plan.currencies.insert(currency, CurrencyTerms { credits, budget });
        }
        plan.overage = self.overage.as_ref().map_or_else(Overage::default, |text| text.0);
        plan.expired_refunds =
            self.expired_refunds.as_ref().map_or_else(ExpiredRefunds::default, |text| text.0);
        plan.caps = ParamLimits::from(self.caps.iter().map(|(parameter, cap)| {
            let cap = match cap {
                OneOf::Number(most) => ParamLimit::AtMost(*most),
                OneOf::Text(Forbidden) => ParamLimit::Forbidden,
                OneOf::Table(never) => match *never {},
            };
            (parameter.clone(), cap)
        }));
        plan.features.clone_from(&self.features);
        plan.manages_keys = self.manages_keys.unwrap_or(true);
        plan.lifetime = self.key_lifetime.lifetime();
        plan.shadow = self.shadow.checks()?;
        plan.max_keys = match self.max_keys {
            Some(OneOf::Number(most)) => Some(most),
            Some(OneOf::Text(Unlimited)) | None => None,
            Some(OneOf::Table(never)) => match never {},
        };
        Ok(plan)
    }
}

/// Returns the currency of a table under `currencies`.
fn currency_of_plan(name: &str) -> Result<Currency, ConfigError> {
    let currency: Currency = name.parse()?;
    if currency == Currency::CREDITS {
        let problem = "`credits` is the currency of the plan's own `credits` and `budget`";
        return Err(ConfigError::new(name, problem, "write these members without this table"));
    }
    Ok(currency)
}

fn allowance(credits: Option<&CreditsConfig>) -> Result<Allowance, ConfigError> {
    match credits {
        None => Ok(Allowance::None),
        Some(OneOf::Number(never)) => match *never {},
        Some(OneOf::Text(Unlimited)) => Ok(Allowance::Unlimited),
        Some(OneOf::Table(grant)) => {
            grant.grant().map(Allowance::Grant).map_err(|error| error.in_member("credits"))
        }
    }
}

fn budget(budget: Option<&BudgetConfig>) -> Result<Option<Budget>, ConfigError> {
    let within = |error: ConfigError| error.in_member("budget");
    budget.map(BudgetConfig::budget).transpose().map_err(within)
}

/// An amount in each period: a grant, or a budget.
struct Periodic<'c> {
    /// The name of the thing in an error.
    noun: &'static str,
    amount: u64,
    every: Option<&'c Text<Span>>,
    calendar: Option<&'c Text<CalendarUnit>>,
    zone: Option<&'c String>,
}

impl Periodic<'_> {
    fn read(&self) -> Result<(Credits, GrantPeriod), ConfigError> {
        let Self { noun, amount, every, calendar, zone } = self;
        let refuse = |member: &str, value: String, problem: &str| {
            let expected = "write `every`, or `calendar` with a `zone`, as in `zone = \"UTC\"`";
            Err(ConfigError::new(value, problem, expected).in_member(member))
        };
        let amount = credits("amount", *amount)?;
        let period = match (every, calendar) {
            (Some(every), Some(_)) => {
                let problem = format!("the {noun} has both `every` and `calendar`");
                return refuse("every", as_written(every.0.0), &problem);
            }
            (None, None) => {
                let problem = format!("the {noun} has neither `every` nor `calendar`");
                return refuse("", format!("{{ amount = {amount} }}"), &problem);
            }
            (Some(every), None) => match zone {
                Some(zone) => return refuse("zone", (*zone).clone(), "`zone` is only valid with `calendar`"),
                None => GrantPeriod::every(every.0.0).map_err(|error| error.in_member("every"))?,
            },
            (None, Some(unit)) => {
                // The zone has no default: a wrong guess of the zone whose midnight counts would only show on the first
                // bill.
                let Some(zone) = zone else {
                    let problem = format!("the {noun} has no `zone`");
                    return refuse("calendar", unit.0.name().to_owned(), &problem);
                };
                GrantPeriod::calendar(unit.0, zone)?
            }
        };
        Ok((amount, period))
    }
}

/// Returns an amount, if a ledger can hold it.
fn credits(member: &str, amount: u64) -> Result<Credits, ConfigError> {
    if amount > Credits::MAX.get() {
        let problem = "the amount is larger than the maximum of a ledger";
        let expected = format!("write {} at the most", Credits::MAX);
        return Err(ConfigError::new(amount.to_string(), problem, expected).in_member(member));
    }
    Ok(Credits::new(amount))
}

impl GrantConfig {
    fn grant(&self) -> Result<Grant, ConfigError> {
        let (every, calendar, zone) = (self.every.as_ref(), self.calendar.as_ref(), self.zone.as_ref());
        let (amount, period) =
            Periodic { noun: "grant", amount: self.amount, every, calendar, zone }.read()?;
        let grant = Grant::new(amount, period);
        let grant = match self.priority {
            Some(priority) => grant.with_priority(priority),
            None => grant,
        };
        match &self.rollover {
            None => Ok(grant),
            Some(rollover) => {
                let rollover = rollover.rollover().map_err(|error| error.in_member("rollover"))?;
                Ok(grant.with_rollover(rollover))
            }
        }
    }
}

impl RolloverConfig {
    fn rollover(self) -> Result<Rollover, ConfigError> {
        let least = credits("least", self.least)?;
        let most = self.most.map_or(Ok(least), |most| credits("most", most))?;
        Rollover::new(least, most)
    }
}

impl BudgetConfig {
    fn budget(&self) -> Result<Budget, ConfigError> {
        let (every, calendar, zone) = (self.every.as_ref(), self.calendar.as_ref(), self.zone.as_ref());
        let (amount, period) =
            Periodic { noun: "budget", amount: self.amount, every, calendar, zone }.read()?;
        Ok(Budget::new(amount, period))
    }
}
