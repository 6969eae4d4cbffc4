//! Rules in the configuration file.

use std::sync::Arc;

use serde::Deserialize;

use crate::amount::{Credits, Currency};
use crate::config::plan::{InFlightConfig, quota_refs};
use crate::config::text::{Never, OneOf, Text, Written};
use crate::config::{Config, DefaultConfig, QuotaConfig, ShadowConfig};
use crate::error::ConfigError;
use crate::rule::{Cost, Rule, ScopeRule, Weight};

/// A rule. `[default]` supplies the members that are absent, except for a public rule.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// The route or routes of the rule, as in `GET /v1/candles`.
    pub route: Routes,
    /// True if requests need no key.
    #[serde(default)]
    pub public: bool,
    /// True if a request without a key is served under the plan of `[anonymous]`.
    #[serde(default)]
    pub anonymous: bool,
    /// The cost of a request.
    #[serde(default)]
    pub cost: Option<CostConfig>,
    /// The currency of the cost. Defaults to `credits`.
    #[serde(default)]
    pub currency: Option<Text<Currency>>,
    /// The scopes that a restricted key needs.
    #[serde(default)]
    pub scope: Option<ScopeConfig>,
    /// The lowest plan that is admitted.
    #[serde(default)]
    pub min_plan: Option<String>,
    /// The plans that are admitted regardless of their rank.
    #[serde(default)]
    pub open_to: Option<Vec<String>>,
    /// The plans that are not admitted.
    #[serde(default)]
    pub closed_to: Option<Vec<String>>,
    /// The agreements that the account must have signed.
    #[serde(default)]
    pub agreements: Option<Vec<String>>,
    /// True if the account needs an active subscription.
    #[serde(default)]
    pub subscription: Option<bool>,
    /// The quotas of the rule, in addition to those of the key.
    #[serde(default)]
    pub quotas: Vec<QuotaConfig>,
    /// The weight of a request: the units that it takes from each window. Defaults to 1.
    #[serde(default)]
    pub weight: Option<WeightConfig>,
    /// The limit on requests in flight to the rule, in addition to that of the key.
    #[serde(default)]
    pub in_flight: Option<InFlightConfig>,
    /// The checks that are made in shadow at the rule.
    #[serde(default)]
    pub shadow: ShadowConfig,
}

/// One route or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "invalid route, expected one as in `\"GET /v1/candles\"`, or a list of routes")]
pub enum Routes {
    /// One route.
    One(String),
    /// Several routes.
    Many(Vec<String>),
}

/// A cost: a number, or a table.
pub type CostConfig = OneOf<u64, Never, CostTable>;

/// A cost that is proportional to the number in a query parameter, or that is known only afterwards. Exactly one of
/// `parameter` and `reserve` must be present.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostTable {
    /// The name of the query parameter.
    #[serde(default)]
    pub parameter: Option<String>,
    /// The cost of one unit. Required with `parameter`.
    #[serde(default)]
    pub each: Option<u64>,
    /// The lowest number. Defaults to 1. With 0, a request can cost nothing.
    #[serde(default)]
    pub least: Option<u64>,
    /// The number that is used if the parameter is absent. Required with `parameter`.
    #[serde(default)]
    pub default: Option<u64>,
    /// The cost that is charged before the handler, if the final cost is known only afterwards.
    #[serde(default)]
    pub reserve: Option<ReserveConfig>,
    /// The highest number in the parameter, or the highest final cost.
    pub most: u64,
}

/// A reservation: a number, or a table that names a query parameter.
pub type ReserveConfig = OneOf<u64, Never, PerUnitConfig>;

/// A cost that is proportional to the number in a query parameter.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerUnitConfig {
    /// The name of the query parameter.
    pub parameter: String,
    /// The cost of one unit.
    pub each: u64,
    /// The lowest number. Defaults to 1. With 0, a request can cost nothing.
    #[serde(default = "one")]
    pub least: u64,
    /// The number that is used if the parameter is absent.
    pub default: u64,
    /// The highest number.
    pub most: u64,
}

fn one() -> u64 {
    1
}

/// A weight: a number, or a table.
pub type WeightConfig = OneOf<u32, Never, WeightTable>;

/// A weight that is a number in the request, or that the handler reports. Exactly one of `parameter`, `header` and `reserve`
/// must be present.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightTable {
    /// The name of the query parameter.
    #[serde(default)]
    pub parameter: Option<String>,
    /// The name of the header.
    #[serde(default)]
    pub header: Option<String>,
    /// The units that are drawn in advance, if the handler reports the weight.
    #[serde(default)]
    pub reserve: Option<u32>,
    /// The lowest weight. Defaults to 1.
    #[serde(default)]
    pub least: Option<u32>,
    /// The weight of a request that names none. Required with `parameter` and `header`.
    #[serde(default)]
    pub default: Option<u32>,
    /// The highest weight.
    pub most: u32,
}

/// The scopes that a restricted key needs: one scope, `"*"` to admit any key, or a table with `any` or `all`.
pub type ScopeConfig = OneOf<Never, String, ScopesConfig>;

/// Several scopes. Exactly one of the two lists must be present.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScopesConfig {
    /// The scopes of which a restricted key needs one.
    pub any: Option<Vec<String>>,
    /// The scopes of which a restricted key needs all.
    pub all: Option<Vec<String>>,
}

impl Written for CostTable {
    const HOW: &'static str = "a table as in `{ parameter = \"limit\", each = 1, default = 100, most = 1000 }` or \
                               `{ reserve = 2000, most = 8000 }`";
}

impl Written for PerUnitConfig {
    const HOW: &'static str =
        "a table as in `{ parameter = \"limit\", each = 1, default = 100, most = 1000 }`";
}

impl Written for WeightTable {
    const HOW: &'static str = "a table as in `{ parameter = \"years\", default = 1, most = 20 }`";
}

impl Written for String {
    const HOW: &'static str = "a name as in `\"quotes:read\"`";
}

impl Written for ScopesConfig {
    const HOW: &'static str = "a table as in `{ any = [\"quotes:read\", \"quotes:all\"] }`";
}

impl ScopeConfig {
    fn rule(&self) -> Result<ScopeRule, ConfigError> {
        let scopes = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
        let table = match self {
            Self::Number(never) => match *never {},
            Self::Text(any) if any == "*" => return Ok(ScopeRule::Everyone),
            Self::Text(scope) => return Ok(ScopeRule::AnyOf(vec![scope.as_str().into()])),
            Self::Table(table) => table,
        };
        let named = table.any.iter().chain(&table.all).flatten();
        if let Some(every) = named.into_iter().find(|name| *name == "*") {
            let problem = "`*` is not a scope: it stands for every restricted key";
            let expected = "write `scope = \"*\"`, or leave it out of the list";
            return Err(ConfigError::new(every, problem, expected).in_member("scope"));
        }
        match (&table.any, &table.all) {
            (Some(any), None) => Ok(ScopeRule::AnyOf(scopes(any))),
            (None, Some(all)) => Ok(ScopeRule::AllOf(scopes(all))),
            (any, all) => {
                let list = |name: &str, scopes: &Option<Vec<String>>| {
                    scopes.as_ref().map(|scopes| format!("{name} = {scopes:?}"))
                };
                let written: Vec<_> = list("any", any).into_iter().chain(list("all", all)).collect();
                let value =
                    if written.is_empty() { "{}".into() } else { format!("{{ {} }}", written.join(", ")) };
                let problem = "the scope must have exactly one of `any` and `all`";
                Err(ConfigError::new(value, problem, "write one of `any` and `all`").in_member("scope"))
            }
        }
    }
}

/// Returns a cost, if a ledger can hold it.
fn credits(member: &str, amount: u64) -> Result<Credits, ConfigError> {
    if amount > Credits::MAX.get() {
        let problem = "the cost is larger than the maximum of a ledger";
        let expected = format!("write {} at the most", Credits::MAX);
        return Err(ConfigError::new(amount.to_string(), problem, expected).in_member(member));
    }
    Ok(Credits::new(amount))
}

impl CostConfig {
    /// Returns the cost, and the highest final cost if the cost is known only afterwards.
    fn cost(&self) -> Result<(Cost, Option<Credits>), ConfigError> {
        let table = match self {
            Self::Number(amount) => return Ok((Cost::Fixed(credits("cost", *amount)?), None)),
            Self::Text(never) => match *never {},
            Self::Table(table) => table,
        };
        match (&table.parameter, &table.reserve) {
            (Some(_), None) => Ok((table.per_unit()?.cost("cost")?, None)),
            (None, Some(reserve)) => {
                Ok((table.reservation(reserve)?, Some(credits("cost.most", table.most)?)))
            }
            (parameter, reserve) => {
                let parameter = parameter.as_ref().map(|parameter| format!("parameter = {parameter:?}, "));
                let reserve = reserve.as_ref().map(|_| "reserve = …, ");
                let written = parameter.unwrap_or_default() + reserve.unwrap_or_default();
                let value = format!("{{ {written}most = {} }}", table.most);
                let problem = "the cost must have exactly one of `parameter` and `reserve`";
                let expected = "write one of them, or a number instead of the table";
                Err(ConfigError::new(value, problem, expected).in_member("cost"))
            }
        }
    }
}

impl CostTable {
    fn per_unit(&self) -> Result<PerUnitConfig, ConfigError> {
        let required = |member: &str, number: Option<u64>, example: &str| {
            let problem = format!("the cost has no `{member}`");
            let value = format!("{{ parameter = {:?} }}", self.parameter.as_deref().unwrap_or_default());
            let missing =
                || ConfigError::new(value, problem, format!("write for example `{member} = {example}`"));
            number.ok_or_else(|| missing().in_member("cost"))
        };
        Ok(PerUnitConfig {
            parameter: self.parameter.clone().unwrap_or_default(),
            each: required("each", self.each, "1")?,
            least: self.least.unwrap_or(1),
            default: required("default", self.default, "100")?,
            most: self.most,
        })
    }

    fn reservation(&self, reserve: &ReserveConfig) -> Result<Cost, ConfigError> {
        let of_parameter = [("each", self.each), ("least", self.least), ("default", self.default)];
        if let Some((member, Some(number))) = of_parameter.iter().find(|(_, number)| number.is_some()) {
            let problem = format!("`{member}` is only valid with `parameter`");
            let expected = "leave it out, or write a table with `parameter` as the `reserve`";
            let error = ConfigError::new(number.to_string(), problem, expected);
            return Err(error.in_member(format!("cost.{member}")));
        }
        match reserve {
            OneOf::Number(amount) => credits("cost.reserve", *amount).map(Cost::Fixed),
            OneOf::Text(never) => match *never {},
            OneOf::Table(table) => table.cost("cost.reserve"),
        }
    }
}

impl PerUnitConfig {
    fn cost(&self, member: &str) -> Result<Cost, ConfigError> {
        let each = credits(&format!("{member}.each"), self.each)?;
        let Self { parameter, least, default, most, .. } = self.clone();
        Ok(Cost::PerUnit { parameter, each, least, default, most })
    }
}

impl WeightConfig {
    fn weight(&self) -> Result<Weight, ConfigError> {
        let table = match self {
            Self::Number(weight) => return Ok(Weight::Fixed(*weight)),
            Self::Text(never) => match *never {},
            Self::Table(table) => table,
        };
        let WeightTable { parameter, header, reserve, least, default, most } = table.clone();
        if let (Some(reserve), None, None) = (reserve, &parameter, &header) {
            let bound =
                [("least", least), ("default", default)].into_iter().find(|(_, bound)| bound.is_some());
            let Some((member, bound)) = bound else { return Ok(Weight::Reported { reserve, most }) };
            let problem = format!("`{member}` is only valid with `parameter` or `header`");
            let error = ConfigError::new(bound.unwrap_or_default().to_string(), problem, "leave it out");
            return Err(error.in_member(format!("weight.{member}")));
        }
        let least = least.unwrap_or(1);
        let required = || {
            let problem = "the weight has no `default`, for requests that name none";
            let expected = "write the handler's own default, as in `default = 1`";
            let value = format!("{{ most = {most} }}");
            default.ok_or_else(|| ConfigError::new(value, problem, expected).in_member("weight"))
        };
        match (parameter, header) {
            (Some(parameter), None) if reserve.is_none() => {
                Ok(Weight::Parameter { parameter, least, default: required()?, most })
            }
            (None, Some(name)) if reserve.is_none() => {
                let Ok(header) = name.parse() else {
                    let expected = "write one as in `X-Weight`";
                    let error = ConfigError::new(name, "invalid header name", expected);
                    return Err(error.in_member("weight.header"));
                };
                Ok(Weight::Header { header, least, default: required()?, most })
            }
            (parameter, header) => {
                let text =
                    |member: &str, name: Option<String>| name.map(|name| format!("{member} = {name:?}"));
                let reserve = reserve.map(|reserve| format!("reserve = {reserve}"));
                let named = [text("parameter", parameter), text("header", header), reserve];
                let members: Vec<_> = named.into_iter().flatten().chain([format!("most = {most}")]).collect();
                let problem = "the weight must have exactly one of `parameter`, `header` and `reserve`";
                let expected = "write one of them, or a number instead of the table";
                let value = format!("{{ {} }}", members.join(", "));
                Err(ConfigError::new(value, problem, expected).in_member("weight"))
            }
        }
    }
}

impl RuleConfig {
    /// Returns one rule for each route.
    pub(super) fn rules(&self, config: &Config) -> Result<Vec<Rule>, ConfigError> {
        let default = &config.default;
        if self.routes().is_empty() {
            let expected = "write at least one, as in `GET /v1/candles`";
            return Err(ConfigError::new("[]", "the rule has no route", expected).in_member("route"));
        }
        // An unknown plan is probably misspelt. The rule set reports that error.
        let are_known = self.open_to.iter().flatten().all(|plan| config.plans.contains_key(plan));
        if self.open_to.is_some() && are_known && self.min_plan.is_none() && default.min_plan.is_none() {
            let problem = "`open_to` has no effect without `min_plan`: the rule is open to all plans";
            let expected =
                "add the `min_plan` from which these plans are exempt, or restrict the rule with `closed_to`";
            let named = self.open_to.iter().flatten().next().cloned().unwrap_or_default();
            return Err(ConfigError::new(named, problem, expected).in_member("open_to"));
        }
        let shared: Option<Vec<Arc<str>>> = self
            .routes()
            .iter()
            .map(|route| Some(Arc::clone(Rule::new(route).ok()?.shared_route())))
            .collect();
        let shared: Option<Arc<[Arc<str>]>> = shared.filter(|routes| routes.len() > 1).map(Into::into);
        let rule = |(place, route): (usize, &String)| {
            let mut rule = Rule::new(route).map_err(|error| self.in_route(place, error))?;
            self.apply(&mut rule, default)?;
            rule.routes.clone_from(&shared);
            Ok(rule)
        };
        self.routes().iter().enumerate().map(rule).collect()
    }

    pub(super) fn routes(&self) -> &[String] {
        match &self.route {
            Routes::One(route) => std::slice::from_ref(route),
            Routes::Many(routes) => routes,
        }
    }

    /// Adds the index in the list of routes to the error of one route.
    fn in_route(&self, place: usize, error: ConfigError) -> ConfigError {
        match self.route {
            Routes::One(_) => error,
            Routes::Many(_) => ConfigError::new(error.value(), error.problem(), error.expected())
                .in_member(format!("route[{place}]")),
        }
    }

    fn apply(&self, rule: &mut Rule, default: &DefaultConfig) -> Result<(), ConfigError> {
        (rule.public, rule.anonymous) = (self.public, self.anonymous);
        rule.quotas = quota_refs(&self.quotas)?;
        rule.weight = self.weight.as_ref().map_or(Ok(Weight::default()), WeightConfig::weight)?;
        rule.in_flight = self.in_flight.as_ref().map(InFlightConfig::limit).transpose()?;
        rule.shadow = self.shadow.checks()?;
        // A public route has no requirements, so `[default]` does not apply to it.
        if !self.public {
            default.apply(rule)?;
        }
        let own = DefaultConfig {
            deny: false,
            cost: self.cost.clone(),
            currency: self.currency.clone(),
            scope: self.scope.clone(),
            min_plan: self.min_plan.clone(),
            open_to: self.open_to.clone(),
            closed_to: self.closed_to.clone(),
            agreements: self.agreements.clone(),
            subscription: self.subscription,
        };
        own.apply(rule)?;
        if let Some(currency) = &self.currency
            && rule.cost.is_free()
        {
            let problem = "`currency` has no effect without `cost`: the rule is free";
            let expected = "write a `cost`, or leave `currency` out";
            return Err(ConfigError::new(currency.0.as_str(), problem, expected).in_member("currency"));
        }
        Ok(())
    }
}

impl DefaultConfig {
    /// Sets the members that are present on a rule.
    pub(super) fn apply(&self, rule: &mut Rule) -> Result<(), ConfigError> {
        if let Some(cost) = &self.cost {
            (rule.cost, rule.most_cost) = cost.cost()?;
        }
        if let Some(currency) = &self.currency {
            rule.currency = currency.0.clone();
        }
        if let Some(scope) = &self.scope {
            rule.scopes = scope.rule()?;
        }
        if let Some(plan) = &self.min_plan {
            rule.min_plan = Some(plan.as_str().into());
        }
        if let Some(plans) = &self.open_to {
            rule.open_to = plans.iter().map(|plan| plan.as_str().into()).collect();
        }
        if let Some(plans) = &self.closed_to {
            rule.closed_to = plans.iter().map(|plan| plan.as_str().into()).collect();
        }
        if let Some(agreements) = &self.agreements {
            rule.agreements = agreements.iter().map(|agreement| agreement.as_str().into()).collect();
        }
        rule.subscription = self.subscription.unwrap_or(rule.subscription);
        Ok(())
    }
}
