//! The account that owns keys.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::sync::Arc;

use crate::account::ParamLimits;
use crate::account::QuotaRef;
use crate::error::ConfigError;
use crate::intern::Interner;
use crate::name::{AccountId, Agreement, PlanName};
use crate::state::AttachedState;
use crate::words;

/// The status of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AccountStatus {
    /// The account may use its keys.
    #[default]
    Active,
    /// The account may not use its keys until it is resumed.
    Suspended,
    /// The account was deleted.
    Deleted,
}

impl AccountStatus {
    /// All statuses.
    pub const ALL: &'static [Self] = &[Self::Active, Self::Suspended, Self::Deleted];

    /// Returns the status name, as [`Display`](fmt::Display) writes it and [`FromStr`] reads it.
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
        let unknown = || ConfigError::new(text, "unknown account status", words::one_of(text, names));
        Self::ALL.iter().copied().find(|one| one.name() == text).ok_or_else(unknown)
    }
}

/// The subscription status of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subscription {
    /// The account has a paid subscription.
    Active,
    /// The account had a paid subscription, which has ended.
    Lapsed,
}

impl Subscription {
    /// All subscription statuses.
    pub const ALL: &'static [Self] = &[Self::Active, Self::Lapsed];

    /// Returns the status name, as [`Display`](fmt::Display) writes it and [`FromStr`] reads it.
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
        let unknown = || ConfigError::new(text, "unknown subscription status", words::one_of(text, names));
        Self::ALL.iter().copied().find(|one| one.name() == text).ok_or_else(unknown)
    }
}

/// An owner of keys: its plan, its signed agreements, its subscription, and any limits that replace those of the plan.
///
/// The balance is not part of this type. Only the [`CreditLedger`](crate::credit::CreditLedger) stores it.
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
// The fields that every request reads come first, adjacent in memory.
#[repr(C)]
pub struct Account {
    /// The status of the account.
    pub status: AccountStatus,
    /// The subscription, or `None` if the account never had one.
    pub subscription: Option<Subscription>,
    state: AttachedState,
    /// The id of the account.
    pub id: AccountId,
    details: Arc<AccountDetails>,
    /// The number of changes to the account. A store rejects a change that was made to an older version.
    pub version: u64,
}

/// The fields of an [`Account`] that most accounts of a service have in common. They are read and written as fields of
/// the account, which dereferences to them. Accounts share equal details where their store can tell: a million accounts
/// on one plan store its name once.
///
/// # Example
///
/// ```
/// let mut account = tollgate::Account::new("acme", "pro");
/// account.agreements.insert("opra".into());
/// assert_eq!(account.plan.as_str(), "pro");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AccountDetails {
    /// The name of the account's plan.
    pub plan: PlanName,
    /// The agreements that the account has signed.
    pub agreements: BTreeSet<Agreement>,
    /// Quotas that replace the plan's. An empty list means no limit.
    pub quotas: Option<Vec<QuotaRef>>,
    /// Limits on parameters that replace the plan's.
    pub caps: Option<ParamLimits>,
}

impl Deref for Account {
    type Target = AccountDetails;

    fn deref(&self) -> &AccountDetails {
        &self.details
    }
}

impl DerefMut for Account {
    /// Returns the details for a change. The account loses its run-time state.
    fn deref_mut(&mut self) -> &mut AccountDetails {
        self.reset_state();
        Arc::make_mut(&mut self.details)
    }
}

impl Account {
    /// Creates an active account on this plan, with no subscription and no signed agreements.
    pub fn new(id: impl Into<AccountId>, plan: impl Into<PlanName>) -> Self {
        let details =
            AccountDetails { plan: plan.into(), agreements: BTreeSet::new(), quotas: None, caps: None };
        Self {
            status: AccountStatus::Active,
            subscription: None,
            state: AttachedState::new(),
            id: id.into(),
            details: Arc::new(details),
            version: 0,
        }
    }

    /// Replaces the details by equal ones that other accounts share.
    pub(crate) fn share_details(&mut self, interner: &mut Interner<AccountDetails>) {
        interner.share(&mut self.details);
    }

    /// Removes the run-time state, because it may belong to an earlier value of the account.
    pub(crate) fn reset_state(&mut self) {
        self.state = AttachedState::new();
    }

    /// Returns the run-time state that rate limiters and ledgers have attached to the account.
    #[inline]
    pub fn state(&self) -> &AttachedState {
        &self.state
    }
}
