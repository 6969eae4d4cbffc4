//! Why a change was not made.

use crate::amount::Credits;
use crate::credit::AdjustmentKind;
use crate::denial::{Cause, Problem};
use crate::denial::{Denial, DenialKind};
use crate::error::StoreError;
use crate::key::RandomnessError;

/// Why a change was not made: by whose fault, and what of.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ManageError {
    /// The caller: there is no such key or account, or it is another's.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The caller: there is one of this id already.
    #[error("there is such an {0} already")]
    Exists(&'static str),
    /// The caller: a value that will not do.
    #[error("`{member}` {problem}")]
    Invalid {
        /// The member at fault.
        member: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The caller: the account holds as many active keys as its plan allows.
    #[error("the plan allows {most} active keys, and there are as many")]
    KeyLimitReached {
        /// How many the plan allows.
        most: u32,
    },
    /// The caller: the plan does not include it.
    #[error("the plan does not include {0}")]
    NotInPlan(&'static str),
    /// The caller: the key that asks is restricted, and was not granted the management of keys; or everybody knows it.
    #[error("the key that asks was not granted the management of keys")]
    NotGranted,
    /// The caller: a key cannot issue a wider key than itself.
    #[error("`{member}` is wider than the issuing key's")]
    TooWide {
        /// The member that is wider.
        member: &'static str,
    },
    /// The caller: the key that asks may not be used any more, whatever a cache still says of it.
    #[error("the key that asks for it may not be used any more")]
    Issuer,
    /// The caller: the key is revoked or has expired, for good.
    #[error("the key is revoked or has expired: that cannot be undone")]
    Dead,
    /// The caller: the account is deleted, for good.
    #[error("the account is deleted: that cannot be undone")]
    AccountDeleted,
    /// The caller: there are fewer credits than are to be deducted.
    #[error("there are {balance} credits, which is less than is to be deducted")]
    InsufficientCredits {
        /// How many there are.
        balance: Credits,
    },
    /// The caller: an account without limit has no balance to add to or to take from.
    #[error("the account has no limit: set its balance first")]
    UnlimitedCredits,
    /// The caller: under this id, another adjustment was made.
    #[error("another adjustment was made under this id: {made}")]
    AdjustmentTaken {
        /// What was made.
        made: AdjustmentKind,
    },
    /// The caller: others changed the same thing at the same time, again and again.
    #[error("it was changed by others at the same time")]
    Contended,
    /// The operator: the configuration does not fit.
    #[error("{0}")]
    Misconfigured(String),
    /// The machine: no randomness for a key.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
    /// The store: it could not decide. The change may have been made.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ManageError {
    pub(crate) fn invalid(member: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { member: member.into(), problem: problem.into() }
    }

    /// The same fault of another member.
    pub(crate) fn in_member(self, member: &str) -> Self {
        match self {
            Self::Invalid { problem, .. } => Self::invalid(member, problem),
            other => other,
        }
    }
}

/// The refusal that the key management endpoints answer with: its [`kind`](Denial::kind) has a
/// [`status`](DenialKind::status), and [`Gate::response`](crate::gate::Gate::response) puts it into the gate's own form.
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
            // The key that asks was revoked or has expired since the gate let it in.
            ManageError::Issuer => Denial::of(DenialKind::Revoked),
            ManageError::Dead
            | ManageError::Contended
            | ManageError::Exists(_)
            | ManageError::AccountDeleted
            | ManageError::InsufficientCredits { .. }
            | ManageError::UnlimitedCredits
            | ManageError::AdjustmentTaken { .. } => Denial::of(DenialKind::Conflict),
            ManageError::Misconfigured(problem) => Denial::operator(Problem::Managed(problem)),
            // Without randomness there is no key: later there may be.
            ManageError::Randomness(error) => Denial::store(StoreError::unavailable(error)),
            ManageError::Store(error) => Denial::store(error),
        }
    }
}

/// A member as these endpoints name it.
fn as_sent(member: String) -> String {
    match member.as_str() {
        "allowlist" => "allowIps".into(),
        "change" => "body".into(),
        _ => member,
    }
}
