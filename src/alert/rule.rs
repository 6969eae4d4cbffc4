//! The conditions of alerts.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::account::as_written;
use crate::alert::AlertKind;
use crate::amount::Credits;
use crate::error::ConfigError;
use crate::name::PlanName;

/// A share in whole percent, from `1%` to `100%`.
///
/// # Example
///
/// ```
/// use tollgate::alert::Share;
///
/// assert_eq!("20%".parse::<Share>()?.percent(), 20);
/// assert!("120%".parse::<Share>().is_err());
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u8);

impl Share {
    /// Returns the number of percent.
    pub fn percent(self) -> u8 {
        self.0
    }

    /// Returns the smallest whole number that is not below this share of a number.
    pub(super) fn of(self, whole: u64) -> u64 {
        let share = (u128::from(whole) * u128::from(self.0)).div_ceil(100);
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

impl FromStr for Share {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let percent =
            text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let percent =
            percent.and_then(|digits| digits.parse().ok()).filter(|percent| (1..=100).contains(percent));
        percent.map(Self).ok_or_else(|| {
            ConfigError::new(text, "invalid share", "write whole percent from `1%` to `100%`, as in `20%`")
        })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// A threshold of a balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BalanceThreshold {
    /// A share of the grant of the account's plan. It has no effect for a plan without a grant.
    Share(Share),
    /// A number of credits.
    Credits(Credits),
}

impl fmt::Display for BalanceThreshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => share.fmt(f),
            Self::Credits(credits) => credits.fmt(f),
        }
    }
}

/// The condition of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlertCondition {
    /// The balance of an account is below a threshold.
    ///
    /// It is noticed when a request that was charged ends, or when one is denied for lack of credits. It is told once, and again after the
    /// balance was not below the threshold, or in the next period of the plan's grant.
    BalanceBelow(BalanceThreshold),
    /// A key expires within this time, and has not expired. It is noticed when a request with the key ends, and told once for
    /// each time of expiry.
    ExpiresWithin(Duration),
    /// More than this share of a rate-limit window is used. It is noticed when a request that drew from the window
    /// ends, or is denied. It is told once per window, and at most once per hour for shorter windows.
    QuotaAbove(Share),
    /// A key was revoked by a manager of the gate, also because it leaked.
    Revoked,
    /// A key was reported as leaked, and revoked.
    Leaked,
    /// A back end fails: the circuit of its guard is open
    /// ([`KeyStore::is_failing`](crate::KeyStore::is_failing)). It is told once per outage, and again in each hour in which
    /// the outage lasts.
    BackEndFailing,
}

impl AlertCondition {
    /// Returns the kind of the alerts.
    pub fn kind(&self) -> AlertKind {
        match self {
            Self::BalanceBelow(_) => AlertKind::BalanceBelow,
            Self::ExpiresWithin(_) => AlertKind::ExpiresWithin,
            Self::QuotaAbove(_) => AlertKind::QuotaAbove,
            Self::Revoked => AlertKind::Revoked,
            Self::Leaked => AlertKind::Leaked,
            Self::BackEndFailing => AlertKind::BackEndFailing,
        }
    }

    /// Returns the threshold as it is configured. Empty for a condition without one.
    pub(super) fn threshold(&self) -> String {
        match self {
            Self::BalanceBelow(threshold) => threshold.to_string(),
            Self::ExpiresWithin(time) => as_written(*time),
            Self::QuotaAbove(share) => share.to_string(),
            Self::Revoked | Self::Leaked | Self::BackEndFailing => String::new(),
        }
    }
}

/// A condition of alerts, and the plans that it is for.
///
/// # Example
///
/// ```
/// use tollgate::Gate;
/// use tollgate::alert::{AlertCondition, AlertRule, BalanceThreshold};
///
/// let low = AlertCondition::BalanceBelow(BalanceThreshold::Share("20%".parse()?));
/// let builder = Gate::builder().alert(AlertRule::new(low).for_plans(["pro"]));
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlertRule {
    /// The condition.
    pub condition: AlertCondition,
    /// The plans of the accounts. `None` means all plans.
    pub plans: Option<Vec<PlanName>>,
}

impl AlertRule {
    /// Creates a rule for all plans.
    pub fn new(condition: AlertCondition) -> Self {
        Self { condition, plans: None }
    }

    /// Limits the rule to accounts on these plans.
    #[must_use]
    pub fn for_plans(mut self, plans: impl IntoIterator<Item = impl Into<PlanName>>) -> Self {
        self.plans = Some(plans.into_iter().map(Into::into).collect());
        self
    }

    /// Returns true if the rule is for accounts on this plan.
    pub(super) fn is_for(&self, plan: &PlanName) -> bool {
        self.plans.as_ref().is_none_or(|plans| plans.contains(plan))
    }
}
