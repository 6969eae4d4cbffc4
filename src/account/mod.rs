//! Accounts, and the plans that set their limits.
//!
//! An account owns keys and is on one plan. The plan sets rate limits, credits, limits on query parameters and features
//! for its accounts.
//!
//! # Example
//!
//! A plan with rate limits, 1,000 credits per day and a maximum page size, and an account with a higher rate limit:
//!
//! ```
//! use tollgate::account::{Allowance, CalendarUnit, Grant, GrantPeriod, ParamLimit};
//! use tollgate::{Account, Credits, Plan};
//!
//! let mut pro = Plan::new("pro");
//! pro.quotas = vec!["600 per minute".parse()?, "10 per second".parse()?];
//! pro.credits = Allowance::Grant(Grant::new(Credits::new(1_000), GrantPeriod::calendar(CalendarUnit::Day, "UTC")?));
//! pro.caps = [("limit".to_owned(), ParamLimit::AtMost(50))].into();
//! assert_eq!(pro.caps.at_most("limit"), Some(50));
//!
//! let mut acme = Account::new("acme", "pro");
//! acme.quotas = Some(vec!["1200 per minute".parse()?]);
//! assert_eq!(acme.plan, pro.name);
//! # Ok::<(), tollgate::ConfigError>(())
//! ```
//!
//! # Overview
//!
//! - [`Account`]: the plan, the status, the subscription and the signed agreements of an owner of keys.
//! - [`Plan`]: the terms of all accounts on it. [`GateBuilder::plan`](crate::GateBuilder::plan) adds a plan to a gate.
//! - [`QuotaPolicy`]: a number of requests per window, counted per key, per account, per network of clients or per
//!   pool ([`QuotaScope`]).
//! - [`InFlightLimit`]: a number of requests that may be in flight at once, counted in the same ways.
//! - [`NetworkCut`]: the parts of addresses that identify a network.
//! - [`Allowance`]: the credits of a plan, such as a [`Grant`] that is repeated.
//! - [`Budget`]: the credits that a key may spend in each period.
//! - [`ParamLimits`]: the maximum values of query parameters.
//!
//! Quotas and parameter limits of a key replace those of its account, and those of an account replace those of its
//! plan. The quotas of a rule apply in addition: see [`Rule::quotas`](crate::Rule::quotas).

mod budget;
mod grant;
mod holder;
mod in_flight;
mod param_limits;
mod plan;
mod quota;
mod shadow;
mod spelling;
mod terms;

pub use crate::network::NetworkCut;
pub use budget::{Budget, BudgetStatus, ExpiredRefunds, KeyBudget, Overage};
pub(crate) use grant::PRIORITY;
pub use grant::{CalendarUnit, Grant, GrantPeriod, Rollover};
pub use holder::{Account, AccountDetails, AccountStatus, Subscription};
pub use in_flight::{InFlightLimit, InFlightLimits};
pub(crate) use param_limits::{Breach, BreachKind, number, plain_number};
pub use param_limits::{ParamLimit, ParamLimits};
pub(crate) use plan::as_written;
pub use plan::{Allowance, CurrencyTerms, Lifetime, Plan, PlanRule};
#[cfg(test)]
pub(crate) use quota::UNITS;
pub use quota::{QuotaGroup, QuotaOrigin, QuotaPolicy, QuotaRef, QuotaScope, Quotas, WindowStatus};
pub use shadow::ShadowChecks;
pub(crate) use terms::{
    AppliedQuotas, ExceededQuotas, FirstGate, LimitIndex, Limits, QuotaChoice, ResolvedTerms, ShadowedParts,
    Terms, TermsError, TermsPlace,
};
