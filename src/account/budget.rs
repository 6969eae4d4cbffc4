//! Budgets of keys, and the policies for costs that are known afterwards.

use crate::account::{Grant, GrantPeriod};
use crate::amount::Credits;

/// The amount of credits that a key may spend in each period, beside the credits of its account.
///
/// # Example
///
/// ```
/// use tollgate::Credits;
/// use tollgate::account::{Budget, CalendarUnit, GrantPeriod};
///
/// let daily = Budget::new(Credits::new(5_000), GrantPeriod::calendar(CalendarUnit::Day, "UTC")?);
/// assert_eq!(daily.amount(), Credits::new(5_000));
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
// A budget is due at the same times as a grant.
pub struct Budget(Grant);

impl Budget {
    /// Creates a budget of this amount in each period.
    ///
    /// A period of a fixed length is counted from the key's first charge that has a budget. After a whole period without a
    /// charge, it is counted from the next charge.
    pub fn new(amount: Credits, period: GrantPeriod) -> Self {
        Self(Grant::new(amount, period))
    }

    /// Returns the amount that may be spent in each period.
    pub fn amount(&self) -> Credits {
        self.0.amount()
    }

    /// Returns the grant that is due whenever a period of the budget starts.
    pub(crate) fn turns(&self) -> &Grant {
        &self.0
    }
}

/// The policy for a final cost above the charge, if the account's credits do not cover the difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Overage {
    /// The credits that are there are taken, and the rest is not charged.
    #[default]
    Cap,
    /// The credits that are there are taken, and the account owes the rest. No charge is posted until credits have paid
    /// the debt.
    Debt,
}

/// The policy for credits that are returned to a bucket that has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ExpiredRefunds {
    /// The credits expire at once.
    #[default]
    Forfeit,
    /// The credits are kept in a bucket of returned credits, which does not expire.
    Keep,
}
