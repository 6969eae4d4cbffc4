//! Accounts, and what their plans grant.

mod grant;
mod holder;
mod param_limits;
mod plan;
mod quota;
mod spelling;
mod terms;

pub use grant::{CalendarUnit, Grant, GrantPeriod};
pub use holder::{Account, AccountDetails, AccountStatus, Subscription};
pub(crate) use param_limits::{Breach, BreachKind, number};
pub use param_limits::{ParamLimit, ParamLimits};
pub(crate) use plan::as_written;
pub use plan::{Allowance, Lifetime, Plan};
#[cfg(test)]
pub(crate) use quota::UNITS;
pub use quota::{QuotaGroup, QuotaPolicy, QuotaRef, QuotaScope, Quotas, WindowStatus};
pub(crate) use terms::{FirstGate, ResolvedTerms, Terms, TermsError};
