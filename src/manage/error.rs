//! Errors of the managers.

use crate::amount::Credits;
use crate::credit::AdjustmentKind;
use crate::denial::{Cause, Problem};
use crate::denial::{Denial, DenialKind};
use crate::error::StoreError;
use crate::key::RandomnessError;

/// An error of a manager: a change or a query failed. Each variant names the party at fault.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ManageError {
    /// Caller error: there is no such key or account, or it belongs to another account.
    #[error("the {0} does not exist")]
    NotFound(&'static str),
    /// Caller error: an object with this id already exists.
    #[error("an {0} with this id already exists")]
    Exists(&'static str),
    /// Caller error: a value is invalid.
    #[error("`{member}` {problem}")]
    Invalid {
        /// The name of the invalid member.
        member: String,
        /// The problem with the value, and the expected value.
        problem: String,
    },
    /// Caller error: the account has as many active keys as its plan allows.
    #[error("the limit of the plan, {most} active keys, is reached")]
    KeyLimitReached {
        /// The number of active keys that the plan allows.
        most: u32,
    },
    /// Caller error: the plan does not include the feature.
    #[error("the plan does not include {0}")]
    NotInPlan(&'static str),
    /// Caller error: the acting key is a literal key, which is public knowledge, or it is restricted and was not
    /// granted the management of keys.
    #[error("the acting key does not have permission to manage keys")]
    NotGranted,
    /// Caller error: a key cannot issue or manage a key that is wider than itself.
    #[error("`{member}` is wider than that of the acting key")]
    TooWide {
        /// The name of the member that is wider.
        member: &'static str,
    },
    /// Caller error: the acting key may no longer be used, even if a cache still has it as usable.
    #[error("the acting key can no longer be used")]
    Issuer,
    /// Caller error: the key is revoked or has expired, permanently.
    #[error("the key is revoked or has expired, which is permanent")]
    Dead,
    /// Caller error: the account is deleted, permanently.
    #[error("the account is deleted, which is permanent")]
    AccountDeleted,
    /// Caller error: the balance is smaller than the amount to deduct.
    #[error("the balance of {balance} credits is less than the amount to deduct")]
    InsufficientCredits {
        /// The current balance.
        balance: Credits,
    },
    /// Caller error: an account without a limit has no balance to add to or to deduct from.
    #[error("the account has unlimited credits: set a balance first")]
    UnlimitedCredits,
    /// Caller error: another adjustment was made with this id.
    #[error("this id was already used for another adjustment: {made}")]
    AdjustmentTaken {
        /// The adjustment that was made.
        made: AdjustmentKind,
    },
    /// Caller error: concurrent changes to the same object prevented this one, after repeated attempts.
    #[error("the object was changed concurrently; try again")]
    Contended,
    /// Operator error: the configuration does not allow the operation.
    #[error("{0}")]
    Misconfigured(String),
    /// Machine error: no randomness is available for a key.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
    /// Store error: the operation failed. The change may have been made.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ManageError {
    pub(crate) fn invalid(member: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { member: member.into(), problem: problem.into() }
    }

    /// Returns the same error for another member.
    pub(crate) fn in_member(self, member: &str) -> Self {
        match self {
            Self::Invalid { problem, .. } => Self::invalid(member, problem),
            other => other,
        }
    }
}

/// Returns the denial that the key management endpoints respond with. Its [`kind`](Denial::kind) has a
/// [`status`](DenialKind::status), and [`Gate::response`](crate::gate::Gate::response) renders it in the gate's own
/// format.
///
/// # Example
///
/// ```
/// use http::StatusCode;
/// use tollgate::manage::ManageError;
/// use tollgate::Denial;
///
/// let denial = Denial::from(ManageError::NotFound("key"));
/// assert_eq!(denial.kind().status(), StatusCode::NOT_FOUND);
/// ```
impl From<ManageError> for Denial {
    fn from(error: ManageError) -> Self {
        let member = |member: String, problem| Cause::Member { member, problem };
        match error {
            ManageError::NotFound(_) => Denial::of(DenialKind::NotFound),
            ManageError::Invalid { member: name, problem } => {
                Denial::because(DenialKind::InvalidMember, member(as_sent(name), problem))
            }
            ManageError::KeyLimitReached { most } => {
                Denial::because(DenialKind::KeyLimitReached, Cause::MaxKeys(most))
            }
            ManageError::NotInPlan(_) => Denial::of(DenialKind::FeatureRequired),
            ManageError::NotGranted => Denial::of(DenialKind::NotGranted),
            ManageError::TooWide { member: name } => {
                Denial::because(DenialKind::TooWide, member(as_sent(name.into()), String::new()))
            }
            // The acting key was revoked or expired after the gate admitted the request.
            ManageError::Issuer => Denial::of(DenialKind::Revoked),
            ManageError::Dead
            | ManageError::Contended
            | ManageError::Exists(_)
            | ManageError::AccountDeleted
            | ManageError::InsufficientCredits { .. }
            | ManageError::UnlimitedCredits
            | ManageError::AdjustmentTaken { .. } => Denial::of(DenialKind::Conflict),
            ManageError::Misconfigured(problem) => Denial::operator(Problem::Managed(problem)),
            // The failure may be temporary: a later attempt may find randomness.
            ManageError::Randomness(error) => Denial::store(StoreError::unavailable(error)),
            ManageError::Store(error) => Denial::store(error),
        }
    }
}

/// Returns the name of a member in requests to these endpoints.
fn as_sent(member: String) -> String {
    match member.as_str() {
        "allowlist" => "allowIps".into(),
        "change" => "body".into(),
        _ => member,
    }
}
