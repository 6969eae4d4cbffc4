//! The kind of a change.

use std::str::FromStr;

use crate::error::ConfigError;
use crate::words;

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// The issue of a key.
    Issued,
    /// The import of a key that was created elsewhere.
    Imported,
    /// A change of a key.
    Updated,
    /// The pausing of a key.
    Paused,
    /// The resumption of a paused key.
    Resumed,
    /// The rotation of a key, which gave it a new secret.
    Rotated,
    /// The revocation of a key.
    Revoked,
    /// The revocation of a key that had been found in public.
    Leaked,
    /// The undoing of a key's revocation by the operator.
    Unrevoked,
    /// The permanent removal of a key.
    Erased,
    /// The permanent removal of keys that had been unusable for a long time.
    Swept,
    /// The creation of an account.
    AccountCreated,
    /// A change of an account: its plan, status, subscription or agreements.
    AccountChanged,
    /// The permanent removal of an account, with its keys.
    AccountErased,
    /// A change of an account's balance by hand.
    CreditsAdjusted,
    /// The permanent removal of old audit entries.
    AuditForgotten,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 16] = [
        Self::Issued,
        Self::Imported,
        Self::Updated,
        Self::Paused,
        Self::Resumed,
        Self::Rotated,
        Self::Revoked,
        Self::Leaked,
        Self::Unrevoked,
        Self::Erased,
        Self::Swept,
        Self::AccountCreated,
        Self::AccountChanged,
        Self::AccountErased,
        Self::CreditsAdjusted,
        Self::AuditForgotten,
    ];

    /// The action's name in a log and in a stored entry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Imported => "imported",
            Self::Updated => "updated",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Rotated => "rotated",
            Self::Revoked => "revoked",
            Self::Leaked => "leaked",
            Self::Unrevoked => "unrevoked",
            Self::Erased => "erased",
            Self::Swept => "swept",
            Self::AccountCreated => "account created",
            Self::AccountChanged => "account changed",
            Self::AccountErased => "account erased",
            Self::CreditsAdjusted => "credits adjusted",
            Self::AuditForgotten => "audit forgotten",
        }
    }
}

impl FromStr for Action {
    type Err = ConfigError;

    /// Parses the action's [`name`](Action::name), such as `account created`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|action| action.name() == name).ok_or_else(|| {
            let expected = words::one_of(name, Self::ALL.iter().map(|action| action.name()));
            ConfigError::new(name, "unknown action", expected)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Action;

    #[test]
    fn every_action_is_found_by_its_name() {
        for action in Action::ALL {
            assert_eq!(action.name().parse(), Ok(action));
        }
        let error = "account-created".parse::<Action>().map_err(|error| error.to_string());
        assert!(error.is_err_and(|error| error.contains("did you mean `account created`?")));
    }
}
