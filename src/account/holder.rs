//! The account behind a key.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::account::Caps;
use crate::account::OwnQuota;
use crate::error::ConfigError;
use crate::name::{AccountId, Agreement, PlanName};
use crate::state::AttachedState;
use crate::words;

/// Whether an account may use its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AccountStatus {
    /// It may.
    #[default]
    Active,
    /// It may not, until it is resumed.
    Suspended,
    /// It is gone.
    Deleted,
}

impl AccountStatus {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Active, Self::Suspended, Self::Deleted];

    /// Its name, as [`Display`](fmt::Display) writes it and [`FromStr`] reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
        }
    }
}

impl fmt::Display for AccountStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AccountStatus {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = Self::ALL.iter().map(|one| one.name());
        let unknown = || ConfigError::new(text, "an account has no such status", words::one_of(text, names));
        Self::ALL.iter().copied().find(|one| one.name() == text).ok_or_else(unknown)
    }
}

/// Whether an account pays for the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subscription {
    /// It does.
    Active,
    /// It did.
    Lapsed,
}

impl Subscription {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Active, Self::Lapsed];

    /// Its name, as [`Display`](fmt::Display) writes it and [`FromStr`] reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Lapsed => "lapsed",
        }
    }
}

impl fmt::Display for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Subscription {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = Self::ALL.iter().map(|one| one.name());
        let unknown = || ConfigError::new(text, "there is no such subscription", words::one_of(text, names));
        Self::ALL.iter().copied().find(|one| one.name() == text).ok_or_else(unknown)
    }
}

/// Who holds keys: the plan, what has been signed and paid, and whatever replaces the plan's limits.
///
/// The balance is not here: it lives in the [`CreditLedger`](crate::credit::CreditLedger) alone.
///
/// # Example
///
/// ```
/// use tollgate::account::AccountStatus;
/// use tollgate::Account;
///
/// let mut account = Account::new("acme", "pro");
/// account.agreements.insert("opra".into());
/// assert_eq!(account.status, AccountStatus::Active);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
// What every request looks at comes first, side by side in memory.
#[repr(C)]
pub struct Account {
    /// Whether it may use its keys.
    pub status: AccountStatus,
    /// Its subscription; `None` where it never had one.
    pub subscription: Option<Subscription>,
    state: AttachedState,
    /// The account's id.
    pub id: AccountId,
    /// The plan it is on.
    pub plan: PlanName,
    /// Counts the changes: a store refuses one that was made to an older version.
    pub version: u64,
    /// What it has signed.
    pub agreements: BTreeSet<Agreement>,
    /// Quotas in place of the plan's; an empty list is no limit.
    pub quotas: Option<Vec<OwnQuota>>,
    /// Caps in place of the plan's.
    pub caps: Option<Caps>,
}

impl Account {
    /// An active account on this plan, with no subscription and nothing signed.
    pub fn new(id: impl Into<AccountId>, plan: impl Into<PlanName>) -> Self {
        Self {
            id: id.into(),
            plan: plan.into(),
            status: AccountStatus::Active,
            subscription: None,
            version: 0,
            agreements: BTreeSet::new(),
            quotas: None,
            caps: None,
            state: AttachedState::new(),
        }
    }
    /// The run-time state that rate limiters and ledgers have attached to the account.
    #[inline]
    pub fn state(&self) -> &AttachedState {
        &self.state
    }
}
