//! Plans and what they grant.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::account::{
    Budget, ExpiredRefunds, Grant, InFlightLimit, Overage, ParamLimits, QuotaRef, ShadowChecks,
};
use crate::amount::Currency;
use crate::error::ConfigError;
use crate::name::PlanName;

/// The longest lifetime of a key: a hundred years. The expiry of a key can then be written with a four-digit year.
const LONGEST: Duration = Duration::from_hours(100 * 366 * 24);

/// The credits that a plan grants. No credits, a grant of zero and no limit are three different cases.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Allowance {
    /// No credits: an account spends the balance that was set for it.
    #[default]
    None,
    /// A credit grant that repeats every period.
    Grant(Grant),
    /// No limit: requests are not charged.
    Unlimited,
}

/// The allowed lifetimes of a plan's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifetime {
    /// The lifetime if none is requested. `None` means that keys do not expire.
    pub default: Option<Duration>,
    /// The shortest lifetime that may be requested.
    pub shortest: Option<Duration>,
    /// The longest lifetime that may be requested.
    pub longest: Option<Duration>,
}

impl Lifetime {
    /// Checks that shortest, default and longest are in ascending order and at most a hundred years, and that no key has
    /// expired when it is created.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |member: &str, value, problem: &str| {
            let expected = "use times with `shortest` ≤ `default` ≤ `longest`, or leave it out";
            Err(ConfigError::new(as_written(value), problem, expected).in_member(member))
        };
        let named = [("shortest", self.shortest), ("default", self.default), ("longest", self.longest)];
        let said: Vec<_> = named.into_iter().filter_map(|(name, time)| Some((name, time?))).collect();
        if let Some((name, time)) = said.iter().find(|(name, time)| time.is_zero() && *name != "shortest") {
            return refuse(name, *time, "the key lifetime is zero");
        }
        if let Some((name, time)) = said.iter().find(|(_, time)| *time > LONGEST) {
            return refuse(name, *time, "the time is longer than a hundred years");
        }
        for pair in said.windows(2) {
            if let [(name, time), (next, most)] = pair
                && time > most
            {
                let problem = format!("the time is longer than `{next}`, which is `{}`", as_written(*most));
                return refuse(name, *time, &problem);
            }
        }
        Ok(())
    }
}

/// Formats a time as a configuration writes it: in the largest unit of which it is a whole number.
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

/// Returns the time that [`as_written`] formats as this text. A number of one may have the unit `days`, too.
pub(crate) fn time_as_written(text: &str) -> Option<Duration> {
    let unit = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let size = match unit {
        "day" | "days" => 86_400_000,
        "h" => 3_600_000,
        "m" => 60_000,
        "s" => 1_000,
        "ms" => 1,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(size).map(Duration::from_millis)
}

/// A plan: the limits, credits and features of the accounts on it.
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
    /// The name of the plan.
    pub name: PlanName,
    /// The rank of the plan. A rule with a minimum plan admits plans of the same rank or higher. `None` if the plan is
    /// outside this order, as a demo plan is: such a rule then admits it only if the rule names it.
    pub rank: Option<u32>,
    /// The quotas of the plan. An empty list means no limit.
    pub quotas: Vec<QuotaRef>,
    /// The limit on requests in flight. `None` means no limit.
    pub in_flight: Option<InFlightLimit>,
    /// The plan's terms for single rules, by a route of the rule, as in `POST /v1/backtests`.
    pub rules: BTreeMap<String, PlanRule>,
    /// The credits that the plan grants, in the currency `credits`.
    pub credits: Allowance,
    /// The amount of the currency `credits` that each key may spend in each period. `None` means no budget.
    pub budget: Option<Budget>,
    /// The grants and budgets in other currencies.
    pub currencies: BTreeMap<Currency, CurrencyTerms>,
    /// The policy for a final cost above the charge that the account's credits do not cover.
    pub overage: Overage,
    /// The policy for credits that are returned to a bucket that has expired.
    pub expired_refunds: ExpiredRefunds,
    /// The limits on query parameters.
    pub caps: ParamLimits,
    /// The names of the other features that the plan includes.
    pub features: BTreeSet<String>,
    /// The maximum number of active keys per account, or `None` for no maximum.
    pub max_keys: Option<u32>,
    /// True if the plan's keys may manage keys through the service's own endpoints.
    pub manages_keys: bool,
    /// The allowed lifetimes of the plan's keys.
    pub lifetime: Lifetime,
    /// The checks that are made in shadow for keys on the plan: they are judged and told, and refuse nothing.
    pub shadow: ShadowChecks,
}

impl Plan {
    /// Creates a plan without limits, credits or features.
    pub fn new(name: impl Into<PlanName>) -> Self {
        Self {
            name: name.into(),
            rank: None,
            quotas: Vec::new(),
            in_flight: None,
            rules: BTreeMap::new(),
            credits: Allowance::None,
            budget: None,
            currencies: BTreeMap::new(),
            overage: Overage::default(),
            expired_refunds: ExpiredRefunds::default(),
            caps: ParamLimits::default(),
            features: BTreeSet::new(),
            max_keys: None,
            manages_keys: true,
            lifetime: Lifetime::default(),
            shadow: ShadowChecks::NONE,
        }
    }
}

impl Plan {
    /// Returns the credits that the plan grants in a currency.
    #[inline]
    pub fn credits_in(&self, currency: &Currency) -> &Allowance {
        if currency.is_default() {
            return &self.credits;
        }
        self.currencies.get(currency).map_or(&Allowance::None, |terms| &terms.credits)
    }

    /// Returns the budget of each key in a currency.
    #[inline]
    pub fn budget_in(&self, currency: &Currency) -> Option<&Budget> {
        if currency.is_default() {
            return self.budget.as_ref();
        }
        self.currencies.get(currency)?.budget.as_ref()
    }

    /// Returns the currencies in which the plan has a grant or a budget.
    pub(crate) fn named_currencies(&self) -> impl Iterator<Item = &Currency> {
        let default =
            (self.credits != Allowance::None || self.budget.is_some()).then_some(&Currency::CREDITS);
        default.into_iter().chain(self.currencies.keys())
    }
}

/// The grant and the budget of a plan in one currency.
///
/// # Example
///
/// ```
/// use tollgate::account::{Allowance, CalendarUnit, CurrencyTerms, Grant, GrantPeriod};
/// use tollgate::{Credits, Plan};
///
/// let monthly = GrantPeriod::calendar(CalendarUnit::Month, "UTC")?;
/// let mut tokens = CurrencyTerms::default();
/// tokens.credits = Allowance::Grant(Grant::new(Credits::new(1_000_000), monthly));
/// let mut plan = Plan::new("pro");
/// plan.currencies.insert("tokens".parse()?, tokens);
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CurrencyTerms {
    /// The amount that the plan grants.
    pub credits: Allowance,
    /// The amount that each key may spend in each period. `None` means no budget.
    pub budget: Option<Budget>,
}

/// The terms that a plan has for one rule.
///
/// # Example
///
/// ```
/// use tollgate::Plan;
/// use tollgate::account::PlanRule;
///
/// let mut backtests = PlanRule::default();
/// backtests.quotas.push("100 per day".parse()?);
/// let mut plan = Plan::new("pro");
/// plan.rules.insert("POST /v1/backtests".to_owned(), backtests);
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PlanRule {
    /// The quotas of the rule for keys on the plan. A quota with the name and the counted owner of one of the rule's own
    /// quotas replaces it. The others apply in addition.
    pub quotas: Vec<QuotaRef>,
}

impl std::str::FromStr for QuotaRef {
    type Err = crate::error::ConfigError;

    /// Parses a quota. A text without a space is the name of a quota.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(' ') { text.parse().map(Self::Policy) } else { Ok(Self::Named(text.to_owned())) }
    }
}
