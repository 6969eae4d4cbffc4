//! Audit events: changes to keys and accounts, and the actors who made them.
//!
//! The managers report each change to an audit sink. The default sink writes to the log.
//!
//! # Example
//!
//! A sink that keeps a line for each change:
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use tollgate::audit::{Actor, AuditEvent, AuditSink};
//! use tollgate::{Account, AccountManager, Config, MemoryStore};
//!
//! #[derive(Debug, Clone, Default)]
//! struct Lines(Arc<Mutex<Vec<String>>>);
//!
//! impl AuditSink for Lines {
//!     fn record(&self, event: &AuditEvent) {
//!         let actor = event.actor.name().unwrap_or("unknown");
//!         self.0.lock().unwrap().push(format!("{actor}: {}", event.action.name()));
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let config = r#"
//! #     sources = [{ header = "X-API-Key" }]
//! #     formats = [{ prefix = "acme_", body = 32 }]
//! #     [plans.free]
//! # "#;
//! let gate = Config::from_toml(config, "gate.toml")?.builder()?.store(MemoryStore::new()).build()?;
//! let lines = Lines::default();
//! let accounts = AccountManager::new(gate)?.with_audit(lines.clone()).by(Actor::operator("alice"));
//! accounts.create(Account::new("ada", "free")).await?;
//! assert_eq!(*lines.0.lock().unwrap(), ["alice: account created"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//!
//! - [`AuditSink`]: the trait of a receiver of events. [`GateBuilder::audit`](crate::GateBuilder::audit) sets the sink
//!   of a gate's managers, and `with_audit` sets the sink of one manager.
//! - [`AuditEvent`]: the time, the [`Action`], the key, the account and the [`Actor`] of a change. It contains no part
//!   of a secret.
//! - [`TracingAudit`]: the default sink.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::name::AccountId;
use crate::trace;

/// The author of a change: the operator, a user who is signed in to the service, or the holder of a key.
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
    /// Creates the actor for a person or a program that operates the service.
    pub fn operator(name: &str) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// Creates the actor for a user who is signed in to the service, as on a page where customers manage their keys.
    /// The id is the service's own id of the user. [`for_account`](crate::manage::KeyManager::for_account) sets the
    /// user's account.
    pub fn user(id: &str) -> Self {
        Self { user: Some(id.into()), ..Self::default() }
    }

    /// Creates the actor for the holder of a key.
    pub fn key(key: KeyId) -> Self {
        Self { key: Some(key), ..Self::default() }
    }

    /// Sets the address that the request came from.
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

    /// The id of the key that made the request.
    pub fn key_id(&self) -> Option<KeyId> {
        self.key
    }

    /// The address that the request came from.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }
}

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

/// A change that was made. It contains no part of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEvent {
    /// The time of the change.
    pub at: Timestamp,
    /// The kind of the change.
    pub action: Action,
    /// The key that was changed.
    pub key: Option<KeyId>,
    /// The account that was changed, or that owns the key.
    pub account: Option<AccountId>,
    /// The author of the change.
    pub actor: Actor,
    /// A description of the change, such as `plan pro`.
    pub detail: Option<String>,
}

/// A receiver of audit events.
///
/// # Contract
///
/// The sink receives every change after it was made, while the caller waits, so it must not block. A sink whose events
/// must not be lost has to queue them itself.
pub trait AuditSink: Debug + Send + Sync + 'static {
    /// Records an event.
    fn record(&self, event: &AuditEvent);
}

/// An audit sink that writes `tracing` events of the target `tollgate::audit`. Without the feature `tracing` it writes
/// nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingAudit;

impl AuditSink for TracingAudit {
    fn record(&self, event: &AuditEvent) {
        trace::event!(
            info,
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
}
