//! Management of keys, accounts and credits, and the current limits of a key.
//!
//! The managers check each change against the gate's configuration and report it to the [audit sink](crate::audit). An
//! operator's tool or a page for customers calls them. `[management]` in the configuration file serves the management
//! of keys over HTTP.
//!
//! # Example
//!
//! An operator creates an account, issues a key for it and revokes the key:
//!
//! ```
//! use tollgate::audit::Actor;
//! use tollgate::key::KeyStatus;
//! use tollgate::{Account, AccountManager, Config, KeyManager, MemoryStore, NewKey};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let config = r#"
//! #     sources = [{ header = "X-API-Key" }]
//! #     formats = [{ prefix = "acme_", body = 32 }]
//! #     [plans.pro]
//! # "#;
//! let gate = Config::from_toml(config, "gate.toml")?.builder()?.store(MemoryStore::new()).build()?;
//! let accounts = AccountManager::new(gate.clone())?.by(Actor::operator("alice"));
//! let keys = KeyManager::new(gate)?.by(Actor::operator("alice"));
//!
//! accounts.create(Account::new("acme", "pro")).await?;
//! let issued = keys.issue(NewKey::new("acme", "my first key")).await?;
//! let shown_once = issued.secret.expose_secret();
//! assert!(shown_once.starts_with("acme_"));
//!
//! keys.revoke(issued.key.id).await?;
//! assert_eq!(keys.get(issued.key.id).await?.status, KeyStatus::Revoked);
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//!
//! - [`KeyManager`]: issues, lists, changes, pauses, rotates, revokes, imports and erases keys.
//! - [`AccountManager`]: creates, changes, suspends and erases accounts.
//! - [`CreditManager`]: reads and changes balances, and lists their entries.
//! - [`KeyUsage`]: the remaining limits and credits of a key.
//! - [`ManageError`]: the error of all managers. It converts into a [`Denial`](crate::Denial), which
//!   [`Gate::response`] answers in the gate's own form.

mod accounts;
mod bounds;
mod change;
mod context;
mod cover;
mod credits;
mod error;
mod import;
mod issue;
mod key_usage;
mod known;
mod leak;
mod limits;
mod list;
mod service;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use accounts::AccountManager;
pub use change::{KeyChange, Revoked, Rotated};
pub use credits::{CreditManager, EntryPage, ListEntries};
pub use error::ManageError;
pub use import::{ForeignKey, ImportReport};
pub use issue::{Issued, NewKey};
pub use key_usage::{CurrencyUsage, KeyUsage, WindowUsage};
pub use list::{KeyPage, KeyView, ListKeys};
pub(crate) use service::Endpoints;

use crate::audit::{Actor, AuditSink};
use crate::clock::Timestamp;
use crate::error::ConfigError;
use crate::gate::{Gate, Principal};
use crate::key::KeyHash;
use crate::manage::context::ManagerContext;
use crate::name::AccountId;
use crate::store::KeyAdmin;

/// A manager of a gate's keys. It uses the gate's formats, plans and rules, and it writes to the authority, never to a
/// cache.
///
/// Cloning it is cheap. Changes are reported to an [`AuditSink`], with the [`Actor`] that [`by`](KeyManager::by) sets.
///
/// # Example
///
/// ```
/// use tollgate::manage::ManageError;
/// use tollgate::{Account, Config, KeyManager, MemoryStore, NewKey};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = r#"
///     sources = [{ header = "X-API-Key" }]
///     formats = [{ prefix = "acme_", body = 32 }]
///     [plans.free]
///     max_keys = 1
/// "#;
/// let store = MemoryStore::new();
/// store.put_account(Account::new("ada", "free"));
/// let gate = Config::from_toml(config, "gate.toml")?.builder()?.store(store).build()?;
/// let manager = KeyManager::new(gate)?;
///
/// let issued = manager.issue(NewKey::new("ada", "My Trading Bot")).await?;
/// println!("shown once: {}", issued.secret.expose_secret());
/// let full = manager.issue(NewKey::new("ada", "another")).await;
/// assert!(matches!(full, Err(ManageError::KeyLimitReached { most: 1 })));
/// manager.revoke(issued.key.id).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KeyManager {
    context: ManagerContext,
    store: Arc<dyn KeyAdmin>,
    /// The account to which this manager is limited; `None` for all accounts.
    scope: Option<AccountId>,
    /// The hashes of the secret that the acting key presented; empty if the secret is not known.
    shown: Vec<KeyHash>,
    /// True if the caller has no key, and may manage nothing.
    is_anonymous: bool,
}

impl KeyManager {
    /// Creates a manager of the keys in the gate's store.
    ///
    /// # Errors
    ///
    /// Returns an error if the gate's store has no write side
    /// ([`KeyStore::admin`](crate::store::KeyStore::admin)).
    pub fn new(gate: Gate) -> Result<Self, ConfigError> {
        let store = gate.writable_store()?;
        Ok(Self::at(ManagerContext::new(gate), store))
    }

    fn at(context: ManagerContext, store: Arc<dyn KeyAdmin>) -> Self {
        Self { context, store, scope: None, shown: Vec::new(), is_anonymous: false }
    }

    /// Reports changes to this sink instead of the log.
    #[must_use]
    pub fn with_audit(mut self, audit: impl AuditSink) -> Self {
        self.context.audit = Arc::new(audit);
        self
    }

    /// Returns the same manager, acting in the name of an actor.
    ///
    /// A manager that acts in the name of a key can give no more than that key has. It returns an error if the
    /// authority does not allow the use of the key. A key that is restricted to scopes can manage keys only if it has
    /// the gate's [`management_scope`](crate::gate::GateBuilder::management_scope). A key that is restricted to paths
    /// can manage keys only if the paths cover the path of the key management endpoints. A literal key, which is public
    /// knowledge, cannot manage keys.
    #[must_use]
    pub fn by(mut self, actor: Actor) -> Self {
        self.context.actor = actor;
        self.shown.clear();
        self.is_anonymous = false;
        self
    }

    /// Returns the same manager for a caller that the gate admitted from this address. It acts in the name of the
    /// caller's key and manages only the keys of the caller's account.
    ///
    /// It applies the presented secret: a secret that the authority no longer knows can manage nothing, even if a cache
    /// still has it. A retiring secret cannot give an expiry that is later than its own. A caller without a key
    /// ([`Principal::is_anonymous`]) can manage nothing.
    #[must_use]
    pub fn for_caller(self, caller: &Principal, from: Option<IpAddr>) -> Self {
        let actor = Actor::key(caller.key());
        let actor = from.into_iter().fold(actor, Actor::at);
        let mut manager = self.by(actor).for_account(caller.account().id.clone());
        manager.shown = caller.presented().collect();
        manager.is_anonymous = caller.is_anonymous();
        manager
    }

    /// Returns the same manager, limited to the keys of one account. A key of another account is reported as not found.
    #[must_use]
    pub fn for_account(mut self, account: impl Into<AccountId>) -> Self {
        self.scope = Some(account.into());
        self
    }

    /// Returns the gate whose keys are managed.
    pub fn gate(&self) -> &Gate {
        &self.context.gate
    }

    /// Writes the recorded uses of keys back to the store. Call it periodically and at shutdown.
    ///
    /// # Errors
    ///
    /// Returns an error if the store fails. The uses are then kept for the next call.
    pub async fn flush_uses(&self) -> Result<(), ManageError> {
        let pending = self.context.gate.0.uses.pending();
        if !pending.is_empty() {
            // The uses stay recorded until they are written: lists include them, and a cancelled call loses none.
            self.store.touch(&pending).await?;
            self.context.gate.0.uses.written(&pending);
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.context.now()
    }
}

impl fmt::Debug for KeyManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyManager")
            .field("store", &self.store)
            .field("actor", &self.context.actor)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
