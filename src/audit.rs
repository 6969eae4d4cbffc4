//! Who did what to which key or account.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::name::AccountId;

/// Who manages: the operator, a user who is signed in to the service, or the holder of a key.
///
/// # Example
///
/// ```
/// use tollgate::audit::Actor;
///
/// let actor = Actor::operator("alice").at("203.0.113.9".parse().unwrap());
/// assert_eq!(actor.name(), Some("alice"));
/// assert_eq!(Actor::user("user-17").user_id(), Some("user-17"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    name: Option<Arc<str>>,
    user: Option<Arc<str>>,
    key: Option<KeyId>,
    address: Option<IpAddr>,
}

impl Actor {
    /// A person or a program that operates the service.
    pub fn operator(name: &str) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// A user who is signed in to the service, by the id that the service knows the user by: as on a page where
    /// customers manage their keys. The manager is told which account is the user's by
    /// [`for_account`](crate::manage::KeyManager::for_account).
    pub fn user(id: &str) -> Self {
        Self { user: Some(id.into()), ..Self::default() }
    }

    /// The holder of a key.
    pub fn key(key: KeyId) -> Self {
        Self { key: Some(key), ..Self::default() }
    }

    /// From this address.
    #[must_use]
    pub fn at(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// The operator's name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The signed-in user's id.
    pub fn user_id(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The key that the request was made with.
    pub fn key_id(&self) -> Option<KeyId> {
        self.key
    }

    /// The address that the request came from.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// A key was issued.
    Issued,
    /// A key that was made elsewhere was put in.
    Imported,
    /// A key was changed.
    Updated,
    /// A key was paused.
    Paused,
    /// A key was resumed.
    Resumed,
    /// A key was given a new secret.
    Rotated,
    /// A key was revoked.
    Revoked,
    /// A key that was found in the open was revoked.
    Leaked,
    /// A key was removed for good.
    Erased,
    /// Keys that had been dead for long were removed for good.
    Swept,
    /// An account was created.
    AccountCreated,
    /// An account was changed: its plan, status, subscription or agreements.
    AccountChanged,
    /// An account was removed for good, with its keys.
    AccountErased,
    /// An account's balance was changed by hand.
    CreditsAdjusted,
}

impl Action {
    /// The action's name in a log.
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
            Self::Erased => "erased",
            Self::Swept => "swept",
            Self::AccountCreated => "account created",
            Self::AccountChanged => "account changed",
            Self::AccountErased => "account erased",
            Self::CreditsAdjusted => "credits adjusted",
        }
    }
}

/// A change that was made. It holds nothing of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEvent {
    /// When.
    pub at: Timestamp,
    /// What.
    pub action: Action,
    /// To which key.
    pub key: Option<KeyId>,
    /// To which account, or whose key.
    pub account: Option<AccountId>,
    /// By whom.
    pub actor: Actor,
    /// What in particular, in words, such as `plan pro`.
    pub detail: Option<String>,
}

/// Where audit events go.
///
/// # Contract
///
/// It is told of every change that was made, after it was made, on the caller's path: it must not block. What must not be
/// lost is queued by the sink.
pub trait AuditSink: Debug + Send + Sync + 'static {
    /// Takes an event.
    fn record(&self, event: &AuditEvent);
}

/// Writes audit events as `tracing` events of the target `tollgate::audit`; without the feature `tracing`, nowhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingAudit;

impl AuditSink for TracingAudit {
    fn record(&self, event: &AuditEvent) {
        log(event);
    }
}

/// Writes an audit event to the log.
#[cfg(feature = "tracing")]
fn log(event: &AuditEvent) {
    tracing::info!(
        target: "tollgate::audit",
        action = event.action.name(),
        key = event.key.map(tracing::field::display),
        account = event.account.as_ref().map(tracing::field::display),
        actor = event.actor.name(),
        actor_user = event.actor.user_id(),
        actor_key = event.actor.key_id().map(tracing::field::display),
        address = event.actor.address().map(tracing::field::display),
        detail = event.detail,
        "keys were managed"
    );
}

#[cfg(not(feature = "tracing"))]
fn log(_: &AuditEvent) {}
