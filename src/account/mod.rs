//! Accounts, and what their plans grant.

mod caps;
mod grant;
mod holder;
mod plan;
mod quota;
mod terms;

pub(crate) use caps::{Breach, BreachKind, number};
pub use caps::{Cap, Caps};
pub use grant::{CalendarUnit, Grant, GrantPeriod};
pub use holder::{Account, AccountStatus, Subscription};
#[cfg(feature = "config")]
pub(crate) use plan::as_written;
pub use plan::{Allowance, Lifetime, Plan};
#[cfg(all(test, feature = "config"))]
pub(crate) use quota::UNITS;
pub use quota::{Counts, OwnQuota, QuotaGroup, QuotaPolicy, Quotas, Standing};
pub(crate) use terms::{Terms, Unknown};
