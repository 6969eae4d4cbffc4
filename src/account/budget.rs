//! Budgets of keys, and the policies for costs that are known afterwards.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::account::{Grant, GrantPeriod};
use crate::amount::{Credits, Currency};
use crate::clock::Timestamp;
use crate::error::ConfigError;
use crate::words;

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

    /// Returns the period.
    pub fn period(&self) -> &GrantPeriod {
        self.0.period()
    }

    /// Returns the grant that is due whenever a period of the budget starts.
    pub(crate) fn turns(&self) -> &Grant {
        &self.0
    }
}

impl Hash for Budget {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0.amount(), self.0.code()).hash(state);
    }
}

/// The state of a key's budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetStatus {
    /// The amount of the budget.
    pub amount: Credits,
    /// The amount that is left in this period. Open charges are already subtracted.
    pub left: Credits,
    /// The start of the next period. `None` for a period of a fixed length that starts with the key's next charge.
    pub resets: Option<Timestamp>,
}

impl BudgetStatus {
    /// Creates the state of a budget.
    pub fn new(amount: Credits, left: Credits, resets: Option<Timestamp>) -> Self {
        Self { amount, left, resets }
    }
}

/// A budget that a key has instead of that of its plan, and the currency of the budget.
///
/// It is written as the amount, the currency unless it is `credits`, and the period: `5000 every 1day`, or
/// `5000 tokens calendar month UTC`.
///
/// # Example
///
/// ```
/// use tollgate::account::KeyBudget;
///
/// let daily: KeyBudget = "5000 tokens every 1day".parse()?;
/// assert_eq!((daily.currency.as_str(), daily.budget.amount().get()), ("tokens", 5_000));
/// assert_eq!(daily.to_string(), "5000 tokens every 1day");
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct KeyBudget {
    /// The currency of the budget.
    pub currency: Currency,
    /// The budget.
    pub budget: Budget,
}

impl KeyBudget {
    /// Creates a budget in a currency.
    pub fn new(currency: Currency, budget: Budget) -> Self {
        Self { currency, budget }
    }
}

impl fmt::Display for KeyBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.budget.amount())?;
        if self.currency != Currency::CREDITS {
            write!(f, "{} ", self.currency)?;
        }
        self.budget.period().fmt(f)
    }
}

impl FromStr for KeyBudget {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || {
            let shown: String = text.chars().take(40).filter(|character| !character.is_control()).collect();
            let expected = "write one as in `5000 every 1day`, or `5000 tokens calendar month UTC`";
            ConfigError::new(shown, "invalid budget", expected)
        };
        let (amount, rest) = text.split_once(' ').ok_or_else(refuse)?;
        let is_period = |text: &str| text.starts_with("every ") || text.starts_with("calendar ");
        let (currency, period) = match rest.split_once(' ') {
            _ if is_period(rest) => (Currency::CREDITS, rest),
            Some((currency, period)) if is_period(period) => (currency.parse()?, period),
            _ => return Err(refuse()),
        };
        let amount = amount.parse().ok().filter(|amount| (1..=Credits::MAX.get()).contains(amount));
        let amount = Credits::new(amount.ok_or_else(refuse)?);
        Ok(Self { currency, budget: Budget::new(amount, period.parse()?) })
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

impl Overage {
    const ALL: [Self; 2] = [Self::Cap, Self::Debt];

    /// Returns the name of the policy in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cap => "cap",
            Self::Debt => "debt",
        }
    }
}

impl FromStr for Overage {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = Self::ALL.into_iter().map(Self::name);
        let unknown = || ConfigError::new(text, "unknown policy for overage", words::one_of(text, names));
        Self::ALL.into_iter().find(|one| one.name() == text).ok_or_else(unknown)
    }
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

impl ExpiredRefunds {
    const ALL: [Self; 2] = [Self::Forfeit, Self::Keep];

    /// Returns the name of the policy in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forfeit => "forfeit",
            Self::Keep => "keep",
        }
    }
}

impl FromStr for ExpiredRefunds {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = Self::ALL.into_iter().map(Self::name);
        let unknown =
            || ConfigError::new(text, "unknown policy for expired refunds", words::one_of(text, names));
        Self::ALL.into_iter().find(|one| one.name() == text).ok_or_else(unknown)
    }
}
